"""A graph in a newer operator set: QuantizeLinear takes float16 from opset 19 on."""

from __future__ import annotations

from dataclasses import replace

import onnx
from onnx import version_converter

from t2s_engines.errors import GraphError
from t2s_engines.graphs.graph import Graph

__all__ = ["HALF_QUANTISERS", "at_opset"]

HALF_QUANTISERS = 19
"""The first opset whose QuantizeLinear and DequantizeLinear take float16."""
_INLINE_ELEMENTS = 1024
"""Constants above this many elements describe no shape: the converter need not see them."""


def at_opset(graph: Graph, opset: int) -> Graph:
    """Convert a graph; its large constants are not copied.

    Args:
        graph: not changed.
        opset: at least the graph's own.

    Raises:
        GraphError: an operator of the graph has no form there that the converter knows.
    """
    if graph.opset == opset:
        return graph
    types = graph.types()
    large = {k: v for k, v in graph.constants.items() if v.size > _INLINE_ELEMENTS}
    small = {k: v for k, v in graph.constants.items() if k not in large}
    placeholders = {name: types[name] for name in large}
    skeleton = replace(graph, constants=small, inputs={**graph.inputs, **placeholders})
    try:
        found = version_converter.convert_version(skeleton.to_model("skeleton"), opset)
        onnx.checker.check_model(found)
    except Exception as cause:  # the converter's errors share no base below Exception
        raise GraphError(
            f"expected a graph that ONNX converts from opset {graph.opset} to {opset}, "
            f"it does not: {cause}"
        ) from cause
    converted = Graph.from_model(found)
    return replace(
        converted,
        constants={**converted.constants, **large},
        inputs=dict(graph.inputs),
        outputs=dict(graph.outputs),
        shapes=dict(graph.shapes),
    )
