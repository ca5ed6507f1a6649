"""Streams, events and graphs of ``cuda.bindings.runtime``."""

from __future__ import annotations

import threading
from typing import Any

from tests.doubles import device as gpu
from tests.doubles.cuda_double.calls import Calls, call
from tests.doubles.cuda_double.enums import cudaStreamCaptureMode, cudaStreamCaptureStatus
from tests.doubles.cuda_double.handles import (
    cudaEvent_t,
    cudaGraph_t,
    cudaGraphExec_t,
    cudaStream_t,
    handle,
)
from tests.doubles.device import CudaError, Event, Graph

__all__ = ["StreamCalls"]


class StreamCalls(Calls):
    """Names and parameters are the package's."""

    @call(1)
    def cudaStreamCreate(self) -> Any:
        return cudaStream_t(self.device.create_stream(False))

    @call(1)
    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        return cudaStream_t(self.device.create_stream(bool(int(flags) & 1)))

    @call(1)
    def cudaStreamCreateWithPriority(self, flags: int, priority: int) -> Any:
        return cudaStream_t(self.device.create_stream(bool(int(flags) & 1)))

    @call(2)
    def cudaDeviceGetStreamPriorityRange(self) -> tuple[int, int]:
        return 0, -5

    @call(0)
    def cudaStreamDestroy(self, stream: Any) -> None:
        if handle(stream) == 0:
            raise self.device.fault(gpu.INVALID_RESOURCE_HANDLE, "the default stream stays")
        self.device.destroy_stream(handle(stream))

    @call(0)
    def cudaStreamSynchronize(self, stream: Any) -> None:
        found = self.device.stream(handle(stream))
        self.device.refuse_while_capturing("cudaStreamSynchronize", found)
        found.run()

    @call(0)
    def cudaStreamQuery(self, stream: Any) -> None:
        found = self.device.stream(handle(stream))
        self.device.refuse_while_capturing("cudaStreamQuery", found)
        if found.queue:
            # the second look finds it done: a loop around this call ends, as on a GPU
            found.run()
            raise CudaError(gpu.NOT_READY, "work is enqueued")

    @call(1)
    def cudaEventCreate(self) -> Any:
        return self._event()

    @call(1)
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

    @call(0)
    def cudaEventDestroy(self, event: Any) -> None:
        self._find_event(event)
        del self.device.events[handle(event)]

    @call(0)
    def cudaEventRecord(self, event: Any, stream: Any) -> None:
        # a wait enqueued before keeps the mark of its own time
        self._find_event(event).mark = self.device.stream(handle(stream)).mark()

    @call(0)
    def cudaEventSynchronize(self, event: Any) -> None:
        mark = self._find_event(event).mark
        if mark is not None:
            mark.wait()

    @call(0)
    def cudaEventQuery(self, event: Any) -> None:
        mark = self._find_event(event).mark
        if mark is not None and not mark.done:
            mark.wait()  # the second look finds it done
            raise CudaError(gpu.NOT_READY, "the event was not reached")

    @call(1)
    def cudaEventElapsedTime(self, start: Any, end: Any) -> float:
        first, last = self._find_event(start).mark, self._find_event(end).mark
        if first is None or last is None:
            raise self.device.fault(gpu.INVALID_RESOURCE_HANDLE, "an event was never recorded")
        if not (first.done and last.done):
            raise CudaError(gpu.NOT_READY, "an event was not reached")
        return (last.time - first.time) * 1000.0

    @call(0)
    def cudaStreamWaitEvent(self, stream: Any, event: Any, flags: int) -> None:
        target = self.device.stream(handle(stream))
        mark = self._find_event(event).mark
        if mark is not None:
            target.add(mark.wait)

    # graphs

    @call(0)
    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> None:
        found = self.device.stream(handle(stream))
        if found.handle == 0:
            raise self.device.fault(gpu.CAPTURE_UNSUPPORTED, "capture of the default stream")
        if found.capture is not None:
            raise self.device.fault(gpu.ILLEGAL_STATE, "a second capture of a stream")
        found.capture, found.capture_broken = Graph(), False
        found.capture_mode = int(cudaStreamCaptureMode(int(mode)))
        found.capture_thread = threading.get_ident()

    @call(1)
    def cudaStreamIsCapturing(self, stream: Any) -> Any:
        found = self.device.stream(handle(stream))
        if found.capture is None:
            return cudaStreamCaptureStatus.cudaStreamCaptureStatusNone
        return cudaStreamCaptureStatus(2 if found.capture_broken else 1)

    @call(1)
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

    @call(1)
    def cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        found = self.device.graphs.get(handle(graph))
        if found is None:
            raise self.device.fault(gpu.INVALID_VALUE, f"{graph!r} is no live graph")
        number = self.device.handle()
        self.device.execs[number] = Graph(list(found.work))
        return cudaGraphExec_t(number)

    @call(0)
    def cudaGraphLaunch(self, graphExec: Any, stream: Any) -> None:
        found = self.device.execs.get(handle(graphExec))
        if found is None:
            raise self.device.fault(gpu.INVALID_VALUE, f"{graphExec!r} is no live graph")
        target = self.device.stream(handle(stream))
        self.device.copies["graph"] = self.device.copies.get("graph", 0) + 1
        for work in found.work:
            target.add(work)

    @call(0)
    def cudaGraphDestroy(self, graph: Any) -> None:
        if self.device.graphs.pop(handle(graph), None) is None:
            raise self.device.fault(gpu.INVALID_VALUE, f"{graph!r} is no live graph")

    @call(0)
    def cudaGraphExecDestroy(self, graphExec: Any) -> None:
        self.device.synchronize()
        if self.device.execs.pop(handle(graphExec), None) is None:
            raise self.device.fault(gpu.INVALID_VALUE, f"{graphExec!r} is no live graph")
