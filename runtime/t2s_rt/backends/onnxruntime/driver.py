"""The few calls of the CUDA driver that ONNX Runtime's Python interface lacks, through ctypes.

Waiting for another library's stream before its array is read, and page-locked host memory. The
driver library is the only one that every machine with a working GPU has under one name; the
CUDA runtime's changes with its major version. Signatures: CUDA driver API reference, unchanged
since CUDA 7.0.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from t2s_rt.errors import BackendError

__all__ = ["DRIVER_NAME", "CudaDriver"]

DRIVER_NAME = "libcuda.so.1"
_PORTABLE = 1
"""CU_MEMHOSTALLOC_PORTABLE: locked for every context of the process."""
_LEGACY_STREAM = 1
"""CU_STREAM_LEGACY: the default stream, which copies without a stream go to."""
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuDeviceGetCount": (ctypes.POINTER(ctypes.c_int),),
    "cuDeviceGet": (ctypes.POINTER(ctypes.c_int), ctypes.c_int),
    "cuDevicePrimaryCtxRetain": (ctypes.POINTER(ctypes.c_void_p), ctypes.c_int),
    "cuCtxPushCurrent_v2": (ctypes.c_void_p,),
    "cuCtxPopCurrent_v2": (ctypes.POINTER(ctypes.c_void_p),),
    "cuStreamSynchronize": (ctypes.c_void_p,),
    "cuMemcpyDtoD_v2": (ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t),
    "cuMemHostAlloc": (ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_uint),
    "cuMemFreeHost": (ctypes.c_void_p,),
    "cuGetErrorName": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
}


class CudaDriver:
    """One device, through the context that the CUDA runtime shares (the primary one).

    The context is kept until the process ends, as ONNX Runtime does.

    Args:
        device_index: which device.
        library: path or name of the driver library.

    Raises:
        BackendError: there is no driver, no such device, or the driver refuses.
    """

    def __init__(self, device_index: int = 0, library: str = DRIVER_NAME) -> None:
        try:
            self._library = ctypes.CDLL(library)
            for name, arguments in _SIGNATURES.items():
                function = getattr(self._library, name)
                function.argtypes, function.restype = arguments, ctypes.c_int
        except (OSError, AttributeError) as error:
            raise BackendError(
                f"expected NVIDIA's driver, found none that loads ({error})"
            ) from error
        self._call("cuInit", 0)
        count = ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        if device_index >= count.value:
            raise BackendError(
                f"expected a GPU with the index {device_index}, found {count.value} GPUs"
            )
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), device_index)
        self._device = device.value
        self._context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)

    def wait_for(self, stream: int) -> None:
        """Return when all work on a stream is done; 1 and 2 are the two default streams."""
        with self._current():
            self._call("cuStreamSynchronize", stream)

    def copy(self, source: int, target: int, size: int) -> None:
        """Copy bytes within device memory, and return when they are there."""
        with self._current():
            self._call("cuMemcpyDtoD_v2", target, source, size)
            self._call("cuStreamSynchronize", _LEGACY_STREAM)

    def pinned(self, size: int) -> tuple[int, Callable[[], object]]:
        """Page-locked host memory: its address, and what frees it."""
        pointer = ctypes.c_void_p()
        with self._current():
            self._call("cuMemHostAlloc", ctypes.byref(pointer), size, _PORTABLE)
        address = pointer.value or 0

        def free() -> None:
            with self._current():
                self._call("cuMemFreeHost", address)

        return address, free

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Make the device's context current on this thread."""
        self._call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(text))
            found = (text.value or b"an unknown error").decode(errors="replace")
            raise BackendError(f"the CUDA driver failed: {name} gave {found} ({code})")
