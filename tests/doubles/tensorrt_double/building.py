"""The builder, its configuration."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.doubles.tensorrt_double.basics import host_memory, report
from tests.doubles.tensorrt_double.names import (
    BuilderFlag,
    DeviceType,
    EngineCapability,
    HardwareCompatibilityLevel,
    ICudaEngine,
    IErrorRecorder,
    IHostMemory,
    ILogger,
    INetworkDefinition,
    IProgressMonitor,
    MemoryPoolType,
    PreviewFeature,
    ProfilingVerbosity,
    RuntimePlatform,
    TilingOptimizationLevel,
)
from tests.doubles.tensorrt_double.profiles import CACHE, IOptimizationProfile, ITimingCache
from tests.doubles.tensorrt_double.pybind import (
    Buffer,
    CrashError,
    Object,
    UInt,
    make,
    number,
    only,
)
from tests.doubles.tensorrt_double.simulation import build

__all__ = ["TEMPLATES"]


class IBuilderConfig(Object):
    """How to build."""

    _builder: Any
    _flags: int
    _limits: dict[int, int]
    _profiles: list[Any]
    _values: dict[str, Any]
    _cache: ITimingCache | None

    def _start(self) -> None:
        total = self._device.info.total_memory
        self._limits = {0: total, 1: 0, 2: 2**30, 3: 2**29, 4: total, 5: 2**16}
        self._profiles, self._cache = [], None
        # TF32 is on from the start
        self._flags = 1 << int(self._trt.BuilderFlag.TF32)
        self._values = {}

    def _get(self, name: str, default: Any) -> Any:
        return self._values.get(name, default)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: UInt) -> None:
        if pool == self._trt.MemoryPoolType.WORKSPACE and pool_size > self._limits[4]:
            self._error(f"the workspace of {pool_size} bytes exceeds the device's memory")
            return
        self._limits[int(pool)] = pool_size

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int:
        return self._limits[int(pool)]

    def _error(self, what: str) -> None:
        report(self._builder._logger, "ERROR", f"Error Code 3: API Usage Error ({what})")

    @property
    @only(until="10")
    def max_workspace_size(self) -> int:
        return self._limits[0]

    @max_workspace_size.setter
    @only(until="10")
    def max_workspace_size(self, value: UInt) -> None:
        self._limits[0] = value

    @property
    def flags(self) -> int:
        return self._flags

    @flags.setter
    def flags(self, value: UInt) -> None:
        self._flags = value

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags |= 1 << int(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags &= ~(1 << int(flag))

    def get_flag(self, flag: BuilderFlag) -> bool:
        return bool(self._flags & 1 << int(flag))

    def _has(self, name: str) -> bool:
        flag = self._trt.BuilderFlag.__members__.get(name)
        return flag is not None and bool(self._flags & 1 << int(flag))

    def reset(self) -> None:
        self._start()

    @property
    def builder_optimization_level(self) -> int:
        return int(self._get("level", 3))

    @builder_optimization_level.setter
    def builder_optimization_level(self, value: int) -> None:
        if not 0 <= value <= 5:
            self._error(f"builder optimization level {value} is not in 0..5")
            return
        self._values["level"] = value

    @property
    def avg_timing_iterations(self) -> int:
        return int(self._get("avg", 1))

    @avg_timing_iterations.setter
    def avg_timing_iterations(self, value: int) -> None:
        self._values["avg"] = value

    @property
    def max_aux_streams(self) -> int:
        return int(self._get("aux", 7))

    @max_aux_streams.setter
    def max_aux_streams(self, value: int) -> None:
        self._values["aux"] = value

    @property
    def profile_stream(self) -> int:
        return int(self._get("stream", 0))

    @profile_stream.setter
    def profile_stream(self, value: UInt) -> None:
        self._device.stream(value)
        self._values["stream"] = value

    @property
    def hardware_compatibility_level(self) -> HardwareCompatibilityLevel:
        return self._get("hardware", self._trt.HardwareCompatibilityLevel.NONE)

    @hardware_compatibility_level.setter
    def hardware_compatibility_level(self, value: HardwareCompatibilityLevel) -> None:
        self._values["hardware"] = value

    @property
    def profiling_verbosity(self) -> ProfilingVerbosity:
        return self._get("verbosity", self._trt.ProfilingVerbosity.LAYER_NAMES_ONLY)

    @profiling_verbosity.setter
    def profiling_verbosity(self, value: ProfilingVerbosity) -> None:
        self._values["verbosity"] = value

    @property
    def engine_capability(self) -> EngineCapability:
        return self._get("capability", self._trt.EngineCapability.STANDARD)

    @engine_capability.setter
    def engine_capability(self, value: EngineCapability) -> None:
        self._values["capability"] = value

    @property
    def default_device_type(self) -> DeviceType:
        return self._get("device_type", self._trt.DeviceType.GPU)

    @default_device_type.setter
    def default_device_type(self, value: DeviceType) -> None:
        self._values["device_type"] = value

    @property
    @only(since="10.3")
    def runtime_platform(self) -> RuntimePlatform:
        return self._get("platform", self._trt.RuntimePlatform.SAME_AS_BUILD)

    @runtime_platform.setter
    def runtime_platform(self, value: RuntimePlatform) -> None:
        self._values["platform"] = value

    @property
    @only(since="10.9")
    def tiling_optimization_level(self) -> TilingOptimizationLevel:
        return self._get("tiling", self._trt.TilingOptimizationLevel.NONE)

    @tiling_optimization_level.setter
    def tiling_optimization_level(self, value: TilingOptimizationLevel) -> None:
        self._values["tiling"] = value

    @property
    @only(since="10")
    def progress_monitor(self) -> None | IProgressMonitor:
        return self._get("monitor", None)

    @progress_monitor.setter
    def progress_monitor(self, value: None | IProgressMonitor) -> None:
        self._values["monitor"] = value

    def set_tactic_sources(self, tactic_sources: UInt) -> bool:
        self._values["tactics"] = tactic_sources
        return True

    def get_tactic_sources(self) -> int:
        return int(self._get("tactics", (1 << len(self._trt.TacticSource.__members__)) - 1))

    def set_preview_feature(self, feature: PreviewFeature, enable: bool) -> None:
        self._values.setdefault("preview", {})[int(feature)] = enable

    def get_preview_feature(self, feature: PreviewFeature) -> bool:
        return bool(self._get("preview", {}).get(int(feature), False))

    def add_optimization_profile(self, profile: None | IOptimizationProfile) -> int:
        if profile is None:
            raise CrashError("add_optimization_profile(None): a null pointer")
        if not profile:
            self._error("the optimization profile is not valid")
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    def create_timing_cache(self, serialized_timing_cache: Buffer) -> None | ITimingCache:
        content = bytes(serialized_timing_cache)
        origin = self._origin()
        if not content:
            empty: ITimingCache = make(self._trt.ITimingCache, _entries={}, _origin=origin)
            return empty
        start = len(CACHE) + 32
        digest, body = content[len(CACHE) : start], content[start:]
        if not content.startswith(CACHE) or hashlib.sha256(body).digest() != digest:
            self._error("the serialized timing cache is not valid")
            return None
        found = json.loads(body)
        if found["release"] != self._release:
            self._error(f"the timing cache is of TensorRT {found['release']}")
            return None
        cache: ITimingCache = make(
            self._trt.ITimingCache, _entries=dict(found["entries"]), _origin=found["origin"]
        )
        return cache

    def _origin(self) -> str:
        info = self._device.info
        return f"{info.name} {info.compute_capability} {info.sm_count}"

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache._origin != self._origin() and not ignore_mismatch:
            self._error(f"the timing cache is of another device: {cache._origin}")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> None | ITimingCache:
        return self._cache


class Builder(Object):
    """Makes engines of networks."""

    _logger: Any
    _threads: int
    _recorder: Any

    def __init__(self, logger: ILogger) -> None:
        if self._trt._control.no_driver:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger, self._threads, self._recorder = logger, 1, None

    def create_network(self, flags: UInt = 0) -> INetworkDefinition:
        if self._trt._control.no_driver:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        if number(self._release)[0] == 10 and not flags & 2:
            report(self._logger, "VERBOSE", "the network is weakly typed")
        return make(
            self._trt.INetworkDefinition, _builder=self, _flags=flags, _name="", _model=None
        )

    def create_builder_config(self) -> IBuilderConfig:
        return make(self._trt.IBuilderConfig, _builder=self)  # type: ignore[no-any-return]

    def create_optimization_profile(self) -> IOptimizationProfile:
        return make(self._trt.IOptimizationProfile)  # type: ignore[no-any-return]

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> None | IHostMemory:
        plan = build(self, network, config)
        return None if plan is None else host_memory(self._trt, plan.to_bytes())

    @only(since="10.9")
    def build_engine_with_config(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> None | ICudaEngine:
        plan = build(self, network, config)
        if plan is None:
            return None
        return make(self._trt.ICudaEngine, _plan=plan, _logger=self._logger, _runtime=self)

    def is_network_supported(self, network: INetworkDefinition, config: IBuilderConfig) -> bool:
        return network._model is not None

    @property
    @only(until="11")
    def platform_has_fast_fp16(self) -> bool:
        return True

    @property
    @only(until="11")
    def platform_has_fast_int8(self) -> bool:
        return True

    @property
    @only(until="11")
    def platform_has_tf32(self) -> bool:
        return True

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
    def error_recorder(self) -> None | IErrorRecorder:
        return self._recorder

    @error_recorder.setter
    def error_recorder(self, value: None | IErrorRecorder) -> None:
        self._recorder = value

    @property
    def logger(self) -> ILogger:
        return self._logger

    def reset(self) -> None:
        pass


TEMPLATES: tuple[type, ...] = (IBuilderConfig, Builder)
