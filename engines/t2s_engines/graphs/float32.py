"""Which nodes of a graph compute in float32, for those who are not told by strong typing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from t2s_engines.errors import GraphError

__all__ = ["FloatTypes", "float_types"]


@dataclass(frozen=True)
class FloatTypes:
    """The floating-point types in a graph.

    Attributes:
        float16: whether anything is float16; float32 graphs may store their weights so.
        float32_nodes: names of the nodes with a float32 result, casts and constants left out.
    """

    float16: bool
    float32_nodes: tuple[str, ...]


def float_types(path: Path) -> FloatTypes:
    """Look through a graph's file; its weights are not read.

    Raises:
        GraphError: the file cannot be read as ONNX.
    """
    try:
        # types need no weights, and shapes that depend on them do not matter here
        model = onnx.load(path, load_external_data=False)
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception as cause:  # protobuf's errors share no base with OSError below it
        raise GraphError(
            f"expected {path} to be an ONNX file, it cannot be read: {cause}; export it again"
        ) from cause
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    kinds = {*types.values(), *(tensor.data_type for tensor in graph.initializer)}
    computing = tuple(
        node.name
        for node in graph.node
        if node.name
        and node.op_type not in ("Cast", "Constant")
        and any(types.get(name) == onnx.TensorProto.FLOAT for name in node.output)
    )
    return FloatTypes(onnx.TensorProto.FLOAT16 in kinds, computing)
