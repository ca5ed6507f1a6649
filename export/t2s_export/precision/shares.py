"""How much of a graph's arithmetic lies in given nodes, from shapes seen in a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import helper

from t2s_engines.graphs.graph import Array, Graph, ValueType

__all__ = ["ProductSizes"]

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class ProductSizes:
    """Multiplications of every matrix product and convolution.

    Args:
        graph: whose products; it is not changed.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.products = [node for node in graph.nodes if node.op_type in _PRODUCTS]
        self.multiplications: dict[str, float] = {}

    def measured(self) -> Graph:
        """The graph with the shapes of all factors and products as further outputs."""
        nodes = list(self.graph.nodes)
        outputs = dict(self.graph.outputs)
        for name in sorted({n for p in self.products for n in (*p.input[:2], p.output[0])}):
            nodes.append(helper.make_node("Shape", [name], [_shape(name)]))
            outputs[_shape(name)] = ValueType(onnx.TensorProto.INT64, (None,))
        return Graph(nodes, self.graph.constants, self.graph.inputs, outputs, self.graph.opset)

    def read(self, outputs: Mapping[str, Array]) -> None:
        """Take the shapes from the outputs of one run of :meth:`measured`."""
        for node in self.products:
            left, right, made = (
                outputs[_shape(name)].astype(np.float64)
                for name in (node.input[0], node.input[1], node.output[0])
            )
            if node.op_type == "Conv":
                inner = right[1:].prod()
            elif node.op_type == "ConvTranspose":
                inner = right[1:].prod() * left[1:].prod() / made[1:].prod()
            elif node.op_type == "Gemm":
                transposed = {a.name: a.i for a in node.attribute}.get("transA", 0)
                inner = left[0 if transposed else 1]
            else:
                inner = left[-1]
            self.multiplications[node.name] = float(made.prod() * inner)

    def share(self, names: Collection[str]) -> float:
        """The share of all multiplications that lies in the named nodes."""
        total = sum(self.multiplications.values())
        return sum(self.multiplications[n] for n in names if n in self.multiplications) / (
            total or 1.0
        )


def _shape(name: str) -> str:
    return f"{name}/shape"
