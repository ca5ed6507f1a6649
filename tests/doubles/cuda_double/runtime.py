"""``cuda.bindings.runtime``: the calls of a backend, on a simulated device.

As in the genuine package every call returns a tuple whose first item is a ``cudaError_t``; where
that is no success the other items are None.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

from tests.doubles import device as gpu
from tests.doubles.cuda_double.calls import Result, call
from tests.doubles.cuda_double.enums import (
    TEXTS,
    cudaError_t,
    cudaMemcpyKind,
    cudaMemoryType,
)
from tests.doubles.cuda_double.handles import (
    address,
    handle,
    size,
)
from tests.doubles.cuda_double.streams import StreamCalls

__all__ = ["Runtime"]


class Runtime(StreamCalls):
    """The functions of the module, bound to one device. Names and parameters are the package's."""

    # errors and versions

    def cudaGetErrorName(self, error: Any) -> Result:
        return cudaError_t.cudaSuccess, cudaError_t(int(error)).name.encode()

    def cudaGetErrorString(self, error: Any) -> Result:
        return cudaError_t.cudaSuccess, TEXTS[int(error)].encode()

    def cudaGetLastError(self) -> Result:
        code, self.last = self.last, self.device.sticky
        return (cudaError_t(code),)

    def cudaPeekAtLastError(self) -> Result:
        return (cudaError_t(self.last),)

    @call(1)
    def cudaRuntimeGetVersion(self) -> int:
        return self.version

    @call(1)
    def cudaDriverGetVersion(self) -> int:
        return self.device.info.driver_version

    # devices

    @call(1)
    def cudaGetDeviceCount(self) -> int:
        return 1

    @call(1)
    def cudaGetDevice(self) -> int:
        return 0

    def _device(self, number: int) -> None:
        if int(number) != 0:
            raise self.device.fault(gpu.INVALID_DEVICE, f"there is no device {number}")

    @call(0)
    def cudaSetDevice(self, device: int) -> None:
        self._device(device)

    @call(0)
    def cudaDeviceSynchronize(self) -> None:
        self.device.refuse_while_capturing("cudaDeviceSynchronize")
        self.device.synchronize()

    @call(1)
    def cudaGetDeviceProperties(self, device: int) -> Any:
        self._device(device)
        info = self.device.info
        major, minor = info.compute_capability
        found = SimpleNamespace(
            name=info.name.encode(),
            uuid=SimpleNamespace(bytes=info.uuid),
            major=major,
            minor=minor,
            multiProcessorCount=info.sm_count,
            totalGlobalMem=info.total_memory,
            l2CacheSize=info.l2_cache,
            memoryBusWidth=info.memory_bus_bits,
            sharedMemPerBlock=info.shared_memory_per_block,
            integrated=int(info.integrated),
            pciBusID=1,
            pciDeviceID=0,
            pciDomainID=0,
        )
        if self.version < 13000:  # CUDA 13 took them out
            found.clockRate, found.memoryClockRate = info.clock_khz, info.memory_clock_khz
        return found

    @call(1)
    def cudaDeviceGetAttribute(self, attr: Any, device: int) -> int:
        self._device(device)
        info = self.device.info
        values = {
            8: info.shared_memory_per_block,
            13: info.clock_khz,
            16: info.sm_count,
            18: int(info.integrated),
            36: info.memory_clock_khz,
            37: info.memory_bus_bits,
            38: info.l2_cache,
            75: info.compute_capability[0],
            76: info.compute_capability[1],
        }
        return values[int(attr)]

    @call(2)
    def cudaMemGetInfo(self) -> tuple[int, int]:
        total = self.device.info.total_memory
        return total - self.device.used(), total

    # memory

    @call(1)
    def cudaMalloc(self, size: int) -> int:
        return self._allocate(size, "device", "cudaMalloc")

    @call(1)
    def cudaMallocHost(self, size: int) -> int:
        return self._allocate(size, "host", "cudaMallocHost")

    @call(1)
    def cudaHostAlloc(self, size: int, flags: int) -> int:
        return self._allocate(size, "host", "cudaHostAlloc")

    def _allocate(self, bytes_: Any, kind: str, what: str) -> int:
        count = size(bytes_)
        self.device.refuse_while_capturing(what)
        return self.device.allocate(count, kind)

    @call(1)
    def cudaMallocAsync(self, size: int, hStream: Any) -> int:
        self.device.stream(handle(hStream))
        return self.device.allocate(globals()["size"](size), "device")

    @call(0)
    def cudaFree(self, devPtr: Any) -> None:
        where = address(devPtr)
        self.device.refuse_while_capturing("cudaFree")
        self.device.free(where, "device")

    @call(0)
    def cudaFreeAsync(self, devPtr: Any, hStream: Any) -> None:
        self.device.free_async(address(devPtr), self.device.stream(handle(hStream)))

    @call(0)
    def cudaFreeHost(self, ptr: Any) -> None:
        where = address(ptr)
        self.device.refuse_while_capturing("cudaFreeHost")
        self.device.free(where, "host")

    @call(1)
    def cudaPointerGetAttributes(self, ptr: Any) -> Any:
        where = address(ptr)
        found = self.device.find(where, 1)
        kinds = {None: 0, "host": 1, "device": 2}
        kind = cudaMemoryType(kinds[found.kind if found else None])
        return SimpleNamespace(
            type=kind,
            device=0,
            devicePointer=where if kind == 2 else 0,
            hostPointer=where if kind == 1 else 0,
        )

    @call(0)
    def cudaMemcpy(self, dst: Any, src: Any, count: int, kind: Any) -> None:
        self.device.refuse_while_capturing("cudaMemcpy")
        stream = self.device.default_stream
        self._copy(address(dst), address(src), size(count), cudaMemcpyKind(int(kind)), stream)
        stream.run()

    @call(0)
    def cudaMemcpyAsync(self, dst: Any, src: Any, count: int, kind: Any, stream: Any) -> None:
        target = self.device.stream(handle(stream))
        self._copy(address(dst), address(src), size(count), cudaMemcpyKind(int(kind)), target)

    def _copy(
        self, dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: gpu.Stream
    ) -> None:
        device, what = self.device, f"{kind.name} of {count} bytes from {src:#x} to {dst:#x}"
        if count == 0:
            return
        from_device = self._side(src, count, kind in (2, 3), kind == 4, what)
        to_device = self._side(dst, count, kind in (1, 3), kind == 4, what)
        pageable = device.is_pageable(src) or device.is_pageable(dst)
        label = f"{'device' if from_device else 'host'}-{'device' if to_device else 'host'}"
        device.copies[label] = device.copies.get(label, 0) + 1
        if pageable:
            device.copies["pageable"] = device.copies.get("pageable", 0) + 1
            device.refuse_while_capturing("a copy of pageable memory", stream)
        staged = ctypes.string_at(src, count) if device.is_pageable(src) else None

        def run() -> None:
            target = dst if device.is_pageable(dst) else device.host_address(dst, count, what)
            if staged is not None:
                ctypes.memmove(target, staged, count)
            else:
                ctypes.memmove(target, device.host_address(src, count, what), count)

        stream.add(run)
        if device.is_pageable(dst):
            stream.run()  # such a copy returns when it is done

    def _side(self, where: int, count: int, device: bool, either: bool, what: str) -> bool:
        """Check one end of a copy; return whether it is on the device."""
        found = self.device.find(where, count)
        on_device = self.device.is_device(where)
        if on_device and found is None:
            raise self.device.fault(gpu.INVALID_VALUE, f"{what}: no live allocation holds that")
        if where == 0 or (on_device != device and not either):
            raise self.device.fault(gpu.INVALID_VALUE, f"{what}: the direction does not fit")
        if found is None and self.device.find(where, 1) is not None:
            raise self.device.fault(gpu.INVALID_VALUE, f"{what}: longer than the allocation")
        return on_device

    @call(0)
    def cudaMemsetAsync(self, devPtr: Any, value: int, count: int, stream: Any) -> None:
        where, length, byte = address(devPtr), size(count), int(value) & 0xFF
        target = self.device.stream(handle(stream))
        if self.device.find(where, length) is None:
            raise self.device.fault(gpu.INVALID_VALUE, f"cudaMemsetAsync at {where:#x}: not alive")

        def run() -> None:
            found = self.device.host_address(where, length, "cudaMemsetAsync")
            ctypes.memset(found, byte, length)

        target.add(run)
