"""Objects of every class of the double, for calls on them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import TensorProto, helper, numpy_helper

__all__ = ["objects", "small_model"]


def small_model(
    half: bool = False, *, scale: float = 1.0, weights: DTypeLike = np.float32
) -> bytes:
    """An ONNX file: ``y [B, 4] = scale * x [B, 3] @ w``, inside in half precision if asked for."""
    inner = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    value = (scale * np.arange(12)).reshape(3, 4).astype(np.float16 if half else weights)
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=inner),
        helper.make_node("MatMul", ["wide", "w"], ["product"], name="product"),
        helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 4])],
        [numpy_helper.from_array(value, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def objects(trt: ModuleType) -> Callable[[str], Any]:
    """A function that makes an object of a class by the way that a user has."""
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    kept: list[Any] = [logger]

    def builder() -> Any:
        return trt.Builder(logger)

    def network() -> Any:
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        made = builder().create_network(flags)
        kept.append(made)
        assert trt.OnnxParser(made, logger).parse(small_model())
        return made

    def profile() -> Any:
        made = builder().create_optimization_profile()
        made.set_shape("x", (1, 3), (2, 3), (4, 3))
        return made

    def config() -> Any:
        return builder().create_builder_config()

    def plan() -> Any:
        made = config()
        made.set_flag(trt.BuilderFlag.REFIT)
        made.add_optimization_profile(profile())
        return builder().build_serialized_network(network(), made)

    def engine() -> Any:
        return trt.Runtime(logger).deserialize_cuda_engine(plan())

    makers: dict[str, Callable[[], Any]] = {
        "Builder": builder,
        "INetworkDefinition": network,
        "IOptimizationProfile": profile,
        "IBuilderConfig": config,
        "ITimingCache": lambda: config().create_timing_cache(b""),
        "IHostMemory": plan,
        "Runtime": lambda: trt.Runtime(logger),
        "ICudaEngine": engine,
        "IExecutionContext": lambda: engine().create_execution_context(),
        "EngineInspector": lambda: engine().create_engine_inspector(),
        "Refitter": lambda: trt.Refitter(engine(), logger),
        "OnnxParser": lambda: trt.OnnxParser(builder().create_network(0), logger),
        "OnnxParserRefitter": lambda: trt.OnnxParserRefitter(
            trt.Refitter(engine(), logger), logger
        ),
        "ITensor": lambda: network().get_input(0),
    }

    def new(name: str) -> Any:
        made = makers[name]()
        kept.append(made)
        return made

    return new
