"""The releases, and their enums with the values of each.

10.13 and 11.4 are checked against the genuine bindings (tests/trt). 10.3 is 10.13 without what came
later; 8.6 is written from its public headers, and no genuine module was at hand to check it.
"""

from __future__ import annotations

from types import ModuleType

from tests.doubles.tensorrt_double.enums import make_enum
from tests.doubles.tensorrt_double.pybind import number

__all__ = ["RELEASES", "add_enums", "enums_of"]

RELEASES = {
    "8.6": "8.6.1",
    "10.3": "10.3.0",
    "10.13": "10.13.3.9",
    "11.4": "11.4.0.106",
}
"""Short names of the releases that the double knows, with their full numbers."""

Values = dict[str, int]


def _count(*names: str, start: int = 0) -> Values:
    return {name: value for value, name in enumerate(names, start)}


_SEVERITY = _count("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")

_COMMON: dict[str, Values] = {
    "DataType": {
        **{"FLOAT": 0, "HALF": 1, "INT8": 2, "INT32": 3, "BOOL": 4, "UINT8": 5, "FP8": 6},
        **{"BF16": 7, "INT64": 8, "INT4": 9, "FP4": 10, "E8M0": 11},
    },
    "MemoryPoolType": _count(
        "WORKSPACE",
        "DLA_MANAGED_SRAM",
        "DLA_LOCAL_DRAM",
        "DLA_GLOBAL_DRAM",
        "TACTIC_DRAM",
        "TACTIC_SHARED_MEMORY",
    ),
    "HardwareCompatibilityLevel": _count("NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"),
    "OnnxParserFlag": _count("NATIVE_INSTANCENORM", "ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA"),
    "TensorIOMode": _count("NONE", "INPUT", "OUTPUT"),
    "TensorLocation": _count("DEVICE", "HOST"),
    "ProfilingVerbosity": _count("LAYER_NAMES_ONLY", "NONE", "DETAILED"),
    "ErrorCode": _count(
        *("SUCCESS", "INTERNAL_ERROR", "MEM_ALLOC_FAILED", "MODEL_DESERIALIZE_FAILED"),
        *("INVALID_VALUE", "INVALID_GRAPH", "INVALID_NODE", "UNSUPPORTED_GRAPH"),
        *("UNSUPPORTED_NODE", "UNSUPPORTED_NODE_ATTR", "UNSUPPORTED_NODE_INPUT"),
        *("UNSUPPORTED_NODE_DATATYPE", "UNSUPPORTED_NODE_DYNAMIC", "UNSUPPORTED_NODE_SHAPE"),
        "REFIT_FAILED",
    ),
    "ErrorCodeTRT": _count(
        *("SUCCESS", "UNSPECIFIED_ERROR", "INTERNAL_ERROR", "INVALID_ARGUMENT"),
        *("INVALID_CONFIG", "FAILED_ALLOCATION", "FAILED_INITIALIZATION", "FAILED_EXECUTION"),
        *("FAILED_COMPUTATION", "INVALID_STATE", "UNSUPPORTED_STATE"),
    ),
    "LayerInformationFormat": _count("ONELINE", "JSON"),
    "SerializationFlag": _count("EXCLUDE_WEIGHTS", "EXCLUDE_LEAN_RUNTIME"),
    "TempfileControlFlag": _count("ALLOW_IN_MEMORY_FILES", "ALLOW_TEMPORARY_FILES"),
    "ExecutionContextAllocationStrategy": _count("STATIC", "ON_PROFILE_CHANGE", "USER_MANAGED"),
    "WeightsRole": _count("KERNEL", "BIAS", "SHIFT", "SCALE", "CONSTANT", "ANY"),
    "DeviceType": _count("GPU", "DLA"),
    "EngineCapability": _count("STANDARD", "SAFETY", "DLA_STANDALONE"),
    "RuntimePlatform": _count("SAME_AS_BUILD", "WINDOWS_AMD64"),
    "TilingOptimizationLevel": _count("NONE", "FAST", "MODERATE", "FULL"),
    "TensorFormat": _count(
        *("LINEAR", "CHW2", "HWC8", "CHW4", "CHW16", "CHW32", "DHWC8", "CDHW32", "HWC"),
        *("DLA_LINEAR", "DLA_HWC4", "HWC16", "DHWC"),
    ),
}

_TEN: dict[str, Values] = {
    "NetworkDefinitionCreationFlag": _count(
        *("EXPLICIT_BATCH", "STRONGLY_TYPED"),
        *("PREFER_JIT_PYTHON_PLUGINS", "PREFER_AOT_PYTHON_PLUGINS"),
    ),
    "BuilderFlag": {
        **_count(
            *("FP16", "INT8", "DEBUG", "GPU_FALLBACK", "REFIT", "DISABLE_TIMING_CACHE", "TF32"),
            *("SPARSE_WEIGHTS", "SAFETY_SCOPE", "OBEY_PRECISION_CONSTRAINTS"),
            *("PREFER_PRECISION_CONSTRAINTS", "DIRECT_IO", "REJECT_EMPTY_ALGORITHMS"),
            *("VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME", "FP8", "ERROR_ON_TIMING_CACHE_MISS"),
            *("BF16", "DISABLE_COMPILATION_CACHE", "WEIGHTLESS"),
        ),
        "STRIP_PLAN": 19,
        **_count(
            *("REFIT_IDENTICAL", "WEIGHT_STREAMING", "INT4", "REFIT_INDIVIDUAL", "STRICT_NANS"),
            *("MONITOR_MEMORY", "FP4", "EDITABLE_TIMING_CACHE", "DISTRIBUTIVE_INDEPENDENCE"),
            start=20,
        ),
    },
    "TacticSource": _count(
        "CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"
    ),
    "PreviewFeature": _count(
        "PROFILE_SHARING_0806", "ALIASED_PLUGIN_IO_10_03", "RUNTIME_ACTIVATION_RESIZE_10_10"
    ),
}

_ELEVEN: dict[str, Values] = {
    "NetworkDefinitionCreationFlag": _count(
        "STRONGLY_TYPED", "PREFER_JIT_PYTHON_PLUGINS", "PREFER_AOT_PYTHON_PLUGINS"
    ),
    "BuilderFlag": {
        **_count(
            *("DEBUG", "GPU_FALLBACK", "REFIT", "DISABLE_TIMING_CACHE", "TF32"),
            *("SPARSE_WEIGHTS", "SAFETY_SCOPE"),
            start=2,
        ),
        **_count("DIRECT_IO", "VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME", start=11),
        **{"ERROR_ON_TIMING_CACHE_MISS": 15, "DISABLE_COMPILATION_CACHE": 17, "STRIP_PLAN": 18},
        **{"REFIT_IDENTICAL": 19, "WEIGHT_STREAMING": 20, "REFIT_INDIVIDUAL": 22},
        **{"STRICT_NANS": 23, "MONITOR_MEMORY": 24, "EDITABLE_TIMING_CACHE": 26},
        "DISTRIBUTIVE_INDEPENDENCE": 27,
    },
    "TacticSource": _count("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"),
    "PreviewFeature": _count("ALIASED_PLUGIN_IO_10_03", "RUNTIME_ACTIVATION_RESIZE_10_10"),
    "SerializationFlag": _count("EXCLUDE_WEIGHTS", "EXCLUDE_LEAN_RUNTIME", "INCLUDE_REFIT"),
    "OnnxParserFlag": _count(
        *("NATIVE_INSTANCENORM", "ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA"),
        *("REPORT_CAPABILITY_DLA", "ENABLE_PLUGIN_OVERRIDE", "ADJUST_FOR_DLA"),
    ),
    "EngineStat": _count("TOTAL_WEIGHTS_SIZE", "STRIPPED_WEIGHTS_SIZE"),
}

_EIGHT: dict[str, Values] = {
    "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH": 0},
    "BuilderFlag": _count(
        *("FP16", "INT8", "DEBUG", "GPU_FALLBACK", "STRICT_TYPES", "REFIT"),
        *("DISABLE_TIMING_CACHE", "TF32", "SPARSE_WEIGHTS", "SAFETY_SCOPE"),
        *("OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS", "DIRECT_IO"),
        *("REJECT_EMPTY_ALGORITHMS", "ENABLE_TACTIC_HEURISTIC", "VERSION_COMPATIBLE"),
        *("EXCLUDE_LEAN_RUNTIME", "FP8"),
    ),
    "TacticSource": _TEN["TacticSource"],
    "PreviewFeature": _count(
        *("FASTER_DYNAMIC_SHAPES_0805", "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"),
        "PROFILE_SHARING_0806",
    ),
}

_LATER: dict[tuple[int, ...], dict[str, set[str]]] = {
    (8, 6): {
        "DataType": {"BF16", "INT64", "INT4", "FP4", "E8M0"},
        "HardwareCompatibilityLevel": {"SAME_COMPUTE_CAPABILITY"},
        "OnnxParserFlag": {"ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA"},
        "ErrorCode": {
            *("UNSUPPORTED_NODE_ATTR", "UNSUPPORTED_NODE_INPUT", "UNSUPPORTED_NODE_DATATYPE"),
            *("UNSUPPORTED_NODE_DYNAMIC", "UNSUPPORTED_NODE_SHAPE", "REFIT_FAILED"),
        },
    },
    (10, 3): {
        "DataType": {"FP4", "E8M0"},
        "HardwareCompatibilityLevel": {"SAME_COMPUTE_CAPABILITY"},
        "OnnxParserFlag": {"ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA"},
        "NetworkDefinitionCreationFlag": {
            *("PREFER_JIT_PYTHON_PLUGINS", "PREFER_AOT_PYTHON_PLUGINS"),
        },
        "BuilderFlag": {
            *("MONITOR_MEMORY", "FP4", "EDITABLE_TIMING_CACHE", "DISTRIBUTIVE_INDEPENDENCE"),
        },
        "PreviewFeature": {"RUNTIME_ACTIVATION_RESIZE_10_10"},
    },
}
_WHOLE_LATER: dict[tuple[int, ...], set[str]] = {
    (8, 6): {
        *("SerializationFlag", "ExecutionContextAllocationStrategy", "RuntimePlatform"),
        "TilingOptimizationLevel",
    },
    (10, 3): {"TilingOptimizationLevel"},
}

_ORDERED = frozenset(
    {"BuilderFlag", "NetworkDefinitionCreationFlag", "Severity", "ErrorCodeTRT", "MemoryPoolType"}
)
"""Bound with ``py::arithmetic``."""

_ALIASES = {
    **{"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int8": "INT8"},
    **{"int32": "INT32", "int64": "INT64", "int4": "INT4", "bool": "BOOL", "uint8": "UINT8"},
    **{"fp8": "FP8", "fp4": "FP4", "e8m0": "E8M0"},
}


_ITEM_BYTES: dict[str, float] = {
    **{"FLOAT": 4, "HALF": 2, "INT8": 1, "INT32": 4, "BOOL": 1, "UINT8": 1, "FP8": 1},
    **{"BF16": 2, "INT64": 8, "INT4": 0.5, "FP4": 0.5, "E8M0": 1},
}


def enums_of(release: str) -> dict[str, Values]:
    """Every enum of a release with its members' values."""
    own = {8: _EIGHT, 10: _TEN, 11: _ELEVEN}[number(release)[0]]
    short = number(release)[:2]
    found = {**_COMMON, **own}
    for name in _WHOLE_LATER.get(short, set()):
        del found[name]
    later = _LATER.get(short, {})
    return {
        name: {key: value for key, value in values.items() if key not in later.get(name, set())}
        for name, values in found.items()
    }


def add_enums(trt: ModuleType, release: str) -> type:
    """Put a release's enums and the aliases of its data types into a module.

    Returns:
        The class of ``ILogger.Severity``.
    """
    for name, values in enums_of(release).items():
        setattr(trt, name, make_enum(name, values, ordered=name in _ORDERED))
    trt.DataType.itemsize = property(lambda self: _ITEM_BYTES[self._label()])
    if (10,) <= number(release) < (11,):
        # a slip of the genuine bindings: the parser's ErrorCode has a method where others have text
        trt.ErrorCode.name = lambda self: self._label()
    for alias, member in _ALIASES.items():
        if member in trt.DataType.__members__:
            setattr(trt, alias, trt.DataType.__members__[member])
    severity = make_enum("Severity", _SEVERITY, ordered=True)
    severity.__qualname__ = "ILogger.Severity"
    return severity
