"""The GPU that the doubles pretend to have: memory that is tracked, streams that run late.

What a GPU would answer with silent corruption is caught here:

* Device addresses mean nothing to the host, as on a real machine, and every copy and every kernel
  looks its range up, so that use after free, a second free and a range too long are found.
* Work on a stream runs at the first synchronisation that asks for it and not before. Memory starts
  as 0xFF bytes (a NaN in each float format), so whoever reads without waiting reads no number.
* Order between streams exists only through events, or the legacy default stream.
* A captured graph keeps the addresses of its capture.

Misuse is answered with the error code that CUDA documents for it, and written to
:attr:`Device.faults`; what is left over at the end is in :meth:`Device.leaks`.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Allocation", "CudaError", "Device", "DeviceInfo", "Event", "Graph", "Mark", "Stream"]

POISON = 0xFF
"""What fresh memory holds."""

SUCCESS = 0
INVALID_VALUE = 1
MEMORY_ALLOCATION = 2
INVALID_DEVICE = 101
INVALID_RESOURCE_HANDLE = 400
NOT_READY = 600
ILLEGAL_ADDRESS = 700
CAPTURE_UNSUPPORTED = 900
CAPTURE_INVALIDATED = 901
CAPTURE_UNMATCHED = 903
ILLEGAL_STATE = 401

_BASE = 0x7_0000_0000
"""First device address: nothing that the host could read without a crash."""
_ALIGNMENT = 512
_GLOBAL, _THREAD_LOCAL = 0, 1  # modes of capture; the third forbids nothing
_GUARD = 4096
"""Bytes between allocations that belong to none."""


class CudaError(Exception):
    """A call that CUDA would answer with an error code."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(what)
        self.code = code


@dataclass(frozen=True)
class DeviceInfo:
    """What identifies a GPU; the default is like an Orin's, but says what it is."""

    name: str = "Double GPU (simulated)"
    compute_capability: tuple[int, int] = (8, 7)
    sm_count: int = 16
    total_memory: int = 8 * 2**30
    l2_cache: int = 4 * 2**20
    memory_bus_bits: int = 256
    clock_khz: int = 1_300_000
    memory_clock_khz: int = 3_200_000
    shared_memory_per_block: int = 48 * 2**10
    integrated: bool = True
    uuid: bytes = bytes(range(16))
    driver_version: int = 13000


@dataclass
class Allocation:
    """A live piece of memory: of the device, or page-locked of the host."""

    address: int
    size: int
    kind: str
    data: ctypes.Array[ctypes.c_char]

    def at(self, address: int) -> int:
        """The host address behind an address inside this allocation."""
        return ctypes.addressof(self.data) + address - self.address


Work = Callable[[], None]


@dataclass
class Graph:
    """Recorded work."""

    work: list[Work] = field(default_factory=list)


class Mark:
    """A point in a stream: what an event holds from one recording."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.time = 0.0
        self.done = False

    def wait(self) -> None:
        """Run the stream up to that point."""
        if self.stream.capture is not None and not self.done:
            raise NotImplementedError("the double models no capture that spans several streams")
        if not self.done:
            self.stream.run(until=self)

    def reached(self) -> None:
        """The stream has come here."""
        self.done, self.time = True, time.perf_counter()


@dataclass
class Event:
    """An event; without a mark it counts as reached, as in CUDA."""

    mark: Mark | None = None


class Stream:
    """Work in order that waits until somebody synchronises."""

    def __init__(self, device: Device, handle: int, non_blocking: bool = False) -> None:
        self.device = device
        self.handle = handle
        self.non_blocking = non_blocking
        self.queue: deque[Work] = deque()
        self.capture: Graph | None = None
        self.capture_mode = 0
        self.capture_thread = 0
        self.capture_broken = False
        self._lock = threading.RLock()

    def add(self, work: Work) -> None:
        """Enqueue work; while capturing, record it instead."""
        if self.capture is not None:
            self.capture.work.append(work)
            return
        if self.handle == 0:
            # the legacy default stream waits for all blocking streams, and they for it
            self.queue.extend(other.mark().wait for other in self.device.blocking_streams())
        elif not self.non_blocking and self.device.default_stream.queue:
            self.queue.append(self.device.default_stream.mark().wait)
        self.queue.append(work)

    def mark(self) -> Mark:
        """Put a mark behind all that is enqueued."""
        mark = Mark(self)
        if self.capture is not None:
            self.capture.work.append(mark.reached)
        else:
            self.queue.append(mark.reached)
        return mark

    def run(self, until: Mark | None = None) -> None:
        """Run what is enqueued, or its part up to a mark."""
        with self._lock:
            while self.queue and not (until is not None and until.done):
                self.queue.popleft()()


class Device:
    """One simulated GPU with everything that is alive on it."""

    def __init__(self, info: DeviceInfo | None = None) -> None:
        self.info = info or DeviceInfo()
        self.faults: list[str] = []
        self.allocations: dict[int, Allocation] = {}
        self.freed: set[int] = set()
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, Event] = {}
        self.graphs: dict[int, Graph] = {}
        self.execs: dict[int, Graph] = {}
        self.objects: dict[int, str] = {}
        """Live engines and contexts."""
        self.default_stream = Stream(self, 0)
        self.sticky = SUCCESS
        self.peak = 0
        self.copies: dict[str, int] = {}
        """Copies and launches by kind, for tests that count them."""
        self.fail: dict[str, int] = {}
        """Calls by name that fail, with the code that they answer."""
        self._next = _BASE
        self._handles = itertools.count(0x5000, 16)
        self._lock = threading.RLock()

    def fault(self, code: int, what: str) -> CudaError:
        """Remember a misuse; to be raised."""
        self.faults.append(what)
        if code == ILLEGAL_ADDRESS:
            self.sticky = code  # as on a GPU: nothing works in this process any more
        return CudaError(code, what)

    def handle(self) -> int:
        """A new handle: an address-like number that is no memory."""
        return next(self._handles)

    # memory

    def allocate(self, size: int, kind: str = "device") -> int:
        """Make a piece of memory, filled with poison.

        Raises:
            CudaError: there is not that much.
        """
        with self._lock:
            if size == 0:
                return 0
            if self.used() + size > self.info.total_memory:
                raise CudaError(MEMORY_ALLOCATION, f"{size} bytes are not there")
            data = (ctypes.c_char * size)()
            ctypes.memset(data, POISON, size)
            if kind == "host":
                address = ctypes.addressof(data)
            else:
                address = self._next
                self._next += -(-(size + _GUARD) // _ALIGNMENT) * _ALIGNMENT
            self.freed.discard(address)
            self.allocations[address] = Allocation(address, size, kind, data)
            self.peak = max(self.peak, self.used())
            return address

    def used(self) -> int:
        """Bytes of device memory in use."""
        return sum(a.size for a in self.allocations.values() if a.kind == "device")

    def free(self, address: int, kind: str = "device") -> None:
        """Free a piece of memory, once all enqueued work is done, as cudaFree does.

        Raises:
            CudaError: it is not alive, or of the other kind.
        """
        if address == 0:
            return
        self.synchronize()
        self._drop(address, kind)

    def _drop(self, address: int, kind: str) -> None:
        with self._lock:
            found = self.allocations.get(address)
            if found is None:
                again = " a second time" if address in self.freed else ", which is no allocation"
                raise self.fault(INVALID_VALUE, f"freed {address:#x}{again}")
            if found.kind != kind:
                raise self.fault(INVALID_VALUE, f"freed {found.kind} memory as {kind} memory")
            del self.allocations[address]
            self.freed.add(address)

    def free_async(self, address: int, stream: Stream) -> None:
        """Free a piece of device memory in stream order."""
        stream.add(lambda: self._drop(address, "device"))

    def find(self, address: int, size: int) -> Allocation | None:
        """The live allocation that holds the whole range."""
        with self._lock:
            for found in self.allocations.values():
                if found.address <= address and address + size <= found.address + found.size:
                    return found
        return None

    def host_address(self, address: int, size: int, what: str) -> int:
        """Where a range of device memory (or page-locked host memory) really is.

        Raises:
            CudaError: it is not wholly inside one live allocation.
        """
        found = self.find(address, size)
        if found is None:
            raise self.fault(
                ILLEGAL_ADDRESS,
                f"{what}: {size} bytes at {address:#x} are not inside a live allocation",
            )
        return found.at(address)

    def is_pageable(self, address: int) -> bool:
        """Whether an address is ordinary host memory."""
        return self.find(address, 1) is None and not self.is_device(address)

    def is_device(self, address: int) -> bool:
        """Whether an address lies in the device's address space, live or not."""
        return _BASE <= address < self._next

    # streams

    def stream(self, handle: int) -> Stream:
        """A live stream by its handle.

        Raises:
            CudaError: there is none.
        """
        if handle == 0:
            return self.default_stream
        found = self.streams.get(handle)
        if found is None:
            raise self.fault(INVALID_RESOURCE_HANDLE, f"{handle:#x} is no live stream")
        return found

    def create_stream(self, non_blocking: bool) -> int:
        """Make a stream."""
        handle = self.handle()
        self.streams[handle] = Stream(self, handle, non_blocking)
        return handle

    def destroy_stream(self, handle: int) -> None:
        """Destroy a stream; its work is finished, as in CUDA.

        Raises:
            CudaError: there is none.
        """
        stream = self.stream(handle)
        self.streams.pop(handle, None)
        stream.run()

    def blocking_streams(self) -> list[Stream]:
        """The streams that order themselves with the legacy default stream."""
        return [s for s in list(self.streams.values()) if not s.non_blocking]

    def synchronize(self) -> None:
        """Run everything that is enqueued anywhere."""
        self.default_stream.run()
        for stream in list(self.streams.values()):
            stream.run()

    def refuse_while_capturing(self, what: str, stream: Stream | None = None) -> None:
        """Break a capture that this call is illegal in.

        Args:
            what: name of the call.
            stream: the stream it works on; None for calls that relaxed captures permit.

        Raises:
            CudaError: a capture is under way.
        """
        candidates = [stream] if stream is not None else list(self.streams.values())
        for other in candidates:
            if other.capture is None:
                continue
            here = other.capture_mode == _GLOBAL or (
                other.capture_mode == _THREAD_LOCAL
                and other.capture_thread == threading.get_ident()
            )
            if stream is not None or here:
                other.capture_broken = True
                raise self.fault(CAPTURE_UNSUPPORTED, f"{what} while a stream is being captured")

    def leaks(self) -> list[str]:
        """What is still alive, one line each."""
        found = [
            f"{a.kind} memory at {a.address:#x}: {a.size} bytes" for a in self.allocations.values()
        ]
        found += [f"stream {handle:#x}" for handle in self.streams]
        found += [f"event {handle:#x}" for handle in self.events]
        found += [f"graph {handle:#x}" for handle in self.graphs]
        found += [f"executable graph {handle:#x}" for handle in self.execs]
        found += list(self.objects.values())
        return found
