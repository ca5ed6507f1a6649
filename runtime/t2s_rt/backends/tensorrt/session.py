"""A session on an engine: copies, streams and the order between them.

A run goes over one stream of the session: host inputs are staged in page-locked memory and
copied, device inputs are read where they lie, the engine is enqueued, host outputs come back
through page-locked memory. The host waits once, at the end, also where every output is kept on
the device: so a stage's seconds are its own, a failure shows in the run that caused it, and a
feed is its owner's again. Work of several sessions overlaps by calling them from several threads;
the wait lets other threads run.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress

import numpy as np

from t2s_rt.backends.base import Session
from t2s_rt.backends.device import Array, DeviceArray
from t2s_rt.backends.options import BackendOptions
from t2s_rt.backends.tensorrt.cuda import Cuda
from t2s_rt.backends.tensorrt.device import device_identity
from t2s_rt.backends.tensorrt.engine import Engine, Shape
from t2s_rt.backends.tensorrt.graphs import GraphReplay
from t2s_rt.backends.tensorrt.library import Library, load_library
from t2s_rt.backends.tensorrt.memory import Buffer, Lender
from t2s_rt.bundle import GraphEntry
from t2s_rt.errors import BackendError
from t2s_rt.plans import EngineCache, EngineFiles

__all__ = ["TensorRtSession"]

_ALIGNMENT = 256
"""Bytes that every address given to TensorRT is a multiple of (NvInferRuntime.h)."""
_LEGACY_STREAM = 1
_VERIFIED = "verified"


class TensorRtSession(Session):
    """A graph as a TensorRT engine, found in the engine cache and never built here.

    Args:
        entry: the graph.
        options: ``device_index``, ``cuda_graph``, ``engines`` and ``allow_unverified`` count.
        reason: why this backend was chosen.

    Raises:
        MissingExtraError: TensorRT or cuda-python is not installed.
        BackendError: no usable device; no engine of this graph for it; the engine's files are
            damaged, or nobody verified it; TensorRT refuses it; the device's memory is full.
    """

    backend = "tensorrt"
    device = "cuda"

    def __init__(
        self,
        entry: GraphEntry,
        options: BackendOptions | None = None,
        reason: str = "asked for",
    ) -> None:
        super().__init__(entry, reason)
        chosen = options or BackendOptions()
        self.device_index = chosen.device_index
        self._lock = threading.Lock()
        self._library: Library = load_library()
        self._cuda = Cuda.load(chosen.device_index)
        self._files, self._verdict = _find_engine(entry, self._library, self._cuda, chosen)
        if not self._verdict.startswith(_VERIFIED):
            # one text for all sessions alike: a report lists it once
            self.warnings += (f"an engine {self._verdict}; run t2s-rt verify on this device",)
        if self._library.note:
            self.warnings += (self._library.note,)
        self._owner = ExitStack()
        try:
            self._open(chosen)
        except BaseException:
            self._owner.close()
            raise

    def _open(self, options: BackendOptions) -> None:
        """Make everything that a run needs; the owner frees it in the opposite order."""
        self._lender = Lender(self._cuda)
        self._owner.callback(self._lender.close)
        self._event = self._cuda.create_event()
        self._owner.callback(self._cuda.destroy_event, self._event)
        memory = self._owner.enter_context(ExitStack())  # freed after the engine
        self._engine = Engine(self._library, self.entry, self._files)
        self._owner.callback(self._engine.close)
        tensors = {**self._engine.inputs, **self._engine.outputs}
        self._buffers = {
            name: Buffer(self._cuda, name, tensor.dtype, tensor.nbytes, memory)
            for name, tensor in tensors.items()
        }
        self._replay: GraphReplay | None = None
        if options.cuda_graph:
            self._replay = GraphReplay(self._cuda, self._engine.enqueue)
            self._owner.callback(self._replay.drop)
            for name, buffer in self._buffers.items():
                self._engine.bind(name, buffer.pointer)
        # whatever is still enqueued ends before anything that it uses
        self._owner.callback(self._cuda.synchronize, self._lender.stream)

    @property
    def files(self) -> EngineFiles:
        """The engine that was loaded; ``t2s-rt verify`` puts its verdict beside it."""
        return self._files

    @property
    def greatest(self) -> Mapping[str, Shape]:
        """The greatest shape of every input, from the engine's profile."""
        return {name: tensor.greatest for name, tensor in self._engine.inputs.items()}

    def describe(self) -> str:
        """One line: role, precision, TensorRT's version, engine, verdict and CUDA graph."""
        parts = [
            super().describe(),
            f"TensorRT {self._library.version}",
            f"engine {self._files.folder.name}",
            self._verdict,
        ]
        if self._replay is not None:
            parts.append(self._replay.note or "CUDA graph")
        return ", ".join(parts)

    def _run(self, feeds: dict[str, Array], keep: frozenset[str]) -> dict[str, Array]:
        kept: dict[str, DeviceArray] = {}
        with self._lock:
            self._cuda.use()
            try:
                return self._compute(feeds, keep, kept)
            except BaseException:
                self._settle(kept)
                raise

    def _compute(
        self, feeds: dict[str, Array], keep: frozenset[str], kept: dict[str, DeviceArray]
    ) -> dict[str, Array]:
        stream = self._lender.stream
        shapes = {name: tuple(array.shape) for name, array in feeds.items()}
        self._engine.set_shapes(shapes)
        pointers = self._send(feeds, stream)
        sizes = {name: self._output_shape(name) for name in self._engine.outputs}
        for name in sizes:
            if name in keep:
                tensor = self._engine.outputs[name]
                kept[name] = self._lender.lend(name, sizes[name], tensor.dtype, tensor.nbytes)
        if self._replay is not None:
            self._replay.run(shapes, stream)
            self._copy_kept(kept, stream)
        else:
            for name, pointer in pointers.items():
                self._engine.bind(name, pointer)
            for name in sizes:
                place = kept[name].pointer if name in kept else self._buffers[name].pointer
                self._engine.bind(name, place)
            self._engine.enqueue(stream)
        return self._receive(sizes, kept, stream)

    def _send(self, feeds: dict[str, Array], stream: int) -> dict[str, int]:
        """Enqueue what brings the inputs to the device; return where each of them lies."""
        pointers = {}
        for name, array in feeds.items():
            buffer = self._buffers[name]
            if isinstance(array, DeviceArray):
                pointers[name] = self._take(name, array, buffer, stream)
                continue
            np.copyto(buffer.staged(array.shape), array)
            self._cuda.copy(buffer.pointer, buffer.staging, array.nbytes, "HostToDevice", stream)
            pointers[name] = buffer.pointer
        return pointers

    def _take(self, name: str, array: DeviceArray, buffer: Buffer, stream: int) -> int:
        """Where the engine reads a device array, once the array's own stream has written it."""
        pointer = array.pointer
        home = self._cuda.home_of(pointer)
        if home != self.device_index:
            found = "no device memory" if home is None else f"memory of the device {home}"
            raise BackendError(
                f"{self.entry.role}, input {name}: expected an array in the memory of the CUDA "
                f"device {self.device_index}, found {found} at {pointer:#x}; copy it there first"
            )
        if array.stream is not None and array.stream != stream:
            # 0 can only mean the default stream; waiting for the strictest one is always right
            self._cuda.wait_for(stream, array.stream or _LEGACY_STREAM, self._event)
        if self._replay is None and pointer % _ALIGNMENT == 0:
            return pointer
        # a graph reads from fixed addresses, and TensorRT from aligned ones
        self._cuda.copy(buffer.pointer, pointer, array.nbytes, "DeviceToDevice", stream)
        return buffer.pointer

    def _output_shape(self, name: str) -> Shape:
        shape = self._engine.output_shape(name)
        tensor = self._engine.outputs[name]
        if int(np.prod(shape, dtype=np.int64)) * tensor.dtype.itemsize > tensor.nbytes:
            raise BackendError(
                f"{self.entry.role}, output {name}: expected at most {list(tensor.greatest)}, "
                f"found {list(shape)}; run t2s-rt build again"
            )
        return shape

    def _copy_kept(self, kept: dict[str, DeviceArray], stream: int) -> None:
        for name, array in kept.items():
            source = self._buffers[name].pointer
            self._cuda.copy(array.pointer, source, array.nbytes, "DeviceToDevice", stream)

    def _receive(
        self,
        sizes: dict[str, Shape],
        kept: dict[str, DeviceArray],
        stream: int,
    ) -> dict[str, Array]:
        """Bring the outputs back that the host wants, and wait for the end of the run."""
        for name in (name for name in sizes if name not in kept):
            buffer = self._buffers[name]
            nbytes = buffer.staged(sizes[name]).nbytes
            self._cuda.copy(buffer.staging, buffer.pointer, nbytes, "DeviceToHost", stream)
        self._cuda.synchronize(stream)
        self._lender.trim()
        return {
            name: kept[name] if name in kept else self._buffers[name].staged(sizes[name]).copy()
            for name in sizes
        }

    def _settle(self, kept: dict[str, DeviceArray]) -> None:
        """After a failure: nothing enqueued may touch what the caller gets back."""
        with suppress(BackendError):  # the failure that is on its way says more
            self._cuda.synchronize(self._lender.stream)
        for array in kept.values():
            array.release()

    def _close(self) -> None:
        with self._owner:  # frees all of it, whatever fails
            self._cuda.use()
        self._buffers.clear()


def _find_engine(
    entry: GraphEntry, library: Library, cuda: Cuda, options: BackendOptions
) -> tuple[EngineFiles, str]:
    """The engine to load and what ``t2s-rt verify`` said of it, for people.

    Raises:
        BackendError: there is none, nobody verified it, or its plan is damaged.
    """
    files = EngineCache(options.engines).find(entry, library.version, device_identity(cuda))
    verdict = _vouch(files, options.allow_unverified)
    files.check_plan()
    return files, verdict


def _vouch(files: EngineFiles, allow: bool) -> str:
    report = files.sign_off()
    if report is not None and report.verdict == "passed":
        return f"{_VERIFIED} {report.verified}"
    if report is None:
        found, short = "none", "was not verified"
    else:
        found = f"a failed one ({'; '.join(report.faults) or 'no fault named'})"
        short = "failed its verification"
    if allow:
        return f"{short}, used all the same"
    raise BackendError(
        f"{files.folder}: expected a passed verdict of t2s-rt verify on this engine, found "
        f"{found}; run t2s-rt verify on this device, or take the risk with --allow-unverified"
    )
