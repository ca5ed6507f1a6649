"""How large each value of a graph becomes: what decides which operators may be fp16."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
from onnx import helper

from t2s_engines.graphs.graph import Array, Graph, ValueType
from t2s_engines.graphs.rounding import round_graph
from t2s_engines.graphs.running import running

__all__ = ["HALF_LIMIT", "absolute_maxima"]

HALF_LIMIT = 65504.0
"""The largest finite float16; what is 65520 or more rounds to infinity."""

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


def absolute_maxima(
    graph: Graph,
    feeds: Iterable[Mapping[str, Array]],
    values: Collection[str] | None = None,
) -> dict[str, float]:
    """The largest magnitude of every float value over some inputs.

    The maxima are taken inside the graph, in one session, so that only scalars leave it: memory
    stays near that of a plain run, however many values there are.

    Args:
        graph: float32, or typed fp16; the latter runs as its rounding graph, and a float16 value
            is measured before it is rounded, so that an overflow shows by how much.
        feeds: inputs by name, one mapping per run.
        values: which to measure, each costs some passes over it; None is all.

    Returns:
        For each such float16 or float32 value that a node makes, in order, its largest magnitude;
        infinity where it holds an infinity or a NaN. Zero for all if there are no feeds.

    Raises:
        GraphError: as ``rounding_graph``.
        MissingExtraError: onnxruntime is not installed.
    """
    types = graph.types()
    rounded = round_graph(graph)
    measured = {
        name: rounded.unrounded.get(name, name)
        for node in graph.nodes
        for name in node.output
        if name and types[name].elem_type in _FLOATS and (values is None or name in values)
    }
    largest = dict.fromkeys(measured, 0.0)
    with running(_with_maxima(rounded.graph, set(measured.values()))) as run:
        for inputs in feeds:
            found = run(inputs)
            for name, source in measured.items():
                largest[name] = max(largest[name], float(found[_statistic(source)]))
    return largest


def _statistic(name: str) -> str:
    return f"{name}/largest"


def _with_maxima(graph: Graph, names: set[str]) -> Graph:
    """A graph whose outputs are the largest magnitudes of the named float32 values.

    The nodes stand right behind the one that makes the value, so that it is free soon.
    """
    infinity = "largest/infinity"
    made = {name for node in graph.nodes for name in node.output}
    nodes = [part for name in sorted(names - made) for part in _maximum(name, infinity)]
    for node in graph.nodes:
        nodes.append(node)
        for name in node.output:
            if name in names:
                nodes += _maximum(name, infinity)
    outputs = {_statistic(name): ValueType(onnx.TensorProto.FLOAT, ()) for name in sorted(names)}
    constants = {**graph.constants, infinity: np.array(np.inf, np.float32)}
    return Graph(nodes, constants, dict(graph.inputs), outputs, graph.opset, dict(graph.shapes))


def _maximum(name: str, infinity: str) -> list[onnx.NodeProto]:
    """Nodes that take the largest magnitude of one value."""
    stem = _statistic(name)
    nan, size, known = (f"{stem}/{part}" for part in ("nan", "size", "known"))
    return [
        helper.make_node("IsNaN", [name], [nan]),
        helper.make_node("Abs", [name], [size]),
        # a maximum may pass over NaN: infinity takes its place
        helper.make_node("Where", [nan, infinity, size], [known]),
        helper.make_node("ReduceMax", [known], [stem], keepdims=0),
    ]
