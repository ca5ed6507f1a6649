"""Rankings given from outside, so that two graphs can be compared row by row."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from t2s_engines.graphs.graph import Graph, ValueType

__all__ = ["given_ranking"]


def given_ranking(graph: Graph) -> tuple[Graph, Mapping[str, str]]:
    """A graph whose TopK results are inputs.

    Args:
        graph: not changed; its nodes are shared but for those that read a ranking.

    Returns:
        The graph with one more input for each ranking, and by the input's name the value that
        the ranking has in ``graph``. Without a TopK the graph is the same.
    """
    rankings = {f"{n.output[1]}/given": n.output[1] for n in graph.nodes if n.op_type == "TopK"}
    if not rankings:
        return graph, {}
    renamed = {value: name for name, value in rankings.items()}
    nodes = []
    for source in graph.nodes:
        node = source
        if any(name in renamed for name in source.input):
            node = onnx.NodeProto()
            node.CopyFrom(source)
            node.input[:] = [renamed.get(name, name) for name in source.input]
        nodes.append(node)
    types = graph.types()
    more = {
        name: ValueType(onnx.TensorProto.INT64, types[value].shape)
        for name, value in rankings.items()
    }
    inputs = {**graph.inputs, **more}
    return Graph(nodes, graph.constants, inputs, graph.outputs, graph.opset), rankings
