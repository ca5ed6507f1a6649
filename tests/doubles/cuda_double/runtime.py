"""``cuda.bindings.runtime``: the calls of a backend, on a simulated device.

As in the genuine package every call returns a tuple whose first item is a ``cudaError_t``; where
that is no success the other items are None.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.doubles import device as gpu
from tests.doubles.cuda_double.enums import (
    TEXTS,
    cudaError_t,
    cudaMemcpyKind,
    cudaMemoryType,
    cudaStreamCaptureMode,
    cudaStreamCaptureStatus,
)
from tests.doubles.cuda_double.handles import (
    address,
    cudaEvent_t,
    cudaGraph_t,
    cudaGraphExec_t,
    cudaStream_t,
    handle,
    size,
)
from tests.doubles.device import CudaError, Device, Event, Graph

__all__ = ["Runtime"]

Result = tuple[Any, ...]


def _call(results: int) -> Callable[[Callable[..., Any]], Callable[..., Result]]:
    """Make a method answer like the package.

    Args:
        results: items behind the error code.
    """

    def decorate(method: Callable[..., Any]) -> Callable[..., Result]:
        @functools.wraps(method)
        def called(self: Runtime, *args: Any, **kwargs: Any) -> Result:
            nothing = (None,) * results
            code = self.device.fail.get(method.__name__, self.device.sticky)
            if code:
                return cudaError_t(code), *nothing
            try:
                value = method(self, *args, **kwargs)
            except CudaError as error:
                self.last = error.code
                return cudaError_t(error.code), *nothing
            if results == 0:
                return (cudaError_t.cudaSuccess,)
            values = value if results > 1 else (value,)
            return cudaError_t.cudaSuccess, *values

        called.results = results  # type: ignore[attr-defined]
        return called

    return decorate


class Runtime:
    """The functions of the module, bound to one device. Names and parameters are the package's."""

    def __init__(self, device: Device, version: int = 13000) -> None:
        self.device = device
        self.version = version
        self.last = gpu.SUCCESS

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

    @_call(1)
    def cudaRuntimeGetVersion(self) -> int:
        return self.version

    @_call(1)
    def cudaDriverGetVersion(self) -> int:
        return self.device.info.driver_version

    # devices

    @_call(1)
    def cudaGetDeviceCount(self) -> int:
        return 1

    @_call(1)
    def cudaGetDevice(self) -> int:
        return 0

    def _device(self, number: int) -> None:
        if int(number) != 0:
            raise self.device.fault(gpu.INVALID_DEVICE, f"there is no device {number}")

    @_call(0)
    def cudaSetDevice(self, device: int) -> None:
        self._device(device)

    @_call(0)
    def cudaDeviceSynchronize(self) -> None:
        self.device.refuse_while_capturing("cudaDeviceSynchronize")
        self.device.synchronize()

    @_call(1)
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

    @_call(1)
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

    @_call(2)
    def cudaMemGetInfo(self) -> tuple[int, int]:
        total = self.device.info.total_memory
        return total - self.device.used(), total

    # memory

    @_call(1)
    def cudaMalloc(self, size: int) -> int:
        return self._allocate(size, "device", "cudaMalloc")

    @_call(1)
    def cudaMallocHost(self, size: int) -> int:
        return self._allocate(size, "host", "cudaMallocHost")

    @_call(1)
    def cudaHostAlloc(self, size: int, flags: int) -> int:
        return self._allocate(size, "host", "cudaHostAlloc")

    def _allocate(self, bytes_: Any, kind: str, what: str) -> int:
        count = size(bytes_)
        self.device.refuse_while_capturing(what)
        return self.device.allocate(count, kind)

    @_call(1)
    def cudaMallocAsync(self, size: int, hStream: Any) -> int:
        self.device.stream(handle(hStream))
        return self.device.allocate(globals()["size"](size), "device")

    @_call(0)
    def cudaFree(self, devPtr: Any) -> None:
        where = address(devPtr)
        self.device.refuse_while_capturing("cudaFree")
        self.device.free(where, "device")

    @_call(0)
    def cudaFreeAsync(self, devPtr: Any, hStream: Any) -> None:
        self.device.free_async(address(devPtr), self.device.stream(handle(hStream)))

    @_call(0)
    def cudaFreeHost(self, ptr: Any) -> None:
        where = address(ptr)
        self.device.refuse_while_capturing("cudaFreeHost")
        self.device.free(where, "host")

    @_call(1)
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

    @_call(0)
    def cudaMemcpy(self, dst: Any, src: Any, count: int, kind: Any) -> None:
        self.device.refuse_while_capturing("cudaMemcpy")
        stream = self.device.default_stream
        self._copy(address(dst), address(src), size(count), cudaMemcpyKind(int(kind)), stream)
        stream.run()

    @_call(0)
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

    @_call(0)
    def cudaMemsetAsync(self, devPtr: Any, value: int, count: int, stream: Any) -> None:
        where, length, byte = address(devPtr), size(count), int(value) & 0xFF
        target = self.device.stream(handle(stream))
        if self.device.find(where, length) is None:
            raise self.device.fault(gpu.INVALID_VALUE, f"cudaMemsetAsync at {where:#x}: not alive")
        target.add(
            lambda: (
                ctypes.memset(
                    self.device.host_address(where, length, "cudaMemsetAsync"), byte, length
                )
                and None
            )
        )

    # streams and events

    @_call(1)
    def cudaStreamCreate(self) -> Any:
        return cudaStream_t(self.device.create_stream(False))

    @_call(1)
    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        return cudaStream_t(self.device.create_stream(bool(int(flags) & 1)))

    @_call(1)
    def cudaStreamCreateWithPriority(self, flags: int, priority: int) -> Any:
        return cudaStream_t(self.device.create_stream(bool(int(flags) & 1)))

    @_call(2)
    def cudaDeviceGetStreamPriorityRange(self) -> tuple[int, int]:
        return 0, -5

    @_call(0)
    def cudaStreamDestroy(self, stream: Any) -> None:
        if handle(stream) == 0:
            raise self.device.fault(gpu.INVALID_RESOURCE_HANDLE, "the default stream stays")
        self.device.destroy_stream(handle(stream))

    @_call(0)
    def cudaStreamSynchronize(self, stream: Any) -> None:
        found = self.device.stream(handle(stream))
        self.device.refuse_while_capturing("cudaStreamSynchronize", found)
        found.run()

    @_call(0)
    def cudaStreamQuery(self, stream: Any) -> None:
        found = self.device.stream(handle(stream))
        self.device.refuse_while_capturing("cudaStreamQuery", found)
        if found.queue:
            # the second look finds it done: a loop around this call ends, as on a GPU
            found.run()
            raise CudaError(gpu.NOT_READY, "work is enqueued")

    @_call(1)
    def cudaEventCreate(self) -> Any:
        return self._event()

    @_call(1)
    def cudaEventCreateWithFlags(self, flags: int) -> Any:
        return self._event()

    def _event(self) -> Any:
        number = self.device.handle()
        self.device.events[number] = Event()
        return cudaEvent_t(number)

    def _find_event(self, event: Any) -> Event:
        found = self.device.events.get(handle(event))
        if found is None:
            raise self.device.fault(gpu.INVALID_RESOURCE_HANDLE, f"{event!r} is no live event")
        return found

    @_call(0)
    def cudaEventDestroy(self, event: Any) -> None:
        self._find_event(event)
        del self.device.events[handle(event)]

    @_call(0)
    def cudaEventRecord(self, event: Any, stream: Any) -> None:
        # a wait enqueued before keeps the mark of its own time
        self._find_event(event).mark = self.device.stream(handle(stream)).mark()

    @_call(0)
    def cudaEventSynchronize(self, event: Any) -> None:
        mark = self._find_event(event).mark
        if mark is not None:
            mark.wait()

    @_call(0)
    def cudaEventQuery(self, event: Any) -> None:
        mark = self._find_event(event).mark
        if mark is not None and not mark.done:
            mark.wait()  # the second look finds it done
            raise CudaError(gpu.NOT_READY, "the event was not reached")

    @_call(1)
    def cudaEventElapsedTime(self, start: Any, end: Any) -> float:
        first, last = self._find_event(start).mark, self._find_event(end).mark
        if first is None or last is None:
            raise self.device.fault(gpu.INVALID_RESOURCE_HANDLE, "an event was never recorded")
        if not (first.done and last.done):
            raise CudaError(gpu.NOT_READY, "an event was not reached")
        return (last.time - first.time) * 1000.0

    @_call(0)
    def cudaStreamWaitEvent(self, stream: Any, event: Any, flags: int) -> None:
        target = self.device.stream(handle(stream))
        mark = self._find_event(event).mark
        if mark is not None:
            target.add(mark.wait)

    # graphs

    @_call(0)
    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> None:
        found = self.device.stream(handle(stream))
        if found.handle == 0:
            raise self.device.fault(gpu.CAPTURE_UNSUPPORTED, "capture of the default stream")
        if found.capture is not None:
            raise self.device.fault(gpu.ILLEGAL_STATE, "a second capture of a stream")
        found.capture, found.capture_broken = Graph(), False
        found.capture_mode = int(cudaStreamCaptureMode(int(mode)))

    @_call(1)
    def cudaStreamIsCapturing(self, stream: Any) -> Any:
        found = self.device.stream(handle(stream))
        if found.capture is None:
            return cudaStreamCaptureStatus.cudaStreamCaptureStatusNone
        return cudaStreamCaptureStatus(2 if found.capture_broken else 1)

    @_call(1)
    def cudaStreamEndCapture(self, stream: Any) -> Any:
        found = self.device.stream(handle(stream))
        graph, found.capture = found.capture, None
        if graph is None:
            raise self.device.fault(gpu.CAPTURE_UNMATCHED, "end of a capture that never began")
        if found.capture_broken:
            raise CudaError(gpu.CAPTURE_INVALIDATED, "the capture was broken")
        number = self.device.handle()
        self.device.graphs[number] = graph
        return cudaGraph_t(number)

    @_call(1)
    def cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        found = self.device.graphs.get(handle(graph))
        if found is None:
            raise self.device.fault(gpu.INVALID_VALUE, f"{graph!r} is no live graph")
        number = self.device.handle()
        self.device.execs[number] = Graph(list(found.work))
        return cudaGraphExec_t(number)

    @_call(0)
    def cudaGraphLaunch(self, graphExec: Any, stream: Any) -> None:
        found = self.device.execs.get(handle(graphExec))
        if found is None:
            raise self.device.fault(gpu.INVALID_VALUE, f"{graphExec!r} is no live graph")
        target = self.device.stream(handle(stream))
        self.device.copies["graph"] = self.device.copies.get("graph", 0) + 1
        for work in found.work:
            target.add(work)

    @_call(0)
    def cudaGraphDestroy(self, graph: Any) -> None:
        if self.device.graphs.pop(handle(graph), None) is None:
            raise self.device.fault(gpu.INVALID_VALUE, f"{graph!r} is no live graph")

    @_call(0)
    def cudaGraphExecDestroy(self, graphExec: Any) -> None:
        self.device.synchronize()
        if self.device.execs.pop(handle(graphExec), None) is None:
            raise self.device.fault(gpu.INVALID_VALUE, f"{graphExec!r} is no live graph")
