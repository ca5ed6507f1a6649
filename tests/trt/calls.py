"""Calls whose answer must be the same from the genuine bindings and from the double.

Each is a piece of Python over ``trt``, ``np`` and ``new(NAME)``, an object of that class. Whether
its arguments are taken is what is compared; what a call then does needs the library.
"""

from __future__ import annotations

__all__ = ["CALLBACKS", "CALLS", "OUTSIDE"]

_CONFIG = """
set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 28)
set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1e9)
set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, -1)
set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, "1")
set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, np.int64(5))
set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, np.float64(5))
set_memory_pool_limit(0, 1)
set_memory_pool_limit(pool=trt.MemoryPoolType.WORKSPACE, pool_size=5)
set_memory_pool_limit(pool=trt.MemoryPoolType.WORKSPACE, size=5)
set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)
builder_optimization_level = 3
builder_optimization_level = 3.0
builder_optimization_level = True
builder_optimization_level = None
hardware_compatibility_level = 1
hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
profiling_verbosity = trt.ProfilingVerbosity.DETAILED
profiling_verbosity = 2
max_workspace_size = 1
progress_monitor = object()
progress_monitor = None
avg_timing_iterations = 2.5
max_aux_streams = 0
flags = 4
flags = -1
flags = trt.BuilderFlag.REFIT
set_flag(trt.BuilderFlag.REFIT)
set_flag(4)
set_flag(trt.BuilderFlag.FP16)
set_flag(trt.BuilderFlag.STRIP_PLAN)
get_flag(trt.BuilderFlag.TF32)
clear_flag("TF32")
create_timing_cache(b"")
create_timing_cache(bytearray())
create_timing_cache("")
create_timing_cache(None)
set_timing_cache(new("ITimingCache"), False)
set_timing_cache(new("ITimingCache"), ignore_mismatch=True)
set_timing_cache(new("ITimingCache"), 0)
set_timing_cache(new("ITimingCache"))
set_timing_cache(None, False)
set_preview_feature(0, True)
add_optimization_profile(new("IOptimizationProfile"))
add_optimization_profile(None)
add_optimization_profile("profile")
tiling_optimization_level = trt.TilingOptimizationLevel.FAST
set_tactic_sources(0)
set_tactic_sources(-1)
"""

_CONTEXT = """
set_input_shape("x", (1, 3))
set_input_shape("x", [1, 3])
set_input_shape("x", trt.Dims((1, 3)))
set_input_shape("x", np.array([1, 3]))
set_input_shape("x", (np.int64(1), 3))
set_input_shape("x", (1.0, 3))
set_input_shape("x", [1] * 9)
set_input_shape("x", 3)
set_input_shape(b"x", (1, 3))
set_input_shape(5, (1, 3))
set_input_shape("x")
set_input_shape(name="x", shape=(1, 3))
set_input_shape(None, (1, 3))
set_tensor_address("x", 0)
set_tensor_address("x", 5.0)
set_tensor_address("x", None)
set_tensor_address("x", -5)
set_tensor_address("x", np.uint64(0))
set_tensor_address("x", "0")
set_tensor_address("x", HasInt())
set_tensor_address(None, 0)
set_tensor_address(name="x", memory=0)
set_tensor_address(name="x", address=0)
get_tensor_address(1)
execute_async_v3(0)
execute_async_v3(None)
execute_async_v3("0")
execute_async_v3(0.0)
execute_async_v3(HasInt())
execute_async_v3(stream_handle=0)
execute_async_v3(stream=0)
execute_async_v3()
execute_async_v2([0], 0)
execute_v2([0.0])
execute_v2(5)
set_optimization_profile_async(0, 0)
set_optimization_profile_async(0)
set_optimization_profile_async("0", 0)
active_optimization_profile = 0
set_binding_shape(0, (1,))
get_tensor_shape(0)
get_tensor_shape("x")
all_binding_shapes_specified = True
all_shape_inputs_specified
name = "context"
name = 5
profiler = object()
undefined = 1
"""

_ENGINE = """
get_tensor_name(0)
get_tensor_name(np.int32(0))
get_tensor_name(0.0)
get_tensor_name("x")
get_tensor_mode("x")
get_tensor_mode(0)
get_tensor_dtype(name="x")
get_tensor_shape(b"x")
get_tensor_profile_shape("x", 0)
get_tensor_profile_shape(0, "x")
get_tensor_profile_shape("x")
get_binding_index("x")
num_bindings
device_memory_size
device_memory_size_v2
name = "engine"
anything = 5
create_execution_context()
create_execution_context(0)
create_execution_context(None)
create_execution_context(trt.ExecutionContextAllocationStrategy.STATIC)
create_execution_context(strategy=trt.ExecutionContextAllocationStrategy.STATIC)
serialize_with_config(None)
serialize(1)
"""

_OTHERS = """
new("Builder").create_network(1)
new("Builder").create_network(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
new("Builder").create_network(1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
new("Builder").create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
new("Builder").create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
new("Builder").create_network(1.0)
new("Builder").create_network(-1)
new("Builder").create_network(None)
new("Builder").create_network(flags=1)
new("Builder").create_network(flag=1)
new("Builder").max_workspace_size = 1
new("Builder").max_batch_size = 1
new("Builder").platform_has_fast_fp16
new("Builder").max_threads = 2
new("Builder").build_serialized_network(new("INetworkDefinition"), None)
new("Builder").build_serialized_network(None, new("IBuilderConfig"))
new("Builder").build_engine(new("INetworkDefinition"), new("IBuilderConfig"))
new("Runtime").deserialize_cuda_engine(b"abc")
new("Runtime").deserialize_cuda_engine(memoryview(b"abc"))
new("Runtime").deserialize_cuda_engine(bytearray(b"abc"))
new("Runtime").deserialize_cuda_engine(None)
new("Runtime").deserialize_cuda_engine("abc")
new("Runtime").deserialize_cuda_engine(serialized_engine=b"abc")
new("Runtime").engine_host_code_allowed = 1
new("Runtime").temporary_directory = None
new("Runtime").temporary_directory = __import__("pathlib").Path("x")
new("IOptimizationProfile").set_shape("x", (1,), (1,), (1,))
new("IOptimizationProfile").set_shape("x", [1], (1,), trt.Dims((1,)))
new("IOptimizationProfile").set_shape(input="x", min=(1,), opt=(1,), max=(1,))
new("IOptimizationProfile").set_shape("x", (1.5,), (1,), (1,))
new("IOptimizationProfile").set_shape("x", (1,), (1,))
new("IOptimizationProfile").set_shape("x", "1", "1", "1")
new("IOptimizationProfile").set_shape("x", [1] * 9, [1] * 9, [1] * 9)
new("IOptimizationProfile").set_shape("x", np.array([1]), np.array([1]), np.array([1]))
new("IOptimizationProfile").set_shape(None, (1,), (1,), (1,))
new("OnnxParser").parse_from_file("missing.onnx")
new("OnnxParser").parse_from_file(b"missing.onnx")
new("OnnxParser").parse_from_file(None)
new("OnnxParser").parse_from_file(__import__("pathlib").Path("missing.onnx"))
new("OnnxParser").parse(b"x")
new("OnnxParser").parse(b"x", "folder/x.onnx")
new("OnnxParser").parse(b"x", None)
new("OnnxParser").parse("x")
new("OnnxParser").get_error("0")
new("OnnxParser").flags = 1
new("OnnxParser").set_flag(0)
new("OnnxParser").set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM)
trt.OnnxParser(None, trt.Logger())
trt.OnnxParser(new("INetworkDefinition"))
trt.OnnxParser(new("INetworkDefinition"), None)
trt.Builder()
trt.Builder(None)
trt.Builder(5)
trt.Runtime(None)
trt.Refitter(new("ICudaEngine"))
new("ITensor").dtype = trt.DataType.FLOAT
new("ITensor").dtype = 0
new("ITensor").is_network_input = True
new("INetworkDefinition").get_flag(0)
new("INetworkDefinition").get_input("x")
new("INetworkDefinition").name = "network"
new("EngineInspector").get_engine_information("json")
new("EngineInspector").get_engine_information(trt.LayerInformationFormat.JSON)
new("Refitter").set_named_weights("w", np.zeros(3, np.float32))
new("Refitter").set_named_weights("w", np.zeros(3, np.float64))
new("Refitter").set_named_weights("w", [1.0])
new("Refitter").set_named_weights(5, np.zeros(3, np.float32))
new("OnnxParserRefitter").refit_from_file("missing.onnx")
new("OnnxParserRefitter").refit_from_file(5)
len(new("ICudaEngine"))
len(new("IHostMemory"))
new("IHostMemory")[0]
iter(new("IHostMemory"))
trt.IBuilderConfig()
trt.ICudaEngine()
trt.IHostMemory()
trt.Dims([1] * 8)
trt.Dims([1] * 9)
trt.Dims((1, 2.0))
trt.Dims("12")
trt.Dims(3)
trt.Dims([None])
trt.Dims([True])
trt.Dims(np.array([1, 2]))
trt.Dims((1, 2))[5]
trt.Dims((1, 2))[-1]
trt.Dims((1, 2)) == (1, 2)
trt.Dims((1, 2)) == [1, 2]
trt.Dims((1, 2)) == trt.Dims((1, 2))
trt.Dims((1, 2)) == 5
hash(trt.Dims((1, 2)))
trt.Dims((1, 2)).index(1)
trt.Weights(np.zeros(3))
trt.Weights(np.zeros(3, np.float32))
trt.Weights(np.zeros(3, np.float16))
trt.Weights(np.zeros(3, np.uint16))
trt.Weights(np.zeros((4, 4), np.float32)[:, ::2])
trt.Weights([1.0])
trt.Weights(trt.float32)
trt.Logger(2)
trt.Logger(trt.Logger.ERROR)
trt.Logger().anything = 1
trt.Logger().min_severity = 1
trt.Logger().min_severity = trt.Logger.VERBOSE
trt.Logger().log(trt.Logger.ERROR, 5)
trt.Logger().log(trt.Logger.ERROR, b"text")
trt.Logger().log(msg="text", severity=trt.Logger.ERROR)
trt.Logger().log(trt.Logger.ERROR)
trt.Logger().log(1, "text")
Silent().log(trt.Logger.ERROR, "text")
NoInit()
1 << trt.BuilderFlag.REFIT
trt.BuilderFlag.REFIT | 1
trt.BuilderFlag.REFIT | trt.BuilderFlag.TF32
~trt.BuilderFlag.REFIT
trt.BuilderFlag.REFIT < 5
trt.BuilderFlag.REFIT < trt.BuilderFlag.TF32
trt.BuilderFlag.NOPE
trt.DataType.HALF < trt.DataType.INT8
trt.DataType.HALF < 5
trt.DataType(99)
trt.DataType("HALF")
trt.DataType(1.0)
trt.DataType["HALF"]
trt.DataType.HALF.anything
trt.TensorIOMode.INPUT == 1
iter(trt.DataType)
trt.nptype(trt.bfloat16)
trt.nptype(trt.float16)
trt.nptype(5)
trt.ErrorCode.INVALID_NODE.name.upper()
trt.DataType.HALF.name.upper()
assert str(trt.ErrorCode.INVALID_NODE) == "ErrorCode.INVALID_NODE"
assert repr(trt.ErrorCode.INVALID_NODE) == "<ErrorCode.INVALID_NODE: 6>"
assert str(trt.Logger.ERROR) == "Severity.ERROR"
assert repr(trt.DataType.HALF) == "<DataType.HALF: 1>"
assert repr(trt.Dims((1, 2))) == "(1, 2)"
assert trt.DataType.HALF.itemsize == 2
trt.volume((2, 3))
trt.volume(trt.Dims((2, 3)))
trt.int4
trt.float64
trt.SerializationConfig
trt.ISerializationConfig
trt.EngineStat
"""


def _of(name: str, text: str) -> list[str]:
    return [f'new("{name}").{line}' for line in text.strip().splitlines()]


CALLS: tuple[str, ...] = (
    *_of("IBuilderConfig", _CONFIG),
    *_of("IExecutionContext", _CONTEXT),
    *_of("ICudaEngine", _ENGINE),
    *_OTHERS.strip().splitlines(),
)

OUTSIDE: tuple[str, ...] = (
    'new("IBuilderConfig").int8_calibrator = None',
    'new("OnnxParser").supports_model(b"x")',
    'new("ITensor").dynamic_range',
    "trt.IInt8EntropyCalibrator2",
    "trt.QuantizationFlag",
)
"""Names that 10.13 still has and 11.4 has not."""

CALLBACKS: tuple[str, ...] = (
    "start(raising(ValueError()))",
    "start(raising(KeyboardInterrupt()))",
    "start(giving(None))",
    "finish(raising(SystemExit(3)))",
    "step(raising(ValueError()))",
    "step(raising(KeyboardInterrupt()))",
    "step(giving(None))",
    "step(giving(True))",
    "step(giving(False))",
    "step(giving(1))",
    "step(giving(0))",
    "step(giving(1.5))",
    "step(giving('yes'))",
    "step(giving([True]))",
    "step_of_base()",
    "step_of_none()",
    "log(raising(KeyboardInterrupt()))",
    "log(giving('ignored'))",
)
"""What a user's monitor or logger does, and what the library sees of it."""
