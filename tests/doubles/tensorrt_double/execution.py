"""Execution contexts."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np
from tests.doubles import device as gpu
from tests.doubles.device import CudaError
from tests.doubles.tensorrt_double.basics import numpy_type, report, shape_of
from tests.doubles.tensorrt_double.model import Tensor
from tests.doubles.tensorrt_double.names import (
    AnyList,
    AnyTuple,
    Dims,
    ICudaEngine,
    IProfiler,
)
from tests.doubles.tensorrt_double.pybind import (
    CStr,
    Object,
    Refused,
    UInt,
    converted,
    only,
)

__all__ = ["TEMPLATES"]

_ALIGNMENT = 256
"""Of every tensor's address, as IExecutionContext::setTensorAddress asks."""


class IExecutionContext(Object):
    """An engine with its state for one inference at a time."""

    _engine: Any
    _shapes: dict[str, tuple[int, ...]]
    _addresses: dict[str, int]
    _profile: int
    _warm: bool
    _name: str
    _profiler: Any

    def _start(self) -> None:
        self._addresses, self._profile, self._name = {}, 0, ""
        self._profiler = None
        self._reset_shapes()
        self._device.objects[id(self)] = f"execution context of {self._engine._plan.name}"
        weakref.finalize(self, self._device.objects.pop, id(self), None)

    def _reset_shapes(self) -> None:
        self._warm = False
        self._shapes = {t.name: t.dims for t in self._engine._inputs() if -1 not in t.dims}

    def _error(self, call: str, text: str) -> bool:
        report(
            self._engine._logger,
            "ERROR",
            f"IExecutionContext::{call}: Error Code 3: API Usage Error ({text})",
        )
        return False

    @property
    def engine(self) -> ICudaEngine:
        return self._engine

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, value: CStr) -> None:
        self._name = value

    @property
    def profiler(self) -> None | IProfiler:
        return self._profiler

    @profiler.setter
    def profiler(self, value: None | IProfiler) -> None:
        self._profiler = value

    def set_input_shape__1(self, name: CStr, shape: AnyTuple) -> bool:
        return self._set_shape(name, shape)

    def set_input_shape__2(self, name: CStr, shape: AnyList) -> bool:
        return self._set_shape(name, shape)

    def set_input_shape__3(self, name: CStr, shape: Dims) -> bool:
        return self._set_shape(name, tuple(shape))

    def _set_shape(self, name: str, given: Any) -> bool:
        # these two overloads convert by themselves, hence another exception than everywhere else
        if len(given) > 8:
            raise RuntimeError(
                "The number of input dims exceeds the maximum allowed number of dimensions"
            )
        try:
            shape = tuple(converted(size, "int", self._trt) for size in given)
        except Refused:
            raise RuntimeError("Unable to cast Python instance to C++ type") from None
        tensor = next((t for t in self._engine._inputs() if t.name == name), None)
        if tensor is None:
            return self._error("setInputShape", f"Given invalid tensor name: {name}.")
        fits = len(shape) == len(tensor.dims) and all(
            wanted in (-1, found) for wanted, found in zip(tensor.dims, shape, strict=True)
        )
        if not fits:
            return self._error(
                "setInputShape",
                f"Static dimension mismatch while setting input shape for {name}. Set dimensions "
                f"are {list(shape)}. Expected dimensions are {list(tensor.dims)}.",
            )
        low, _, high = self._engine._plan.profiles[self._profile].get(name, (shape,) * 3)
        if any(not a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return self._error(
                "setInputShape",
                f"Set dimension {list(shape)} for tensor {name} does not satisfy any optimization "
                f"profiles. Valid range for profile {self._profile}: {list(low)}..{list(high)}.",
            )
        if self._shapes.get(name) != shape:
            self._warm = False
        self._shapes[name] = shape
        return True

    def get_tensor_shape(self, name: CStr) -> Dims:
        tensor = self._engine._find(name, "getTensorShape")
        if tensor is None:
            return shape_of(self._trt, ())
        return shape_of(self._trt, self._shape(tensor))

    def _shape(self, tensor: Tensor) -> tuple[int, ...]:
        if tensor in self._engine._inputs():
            return self._shapes.get(tensor.name, tensor.dims)
        if not self._complete():
            return tensor.dims
        found: dict[str, tuple[int, ...]] = self._engine._plan.model.output_shapes(self._shapes)
        return found[tensor.name]

    def _complete(self) -> bool:
        return len(self._shapes) == len(self._engine._inputs())

    @property
    def all_binding_shapes_specified(self) -> bool:
        return self._complete()

    @property
    @only(until="11")
    def all_shape_inputs_specified(self) -> bool:
        return True

    def infer_shapes(self) -> list[str]:
        return [t.name for t in self._engine._inputs() if t.name not in self._shapes]

    def get_max_output_size(self, name: CStr) -> int:
        tensor = self._engine._find(name, "getMaxOutputSize")
        if tensor is None or not self._complete():
            return -1
        return self._nbytes(tensor)

    def get_tensor_strides(self, name: CStr) -> Dims:
        shape = tuple(self.get_tensor_shape(name))
        strides = [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))]
        return shape_of(self._trt, strides)

    def _nbytes(self, tensor: Tensor) -> int:
        kind = np.dtype(numpy_type(self._trt.DataType.__members__[tensor.dtype]))
        return int(np.prod(self._shape(tensor), dtype=np.int64)) * kind.itemsize

    def set_tensor_address(self, name: CStr, memory: UInt) -> bool:
        if self._engine._find(name, "setTensorAddress") is None:
            return False
        if memory % _ALIGNMENT:
            self._device.faults.append(f"{name}: address {memory:#x} is not aligned to 256 bytes")
        self._addresses[name] = memory
        return True

    def get_tensor_address(self, name: CStr) -> int:
        return self._addresses.get(name, 0)

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    def set_optimization_profile_async(self, profile_index: int, stream_handle: UInt) -> bool:
        self._stream(stream_handle)
        if not 0 <= profile_index < len(self._engine._plan.profiles):
            self._error("setOptimizationProfileAsync", f"profile {profile_index} is not there")
            raise RuntimeError("Error in set optimization profile async.")
        self._profile = profile_index
        self._reset_shapes()
        return True

    def _stream(self, handle: int) -> Any:
        try:
            return self._device.stream(handle)
        except CudaError as error:
            self._error("enqueueV3", f"Cuda failure: {error}")
            return None

    def execute_async_v3(self, stream_handle: UInt) -> bool:
        stream = self._stream(stream_handle)
        if stream is None:
            return False
        problem = self._problem(stream)
        if problem:
            if stream.capture is not None:
                stream.capture_broken = True
            return self._error("enqueueV3", problem)
        if stream_handle == 0:
            report(
                self._engine._logger,
                "WARNING",
                "Using default stream in enqueueV3() may lead to performance issues due to "
                "additional calls to cudaStreamSynchronize() by TensorRT to ensure correct "
                "synchronization. Please use non-default stream instead.",
            )
        if stream.capture is None:
            self._warm = True
        stream.add(self._work())
        return True

    def execute_v2(self, bindings: list[UInt]) -> bool:
        for tensor, address in zip(self._engine._tensors(), bindings, strict=True):
            self._addresses[tensor.name] = address
        problem = self._problem(self._device.default_stream)
        if problem:
            return self._error("executeV2", problem)
        self._device.default_stream.add(self._work())
        self._device.default_stream.run()
        return True

    def _problem(self, stream: gpu.Stream) -> str:
        missing = self.infer_shapes()
        if missing:
            return f"Input shapes of {missing} are not set"
        for tensor in self._engine._tensors():
            if not self._addresses.get(tensor.name):
                return f"Address is not set for tensor {tensor.name}. Call setTensorAddress"
        if self._engine._plan.stripped:
            self._device.faults.append("execution of an engine without its weights")
            return "the engine was stripped of its weights and not refitted"
        if stream.capture is not None and not self._warm:
            return (
                "capture of the first enqueue after a change of shapes: it has updates of its own "
                "to do. Call enqueueV3 once before the capture"
            )
        return ""

    def _work(self) -> gpu.Work:
        """The inference itself; addresses and shapes are those of now."""
        model, device, trt = self._engine._plan.model, self._device, self._trt
        shapes = {t.name: self._shape(t) for t in self._engine._tensors()}
        places = dict(self._addresses)
        alive = weakref.ref(self)

        def kind_of(tensor: Tensor) -> Any:
            return np.dtype(numpy_type(trt.DataType.__members__[tensor.dtype]))

        def at(tensor: Tensor) -> tuple[int, int]:
            count = int(np.prod(shapes[tensor.name], dtype=np.int64))
            size = count * kind_of(tensor).itemsize
            return device.host_address(places[tensor.name], size, f"tensor {tensor.name}"), size

        def run() -> None:
            if alive() is None:
                raise device.fault(gpu.ILLEGAL_ADDRESS, "the execution context is gone")
            feeds = {}
            for tensor in model.inputs:
                where, size = at(tensor)
                raw = ctypes.string_at(where, size)
                feeds[tensor.name] = np.frombuffer(raw, kind_of(tensor)).reshape(
                    shapes[tensor.name]
                )
            places_of = [at(tensor) for tensor in model.outputs]
            found = model.run(feeds)
            for tensor, (where, size) in zip(model.outputs, places_of, strict=True):
                value = np.ascontiguousarray(found[tensor.name], dtype=kind_of(tensor))
                assert value.nbytes == size, (tensor, value.shape)
                ctypes.memmove(where, value.ctypes.data, size)

        return run


TEMPLATES: tuple[type, ...] = (IExecutionContext,)
