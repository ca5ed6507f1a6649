"""What rules need to know of a graph beside the node in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import onnx
from onnx import helper

from t2s_engines.graphs.graph import Array, Graph, ValueType
from t2s_engines.preflight.releases import Release

__all__ = ["Context", "Finding", "Rule", "attributes"]


class Finding(NamedTuple):
    """A fault without its place: rule, found and remedy as in ``Problem``."""

    rule: str
    found: str
    remedy: str


@dataclass(frozen=True)
class Context:
    """A graph as one release sees it.

    Attributes:
        graph: nodes and constants.
        types: element type and shape of every value.
        release: for which release.
        computed: values that depend on the data of the graph's inputs, not on their shapes alone.
    """

    graph: Graph
    types: Mapping[str, ValueType]
    release: Release
    computed: frozenset[str]

    def elem_type(self, name: str) -> int:
        """Element type of a value; 0 if it is not known."""
        return self.types[name].elem_type if name in self.types else onnx.TensorProto.UNDEFINED

    def shape(self, name: str) -> tuple[int | str | None, ...] | None:
        """Shape of a value; None if not even its rank is known."""
        return self.types[name].shape if name in self.types else None

    def operand(self, node: onnx.NodeProto, index: int) -> str:
        """Name of an input; empty if the node does not use it."""
        return node.input[index] if len(node.input) > index else ""

    def constant(self, node: onnx.NodeProto, index: int) -> Array | None:
        """The array of an input; None if it is not used or not constant."""
        return self.graph.constants.get(self.operand(node, index))


Rule = Callable[[onnx.NodeProto, Context], Iterator[Finding]]
"""Yields the faults of one node."""


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes by name; text as str."""
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def computed_values(graph: Graph) -> frozenset[str]:
    """See ``Context.computed``."""
    computed = set(graph.inputs)
    for node in graph.nodes:
        if node.op_type not in ("Shape", "Size") and computed.intersection(node.input):
            computed.update(node.output)
    return frozenset(computed)
