"""Groups of operators whose rounding is measured together, and how they are made finer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from t2s_export.precision.view import GraphView

__all__ = ["Group", "float16_nodes", "groups_of", "halves"]

_KINDS: Mapping[str, frozenset[str]] = {
    "products": frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"}),
    "sums": frozenset({"Add", "Sub", "ReduceSum", "ReduceMean"}),
}


@dataclass(frozen=True)
class Group:
    """Operators of one kind in one part of a graph.

    Attributes:
        kind: products (with their biases), sums (residual streams above all) or others.
        nodes: names, in the order of the graph.
    """

    kind: str
    nodes: tuple[str, ...]

    @property
    def label(self) -> str:
        """Kind, number and place, for people."""
        return f"{self.kind} ({len(self.nodes)}): {self.nodes[0]} to {self.nodes[-1]}"


def float16_nodes(view: GraphView, islands: Mapping[str, str]) -> list[onnx.NodeProto]:
    """The nodes that compute in float16, in the order of the graph."""
    return [n for n in view.graph.nodes if view.computes(n) and n.name not in islands]


def groups_of(view: GraphView, islands: Mapping[str, str]) -> list[Group]:
    """The float16 nodes by kind: matrix products with their biases, sums, and the rest."""
    nodes = float16_nodes(view, islands)
    members = {
        kind: tuple(node.name for node in nodes if _kind(view, node) == kind)
        for kind in (*_KINDS, "others")
    }
    return [Group(kind, names) for kind, names in members.items() if names]


def halves(group: Group) -> tuple[Group, ...]:
    """The earlier and the later half of a group of at least two.

    By order and not by module, because some modules leave no name in the graph.
    """
    middle = len(group.nodes) // 2
    return Group(group.kind, group.nodes[:middle]), Group(group.kind, group.nodes[middle:])


def _kind(view: GraphView, node: onnx.NodeProto) -> str:
    if view.is_bias(node):
        return "products"
    return next((kind for kind, members in _KINDS.items() if node.op_type in members), "others")
