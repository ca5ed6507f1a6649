"""Arrays in device memory: ours, and everybody else's that speaks ``__cuda_array_interface__``.

The interface (version 3, https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html)
is what cupy, torch, pycuda, numba and cuda-python's own buffers share; so a result that stays on
the device can be handed to any of them, and any of their arrays can be fed to a session.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from types import TracebackType
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import BackendError

__all__ = ["Array", "CudaArrayLike", "DeviceArray", "Feed", "Reader", "is_device_array"]

Reader = Callable[[int, NDArray[Any]], None]
"""Fills a C-contiguous host array from an address in device memory, and returns when it is full."""

_INTERFACE_VERSION = 3
_LEGACY_STREAM = 1


class CudaArrayLike(Protocol):
    """Anything in device memory that says so: a torch tensor, a cupy or pycuda array, ours."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Address, shape and type, as the CUDA array interface has them."""
        ...


class DeviceArray:
    """A C-contiguous array in device memory, with one owner: this object.

    The memory is given back by :meth:`release`, at the end of a ``with`` block or when the object
    is collected, whichever comes first, and never while a session reads it.

    Args:
        pointer: address of the first element.
        shape: sizes.
        dtype: NumPy's name or type of the elements.
        free: gives the memory back; called once. It must not refer to this object.
        read: copies to the host. None for memory that this process cannot read by itself.
        stream: the CUDA stream, as its handle, that the contents are written on, for readers to
            wait for; None where they are there already.
        device: ``"cuda"``. ``"cpu"`` is for host memory that stands in for a device's in tests:
            it has no ``__cuda_array_interface__``.
        device_index: which device.

    Attributes:
        shape: sizes.
        dtype: type of the elements.
        stream: see above.
        device: see above.
        device_index: see above.
    """

    def __init__(
        self,
        pointer: int,
        shape: tuple[int, ...],
        dtype: Any,
        *,
        free: Callable[[], object],
        read: Reader | None,
        stream: int | None = None,
        device: str = "cuda",
        device_index: int = 0,
    ) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.stream = stream
        self.device = device
        self.device_index = device_index
        self._pointer = int(pointer)
        self._read = read
        # reentrant: collecting a view gives back within whatever the collector interrupted
        self._lock = threading.RLock()
        self._readers = 0
        self._released = False
        self._free = weakref.finalize(self, free)
        self._free.atexit = False  # the driver may be gone by then, and the memory with it

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def released(self) -> bool:
        """Whether :meth:`release` was called."""
        return self._released

    @property
    def pointer(self) -> int:
        """Address of the first element.

        Raises:
            BackendError: the array was released.
        """
        if self._released:
            raise BackendError("expected a device array, found one that was released")
        return self._pointer

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The array in the words of the CUDA array interface, version 3."""
        if self.device != "cuda":
            raise AttributeError("this array lies in host memory")
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer if self.nbytes else 0, False),
            "strides": None,
            # the interface forbids 0, which could mean either of the two default streams
            "stream": _LEGACY_STREAM if self.stream == 0 else self.stream,
            "version": _INTERFACE_VERSION,
        }

    def numpy(self) -> NDArray[Any]:
        """A copy in host memory.

        Raises:
            BackendError: the array was released, or is of another library and only that library
                can copy it.
        """
        with self.borrowed() as pointer:
            if self._read is None:
                raise BackendError(
                    "expected a device array of t2s-rt, found one of another library; copy it to "
                    "the host with that library"
                )
            host = np.empty(self.shape, self.dtype)
            if host.nbytes:
                self._read(pointer, host)
        return host

    def rows(self, start: int, stop: int) -> DeviceArray:
        """Rows ``start`` to ``stop`` of the first axis, without a copy; keeps this array alive."""
        if not 0 <= start <= stop <= self.shape[0]:
            raise BackendError(f"expected rows of {self.shape[0]}, found {start} to {stop}")
        step = prod(self.shape[1:]) * self.dtype.itemsize
        pointer = self._borrow()
        return DeviceArray(
            pointer + start * step,
            (stop - start, *self.shape[1:]),
            self.dtype,
            free=self._give_back,
            read=self._read,
            stream=self.stream,
            device=self.device,
            device_index=self.device_index,
        )

    def release(self) -> None:
        """Give the memory back; a second call does nothing.

        A session that reads the array at this moment finishes first.
        """
        with self._lock:
            self._released = True
            last = self._readers == 0
        if last:
            self._free()

    @contextmanager
    def borrowed(self) -> Iterator[int]:
        """The address, which stays valid within the block even if the array is released."""
        pointer = self._borrow()
        try:
            yield pointer
        finally:
            self._give_back()

    def __enter__(self) -> DeviceArray:
        """Return the array; leaving the block releases it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the array."""
        self.release()

    def __repr__(self) -> str:
        state = "released" if self._released else f"on {self.device}:{self.device_index}"
        return f"<DeviceArray {self.dtype} {list(self.shape)} {state}>"

    @classmethod
    def wrap(cls, foreign: CudaArrayLike, device_index: int = 0) -> DeviceArray:
        """Another library's array as ours: same memory, which that library goes on owning.

        Args:
            foreign: the array.
            device_index: where it lies, which the interface does not say.

        Raises:
            BackendError: not C-contiguous, masked, or of a type that NumPy lacks.
        """
        if isinstance(foreign, DeviceArray):
            return foreign
        interface = foreign.__cuda_array_interface__
        try:
            dtype = np.dtype(interface["typestr"])
            shape = tuple(int(size) for size in interface["shape"])
            pointer = int(interface["data"][0] or 0)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise BackendError(
                f"expected a CUDA array interface with shape, typestr and data, found "
                f"{interface!r:.200}"
            ) from error
        if interface.get("mask") is not None:
            raise BackendError("expected a device array without a mask, found a masked one")
        strides = interface.get("strides")
        if strides is not None and not _contiguous(shape, strides, dtype.itemsize):
            raise BackendError(
                f"expected a C-contiguous device array, found strides {list(strides)} for "
                f"{dtype} {list(shape)}; make a contiguous copy first"
            )
        keep = [foreign]  # the reference that keeps the other library's memory alive
        return cls(
            pointer,
            shape,
            dtype,
            free=keep.clear,
            read=None,
            stream=interface.get("stream"),
            device_index=device_index,
        )

    def _borrow(self) -> int:
        with self._lock:
            pointer = self.pointer
            self._readers += 1
        return pointer

    def _give_back(self) -> None:
        with self._lock:
            self._readers -= 1
            last = self._released and self._readers == 0
        if last:
            self._free()


Array = NDArray[Any] | DeviceArray
"""What a session gives: host arrays, and device arrays for outputs that it was asked to keep."""
Feed = NDArray[Any] | CudaArrayLike | DeviceArray
"""What a session takes."""


def is_device_array(value: object) -> TypeGuard[CudaArrayLike]:
    """Whether a value is a device array, of ours or of another library.

    A torch tensor in host memory is none: it raises ``AttributeError`` for the attribute, which
    is why a runtime-checkable protocol, which looks at the class, would not do.
    """
    return isinstance(value, DeviceArray) or hasattr(value, "__cuda_array_interface__")


def _contiguous(shape: tuple[int, ...], strides: Any, itemsize: int) -> bool:
    """Whether strides in bytes are those of a C-contiguous array; axes of size 1 may say any."""
    if len(strides) != len(shape):
        return False
    if 0 in shape:
        return True
    expected = itemsize
    for size, stride in zip(reversed(shape), reversed(tuple(strides)), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
