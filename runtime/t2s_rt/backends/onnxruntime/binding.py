"""Sessions with bound memory: inputs and outputs lie where the provider computes.

``InferenceSession.run`` copies every input to the device and every output back, into memory that
it allocates anew each time. Here inputs are written into device buffers that are used again,
device arrays are bound where they lie, kept outputs stay where they were made, and the others
arrive in host memory that is used again.

The same code runs with the host's memory in place of a GPU's (``memory="cpu"``): so it is tested
on machines without one.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends.base import Session
from t2s_rt.backends.device import Array, DeviceArray, Reader
from t2s_rt.backends.onnxruntime.driver import CudaDriver
from t2s_rt.backends.onnxruntime.host_memory import HostMemory, HostPool, plain_memory
from t2s_rt.backends.onnxruntime.library import (
    Provider,
    check_file,
    create_session,
    failed,
    import_onnxruntime,
    run_options,
    session_options,
)
from t2s_rt.backends.options import BackendOptions
from t2s_rt.bundle import GraphEntry
from t2s_rt.bundle.shapes import bind_shape, known_shape
from t2s_rt.errors import BackendError

__all__ = ["BindingSession", "changing_sizes"]

_SHAPES_KEPT = 8
"""Device buffers of one input, each for one shape, that are kept for the next call."""


class BindingSession(Session):
    """A graph on an ONNX Runtime provider, through ``IOBinding``.

    Args:
        entry: the graph; external data is found beside its file.
        options: ``threads``, ``cuda_graph``, ``device_index`` and ``shrink_arena`` count; with
            ``cuda_graph``, and where every size of the graph is static, buffers keep their
            addresses, all runs happen on one thread and the first are done at once.
        reason: why this backend was chosen.
        memory: where inputs and outputs lie.
        providers: in order of preference; None takes the CPU provider.
        extra: the extra that brings the library.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        BackendError: ONNX Runtime refuses the graph.
        BundleError: the file's inputs or outputs are not those of the manifest.
    """

    backend = "onnxruntime-binding"

    def __init__(
        self,
        entry: GraphEntry,
        options: BackendOptions | None = None,
        reason: str = "asked for",
        *,
        memory: Literal["cpu", "cuda"] = "cpu",
        providers: Sequence[Provider] | None = None,
        extra: str = "cpu",
    ) -> None:
        super().__init__(entry, reason)
        chosen = options or BackendOptions()
        self._library = import_onnxruntime(extra)
        self._version: str = self._library.__version__
        self.device = memory
        self.device_index = chosen.device_index if memory == "cuda" else 0
        self._providers: tuple[Provider, ...] = tuple(providers or ("CPUExecutionProvider",))
        self._dynamic = changing_sizes(entry)
        self._fixed = chosen.cuda_graph and not self._dynamic
        settings = session_options(self._library, chosen)
        self._configure(settings)
        self._session: Any = self._create(settings)
        self._check_providers()
        check_file(entry, self._session)
        arenas = f"cpu:0;gpu:{self.device_index}" if memory == "cuda" else "cpu:0"
        self._options = run_options(self._library, chosen, arenas)
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "t2s-graph") if self._fixed else None
        self._binding: Any = self._session.io_binding()
        self._pool = HostPool(self._host_memory())
        self._buffers: dict[str, OrderedDict[tuple[int, ...], Any]] = {}
        self._results: dict[str, Any] = {}
        try:
            self._graph_note = self._prepare_graph() if chosen.cuda_graph else ""
        except BaseException:
            self._close()
            raise

    def describe(self) -> str:
        """One line: role, precision, library version, CUDA graph and reason."""
        return f"{super().describe()}, ONNX Runtime {self._version}{self._graph_note}"

    def _configure(self, settings: Any) -> None:
        """Session options of a subclass."""

    def _create(self, settings: Any) -> Any:
        """The library's session."""
        return create_session(self._library, str(self.entry.path), settings, self._providers)

    def _check_providers(self) -> None:
        """Whether the session got what was asked for; raises BackendError."""

    @property
    def _binds_device_memory(self) -> bool:
        return True

    def _run(self, feeds: dict[str, Array], keep: frozenset[str]) -> dict[str, Array]:
        compute = self._compute_fixed if self._fixed else self._compute
        try:
            with self._lock:
                if self._thread is None:
                    return compute(feeds, keep)
                # ONNX Runtime keeps a captured graph with the thread that captured it
                return self._thread.submit(compute, feeds, keep).result()
        except BackendError:
            raise
        except Exception as error:  # the library's classes share no base below Exception
            raise failed(self.entry, error) from error

    def _close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown()
        self._results.clear()
        self._buffers.clear()
        self._binding = None
        self._session = None
        self._pool.close()

    def _compute(self, feeds: dict[str, Array], keep: frozenset[str]) -> dict[str, Array]:
        """A run with sizes that may differ from the last."""
        binding = self._binding
        bound: dict[str, int] = {}
        for spec in self.inputs:
            array = feeds[spec.name]
            bind_shape(spec.shape, array.shape, bound)
            if isinstance(array, DeviceArray):
                self._wait_for(array)
                binding.bind_input(
                    spec.name,
                    self.device,
                    self.device_index,
                    array.dtype.type,
                    list(array.shape),
                    array.pointer,
                )
            else:
                value = self._buffer(spec.name, array)
                value.update_inplace(array)
                binding.bind_ortvalue_input(spec.name, value)
        outputs: dict[str, Any] = {}
        for spec in self.outputs:
            shape = known_shape(spec.shape, bound)
            outputs[spec.name] = self._bind_output(spec.name, spec.dtype, shape, spec.name in keep)
        try:
            binding.synchronize_inputs()
            self._session.run_with_iobinding(binding, self._options)
            binding.synchronize_outputs()
            open_ended = any(value is None for value in outputs.values())
            made = binding.get_outputs() if open_ended else []
        finally:
            binding.clear_binding_inputs()
            binding.clear_binding_outputs()
        for spec, value in zip(self.outputs, made, strict=False):
            if outputs[spec.name] is None:
                outputs[spec.name] = value if spec.name in keep else value.numpy()
        return {
            name: self._device_array(value) if name in keep else value
            for name, value in outputs.items()
        }

    def _bind_output(self, name: str, dtype: str, shape: tuple[int, ...] | None, keep: bool) -> Any:
        """Say where an output goes: an OrtValue, a host array, or None: the library's choice."""
        kind = np.dtype(dtype).type
        if shape is None:
            place = (self.device, self.device_index) if keep else ("cpu", 0)
            self._binding.bind_output(name, *place)
            return None
        if keep:
            value = self._value(shape, kind)
            self._binding.bind_ortvalue_output(name, value)
            return value
        host = self._pool.array(shape, kind)
        self._binding.bind_output(name, "cpu", 0, kind, list(shape), host.ctypes.data)
        return host

    def _prepare_graph(self) -> str:
        """Bind fixed buffers and run on zeros, so that the CUDA graph exists; returns a note."""
        if not self._fixed:
            return f", no CUDA graph: {', '.join(self._dynamic)} may change"
        zeros: dict[str, Array] = {
            spec.name: np.zeros([int(size) for size in spec.shape], spec.dtype)
            for spec in self.inputs
        }
        for name, array in zeros.items():
            self._binding.bind_ortvalue_input(name, self._buffer(name, array))
        for spec in self.outputs:
            shape = tuple(int(size) for size in spec.shape)
            self._results[spec.name] = self._value(shape, np.dtype(spec.dtype).type)
            self._binding.bind_ortvalue_output(spec.name, self._results[spec.name])
        self._run(zeros, frozenset())
        return ", CUDA graph"

    def _compute_fixed(self, feeds: dict[str, Array], keep: frozenset[str]) -> dict[str, Array]:
        """A run with the buffers of the CUDA graph, whose results are copied out of them."""
        for name, array in feeds.items():
            (value,) = self._buffers[name].values()
            if isinstance(array, DeviceArray):
                self._wait_for(array)
                self._copy(array.pointer, value)
            else:
                value.update_inplace(array)
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding, self._options)
        self._binding.synchronize_outputs()
        outputs: dict[str, Array] = {}
        for spec in self.outputs:
            value = self._results[spec.name]
            if spec.name in keep:
                copy = self._value(tuple(value.shape()), np.dtype(spec.dtype).type)
                self._copy(value.data_ptr(), copy)
                outputs[spec.name] = self._device_array(copy)
            else:
                # on the host the library gives a view of the buffer that the next run writes
                outputs[spec.name] = np.array(value.numpy(), copy=self.device == "cpu")
        return outputs

    def _buffer(self, name: str, array: NDArray[Any] | DeviceArray) -> Any:
        """The device buffer of an input for this shape; the least recently used one goes."""
        kept = self._buffers.setdefault(name, OrderedDict())
        if array.shape not in kept:
            kept[array.shape] = self._value(array.shape, array.dtype.type)
        kept.move_to_end(array.shape)
        while len(kept) > _SHAPES_KEPT:
            kept.popitem(last=False)
        return kept[array.shape]

    def _value(self, shape: tuple[int, ...], kind: Any) -> Any:
        return self._library.OrtValue.ortvalue_from_shape_and_type(
            list(shape), kind, self.device, self.device_index
        )

    def _device_array(self, value: Any) -> DeviceArray:
        """An OrtValue as the caller's own."""
        kept = [value]
        base = value.data_ptr()
        return DeviceArray(
            base,
            tuple(value.shape()),
            _NUMPY_TYPES[value.data_type()],
            free=kept.clear,
            read=_reader(kept, base),
            device=self.device,
            device_index=self.device_index,
        )

    def _copy(self, source: int, target: Any) -> None:
        """Fill an OrtValue from an address in the same memory."""
        size = target.tensor_size_in_bytes()
        if self.device == "cuda":
            _driver(self.device_index).copy(source, target.data_ptr(), size)
        else:
            ctypes.memmove(target.data_ptr(), source, size)

    def _wait_for(self, array: DeviceArray) -> None:
        """Until the work that fills an array is done."""
        if array.stream is not None and self.device == "cuda":
            _driver(self.device_index).wait_for(array.stream)

    def _host_memory(self) -> HostMemory:
        return plain_memory if self.device == "cpu" else _driver(self.device_index).pinned


def changing_sizes(entry: GraphEntry) -> tuple[str, ...]:
    """The sizes that differ from call to call; where there are none, a CUDA graph can be made."""
    sizes = {size for spec in (*entry.inputs, *entry.outputs) for size in spec.shape}
    return tuple(sorted(size for size in sizes if isinstance(size, str)))


_NUMPY_TYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(float)": "float32",
    "tensor(bool)": "bool",
}


@cache
def _driver(device_index: int) -> CudaDriver:
    """One driver object for each device of the process."""
    return CudaDriver(device_index)


def _reader(kept: list[Any], base: int) -> Reader:
    """Copies from an OrtValue, or from some rows of it."""

    def read(pointer: int, out: NDArray[Any]) -> None:
        whole = kept[0].numpy().reshape(-1)
        start = (pointer - base) // out.itemsize
        out.reshape(-1)[:] = whole[start : start + out.size]

    return read
