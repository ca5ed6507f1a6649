"""The runtime and its engines."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

from tests.doubles.tensorrt_double.basics import host_memory, report, shape_of
from tests.doubles.tensorrt_double.inspection import (
    EngineInspector,
    IRuntimeConfig,
    ISerializationConfig,
)
from tests.doubles.tensorrt_double.model import Tensor
from tests.doubles.tensorrt_double.names import (
    DataType,
    Dims,
    EngineCapability,
    ExecutionContextAllocationStrategy,
    HardwareCompatibilityLevel,
    IErrorRecorder,
    IExecutionContext,
    IHostMemory,
    ILogger,
    ProfilingVerbosity,
    TensorFormat,
    TensorIOMode,
    TensorLocation,
)
from tests.doubles.tensorrt_double.plan import Plan, PlanError
from tests.doubles.tensorrt_double.pybind import Buffer, CStr, Object, make, number, only

__all__ = ["TEMPLATES"]


class Runtime(Object):
    """Loads engines."""

    _logger: Any
    _host_code: bool
    _threads: int
    _folder: str | None
    _recorder: Any

    def __init__(self, logger: ILogger) -> None:
        if self._trt._control.no_driver:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger, self._host_code, self._threads = logger, False, 1
        self._folder, self._recorder = None, None

    def deserialize_cuda_engine(self, serialized_engine: Buffer) -> None | ICudaEngine:
        try:
            plan = Plan.from_bytes(bytes(serialized_engine))
            self._check(plan)
        except PlanError as error:
            report(
                self._logger,
                "ERROR",
                f"IRuntime::deserializeCudaEngine: Error Code 1: Serialization ({error})",
            )
            return None
        if plan.device_name != self._device.info.name:
            report(
                self._logger,
                "WARNING",
                "Using an engine plan file across different models of devices is not recommended "
                "and is likely to affect performance or even cause errors.",
            )
        made: ICudaEngine = make(
            self._trt.ICudaEngine, _plan=plan, _logger=self._logger, _runtime=self
        )
        return made

    def _check(self, plan: Plan) -> None:
        """Refuse a plan of another release or GPU."""
        if plan.release != self._release:
            same_major = number(plan.release)[0] == number(self._release)[0]
            if not (plan.version_compatible and same_major):
                raise PlanError(
                    "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed."
                    f"Version tag does not match. Note: Current Version: {self._release}, "
                    f"Serialized Engine Version: {plan.release}"
                )
            if plan.lean_runtime and not self._host_code:
                raise PlanError(
                    "Cannot deserialize engine with lean runtime: host code is not allowed. "
                    "Set IRuntime::setEngineHostCodeAllowed(true)"
                )
        here, there = self._device.info.compute_capability, plan.compute_capability
        fits = {
            "NONE": here == there,
            "SAME_COMPUTE_CAPABILITY": here == there,
            "AMPERE_PLUS": here >= (8, 0) and there >= (8, 0),
        }
        if not fits[plan.hardware]:
            raise PlanError(
                "The engine plan file is generated on an incompatible device, expecting compute "
                f"{here[0]}.{here[1]} got compute {there[0]}.{there[1]}, please rebuild."
            )

    @property
    def DLA_core(self) -> int:
        return -1

    @DLA_core.setter
    def DLA_core(self, value: int) -> None:
        raise NotImplementedError("the simulated device has no DLA")

    @property
    def num_DLA_cores(self) -> int:
        return 0

    @property
    def max_threads(self) -> int:
        return self._threads

    @max_threads.setter
    def max_threads(self, value: int) -> None:
        self._threads = value

    @property
    def engine_host_code_allowed(self) -> bool:
        return self._host_code

    @engine_host_code_allowed.setter
    def engine_host_code_allowed(self, value: bool) -> None:
        self._host_code = value

    @property
    def temporary_directory(self) -> None | CStr:
        return self._folder

    @temporary_directory.setter
    def temporary_directory(self, value: None | CStr) -> None:
        self._folder = value

    @property
    def logger(self) -> ILogger:
        return self._logger

    @property
    def error_recorder(self) -> None | IErrorRecorder:
        return self._recorder

    @error_recorder.setter
    def error_recorder(self, value: None | IErrorRecorder) -> None:
        self._recorder = value


class ICudaEngine(Object):
    """A loaded engine."""

    _plan: Plan
    _logger: Any
    _runtime: Any
    _was_stripped: bool

    def _start(self) -> None:
        self._was_stripped = bool(self._plan.stripped)
        self._device.objects[id(self)] = f"engine {self._plan.name}"
        weakref.finalize(self, self._device.objects.pop, id(self), None)

    def _tensors(self) -> list[Tensor]:
        assert self._plan.model is not None
        return [*self._plan.model.inputs, *self._plan.model.outputs]

    def _inputs(self) -> list[Tensor]:
        assert self._plan.model is not None
        return self._plan.model.inputs

    def _find(self, name: str, what: str) -> Tensor | None:
        for tensor in self._tensors():
            if tensor.name == name:
                return tensor
        report(
            self._logger,
            "ERROR",
            f"ICudaEngine::{what}: Error Code 3: Internal Error "
            f"(Given invalid tensor name: {name}. Get valid tensor names with getIOTensorName())",
        )
        return None

    def __getitem__(self, arg0: int) -> str:
        if not 0 <= arg0 < len(self._tensors()):
            raise IndexError("Out of bounds")
        return self._tensors()[arg0].name

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors())

    def get_tensor_name(self, index: int) -> None | str:
        if not 0 <= index < len(self._tensors()):
            report(self._logger, "ERROR", "ICudaEngine::getIOTensorName: Error Code 3 (bad index)")
            return None
        return self._tensors()[index].name

    def get_tensor_mode(self, name: CStr) -> TensorIOMode:
        found = self._find(name, "getTensorIOMode")
        modes = self._trt.TensorIOMode
        if found is None:
            return modes.NONE
        return modes.INPUT if found in self._inputs() else modes.OUTPUT

    def get_tensor_shape(self, name: CStr) -> Dims:
        found = self._find(name, "getTensorShape")
        return shape_of(self._trt, found.dims if found else ())

    def get_tensor_dtype(self, name: CStr) -> DataType:
        found = self._find(name, "getTensorDataType")
        return self._trt.DataType.__members__[found.dtype if found else "FLOAT"]

    def get_tensor_location(self, name: CStr) -> TensorLocation:
        self._find(name, "getTensorLocation")
        return self._trt.TensorLocation.DEVICE

    def get_tensor_format__1(self, name: CStr) -> TensorFormat:
        self._find(name, "getTensorFormat")
        return self._trt.TensorFormat.LINEAR

    def get_tensor_format__2(self, name: CStr, profile_index: int) -> TensorFormat:
        return self._trt.TensorFormat.LINEAR

    def is_shape_inference_io(self, name: CStr) -> bool:
        self._find(name, "isShapeInferenceIO")
        return False

    def get_tensor_profile_shape(self, name: CStr, profile_index: int) -> list[Any]:
        shapes: Any = ()
        if 0 <= profile_index < len(self._plan.profiles):
            shapes = self._plan.profiles[profile_index].get(name, ())
        if not shapes:
            report(self._logger, "ERROR", f"ICudaEngine::getProfileShape: Error Code 3 ({name})")
            shapes = ((), (), ())
        return [shape_of(self._trt, shape) for shape in shapes]

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._plan.profiles)

    @property
    def num_layers(self) -> int:
        assert self._plan.model is not None
        return len(self._plan.model.proto.graph.node)

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def refittable(self) -> bool:
        return bool(self._plan.refit)

    @property
    @only(until="11")
    def device_memory_size(self) -> int:
        return 1 << 20

    @property
    @only(since="10.3")
    def device_memory_size_v2(self) -> int:
        return 1 << 20

    @property
    def engine_capability(self) -> EngineCapability:
        return self._trt.EngineCapability.STANDARD

    @property
    def hardware_compatibility_level(self) -> HardwareCompatibilityLevel:
        return self._trt.HardwareCompatibilityLevel.__members__[self._plan.hardware]

    @property
    def profiling_verbosity(self) -> ProfilingVerbosity:
        return self._trt.ProfilingVerbosity.__members__[self._plan.verbosity]

    @property
    @only(until="11")
    def has_implicit_batch_dimension(self) -> bool:
        return False

    @property
    def num_aux_streams(self) -> int:
        return 0

    @only(until="10")
    def create_execution_context(self) -> IExecutionContext:
        return self._context()

    @only(since="10")
    def create_execution_context__1(
        self,
        strategy: ExecutionContextAllocationStrategy = None,
    ) -> IExecutionContext:
        return self._context()

    @only(since="10.10")
    def create_execution_context__2(
        self, runtime_config: None | IRuntimeConfig = None
    ) -> IExecutionContext:
        return self._context()

    def _context(self) -> Any:
        return make(self._trt.IExecutionContext, _engine=self)

    @only(since="10.10")
    def create_runtime_config(self) -> IRuntimeConfig:
        return make(self._trt.IRuntimeConfig, _strategy=None)  # type: ignore[no-any-return]

    def create_engine_inspector(self) -> EngineInspector:
        return make(self._trt.EngineInspector, _engine=self, _context=None)  # type: ignore[no-any-return]

    def serialize(self) -> IHostMemory:
        return self._bytes(self._was_stripped)

    @only(since="10")
    def create_serialization_config(self) -> ISerializationConfig:
        exclude = int(self._trt.SerializationFlag.EXCLUDE_WEIGHTS)
        flags = 1 << exclude if self._was_stripped else 0
        return make(self._trt.ISerializationConfig, _flags=flags)  # type: ignore[no-any-return]

    @only(since="10")
    def serialize_with_config(self, arg0: ISerializationConfig) -> IHostMemory:
        return self._bytes(arg0.get_flag(self._trt.SerializationFlag.EXCLUDE_WEIGHTS))

    def _bytes(self, without_weights: bool) -> Any:
        plan = self._plan
        assert plan.model is not None
        if without_weights and not plan.stripped:
            plan = replace(plan, stripped=plan.model.digests(), model=plan.model.strip())
        return host_memory(self._trt, plan.to_bytes())


TEMPLATES: tuple[type, ...] = (Runtime, ICudaEngine)
