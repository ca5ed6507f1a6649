"""Memory of a session: buffers that stay where they are, and blocks that are given away."""

from __future__ import annotations

import ctypes
import threading
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends.device import DeviceArray
from t2s_rt.backends.tensorrt.cuda import Cuda

__all__ = ["Buffer", "Lender"]

_IDLE_BLOCKS = 4
"""Blocks of one size that wait for their next use: a tile in work, one before it, one behind."""


class Buffer:
    """One tensor's place on the device and its page-locked twin on the host.

    Both are as large as the tensor ever gets, so nothing is allocated in flight and a CUDA graph
    finds the same addresses at every launch.

    Args:
        cuda: the device.
        name: of the tensor.
        dtype: of the tensor.
        nbytes: the most that the tensor takes.
        owner: frees both when it is closed.
    """

    def __init__(
        self, cuda: Cuda, name: str, dtype: np.dtype[Any], nbytes: int, owner: ExitStack
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.nbytes = nbytes
        self.pointer = cuda.allocate(nbytes, name)
        owner.callback(cuda.free, self.pointer)
        self.staging = cuda.allocate_pinned(nbytes, name)
        owner.callback(cuda.free_pinned, self.staging)

    def staged(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The page-locked memory as an array; never to be handed out."""
        size = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        memory: Any = (ctypes.c_char * size).from_address(self.staging)
        return np.frombuffer(memory, dtype=self.dtype).reshape(shape)


class Lender:
    """Device memory for outputs that a caller keeps, and the stream they are written on.

    A kept output is given away, not one of two buffers in turn: callers hold as many as they
    like (a tile in work, its neighbours, a journal), and the third call of a session with two
    buffers would silently overwrite the first result. Blocks that come back wait for their next
    use, so a steady run allocates nothing. The session's stream lives here, since arrays that
    outlive the session are still copied to the host over it.

    Args:
        cuda: the device.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        # reentrant: the collector may bring a block back while the lock is held
        self._lock = threading.RLock()
        self._idle: dict[int, list[int]] = {}
        self._lent = 0
        self._closed = False
        self.stream = cuda.create_stream()

    def lend(
        self, what: str, shape: tuple[int, ...], dtype: np.dtype[Any], capacity: int
    ) -> DeviceArray:
        """An array in memory of its own, which comes back when the array is released.

        Args:
            what: the tensor's name, for messages.
            shape: of the array.
            dtype: of its elements.
            capacity: bytes of the block, the same at every call for one tensor, so that the
                blocks serve every shape.
        """
        with self._lock:
            idle = self._idle.get(capacity)
            pointer = idle.pop() if idle else self._cuda.allocate(capacity, what)
            self._lent += 1
        return DeviceArray(
            pointer,
            shape,
            dtype,
            free=partial(self._take_back, pointer, capacity),
            read=self.read,
            device_index=self._cuda.index,
        )

    def read(self, pointer: int, out: NDArray[Any]) -> None:
        """Copy from the device behind all that was enqueued on the stream."""
        self._cuda.read(pointer, out, self.stream)

    def trim(self) -> None:
        """Free blocks beyond those that a steady run needs."""
        with self._lock:
            surplus = [idle.pop() for idle in self._idle.values() for _ in idle[_IDLE_BLOCKS:]]
        _free_all(self._cuda, surplus)

    def close(self) -> None:
        """Free what is idle, and the rest when it comes back; the stream goes last."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            idle = [pointer for blocks in self._idle.values() for pointer in blocks]
            self._idle.clear()
            last = self._lent == 0
        with ExitStack() as rest:
            if last:
                rest.callback(self._cuda.destroy_stream, self.stream)
            _free_all(self._cuda, idle)

    def _take_back(self, pointer: int, capacity: int) -> None:
        """Called from anywhere, also by the collector: no CUDA calls while the session lives."""
        with self._lock:
            self._lent -= 1
            if not self._closed:
                self._idle.setdefault(capacity, []).append(pointer)
                return
            last = self._lent == 0
        with ExitStack() as rest:
            if last:
                rest.callback(self._cuda.destroy_stream, self.stream)
            rest.callback(self._cuda.free, pointer)
            self._cuda.use()


def _free_all(cuda: Cuda, pointers: list[int]) -> None:
    """Free all even where one of them fails."""
    with ExitStack() as each:
        for pointer in pointers:
            each.callback(cuda.free, pointer)
