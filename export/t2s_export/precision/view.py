"""A graph seen by its connections: who makes a value, who reads it, what lies before and after."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator

import onnx

from t2s_engines.graphs.graph import Graph

__all__ = ["KEEPERS", "GraphView"]

KEEPERS = frozenset(
    {
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"),
        *("Identity", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile"),
        *("Transpose", "Unsqueeze", "Abs", "Neg", "ReduceMax", "ReduceMin", "Relu"),
    }
)
"""Operators that move, select or negate values: they round nothing, whatever their type is."""

FLOAT = onnx.TensorProto.FLOAT


class GraphView:
    """Connections and element types of a float32 graph; the graph must not change meanwhile.

    Args:
        graph: a clean graph.

    Attributes:
        graph: the same.
        types: element type and shape by value.
        producers: the node that makes a value.
        consumers: the nodes that read a value, with the index of the input.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.types = graph.types()
        self.producers = graph.producers()
        self.consumers: dict[str, list[tuple[onnx.NodeProto, int]]] = defaultdict(list)
        for node in graph.nodes:
            for index, name in enumerate(node.input):
                if name:
                    self.consumers[name].append((node, index))

    def is_float(self, name: str) -> bool:
        """Whether a value is float32."""
        return name in self.types and self.types[name].elem_type == FLOAT

    def float_inputs(self, node: onnx.NodeProto) -> list[str]:
        """Names of a node's float32 inputs, constants included."""
        return [name for name in node.input if name and self.is_float(name)]

    def computed_inputs(self, node: onnx.NodeProto) -> list[str]:
        """Names of a node's float32 inputs that are not constant."""
        return [name for name in self.float_inputs(node) if name not in self.graph.constants]

    def computes(self, node: onnx.NodeProto) -> bool:
        """Whether a node takes or makes float32 numbers and may round them."""
        if node.op_type in KEEPERS or node.op_type in ("Cast", "Shape", "Size"):
            return False
        return any(map(self.is_float, (*node.input, *node.output)))

    def made_anew(self) -> set[str]:
        """Values that are not just other computed values moved, selected or negated."""
        return {
            name
            for node in self.graph.nodes
            if node.op_type not in KEEPERS
            or not (computed := self.computed_inputs(node))
            or len(computed) < len(self.float_inputs(node))
            for name in node.output
        }

    def is_bias(self, node: onnx.NodeProto) -> bool:
        """Whether a node is the Add of a linear layer: a product plus a constant."""
        if node.op_type != "Add":
            return False
        constant = [name for name in node.input if name in self.graph.constants]
        makers = [self.producers[name] for name in node.input if name in self.producers]
        return bool(constant) and any(maker.op_type == "MatMul" for maker in makers)

    def upstream(
        self, names: Iterable[str], through: Container[str], last: Container[str] = ()
    ) -> Iterator[onnx.NodeProto]:
        """Nodes on the way to some values, nearest first, each once.

        Args:
            names: where to start; their producers come first.
            through: operators that the way passes. It ends at the bias of a linear layer.
            last: operators that belong to the way and end it.
        """
        seen: set[int] = set()
        waiting = list(names)
        while waiting:
            node = self.producers.get(waiting.pop(0))
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            if node.op_type in through and not self.is_bias(node):
                yield node
                waiting.extend(self.computed_inputs(node))
            elif node.op_type in last:
                yield node

    def readers(self, name: str) -> Iterator[onnx.NodeProto]:
        """Nodes that compute with a value, seen through those that only move it."""
        seen: set[int] = set()
        waiting = [name]
        while waiting:
            for node, _ in self.consumers[waiting.pop(0)]:
                if id(node) in seen:
                    continue
                seen.add(id(node))
                if node.op_type in KEEPERS:
                    waiting.extend(node.output)
                elif self.computes(node):
                    yield node
