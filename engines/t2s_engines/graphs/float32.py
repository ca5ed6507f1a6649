"""Which nodes of a mixed-precision graph compute in float32."""

from __future__ import annotations

from pathlib import Path

import onnx

from t2s_engines.errors import GraphError

__all__ = ["float32_nodes"]


def float32_nodes(path: Path) -> tuple[str, ...]:
    """Names of the nodes with a float32 result, casts and constants left out.

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
    return tuple(
        node.name
        for node in graph.node
        if node.name
        and node.op_type not in ("Cast", "Constant")
        and any(types.get(name) == onnx.TensorProto.FLOAT for name in node.output)
    )
