"""Groups of operators whose rounding is measured together, few enough for full-size models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from t2s_export.precision.view import GraphView

__all__ = ["Group", "float16_nodes", "groups_of"]

_KINDS: Mapping[str, frozenset[str]] = {
    "products": frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"}),
    "sums": frozenset({"Add", "Sub", "ReduceSum", "ReduceMean"}),
}


@dataclass(frozen=True)
class Group:
    """Operators of one kind in one part of a graph.

    Attributes:
        label: kind and place, for people.
        nodes: their names.
    """

    label: str
    nodes: frozenset[str]


def float16_nodes(view: GraphView, islands: Mapping[str, str]) -> list[onnx.NodeProto]:
    """The nodes that compute in float16, in the order of the graph."""
    return [n for n in view.graph.nodes if view.computes(n) and n.name not in islands]


def groups_of(view: GraphView, islands: Mapping[str, str], most: int) -> list[Group]:
    """Divide the float16 nodes into at most ``most`` groups.

    The graph is cut into parts of about as many nodes each, and each part by kind: matrix
    products with their biases, sums (residual streams above all), and the rest. Parts go by order
    and not by module, because some modules leave no name in the graph.
    """
    nodes = float16_nodes(view, islands)
    parts = max(1, most // (len(_KINDS) + 1))
    groups = []
    for part in range(parts):
        chosen = nodes[len(nodes) * part // parts : len(nodes) * (part + 1) // parts]
        for kind in (*_KINDS, "others"):
            members = [node.name for node in chosen if _kind(view, node) == kind]
            if members:
                label = f"{kind}, part {part + 1} of {parts}: {members[0]} to {members[-1]}"
                groups.append(Group(label, frozenset(members)))
    return groups


def _kind(view: GraphView, node: onnx.NodeProto) -> str:
    if view.is_bias(node):
        return "products"
    return next((kind for kind, members in _KINDS.items() if node.op_type in members), "others")
