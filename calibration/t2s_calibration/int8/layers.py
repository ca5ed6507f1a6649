"""What of a graph can become int8: products and convolutions with constant weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import helper

from t2s_engines.graphs.graph import Array, Graph, ValueType

__all__ = ["LAYER_KINDS", "Layer", "layers_of", "share_of_products", "with_plain_weights"]

LAYER_KINDS = ("MatMul", "Gemm", "Conv")
_NARROWEST = 16
"""Channels in or out below which a product is not worth its conversions."""


@dataclass(frozen=True)
class Layer:
    """A product of activations with constant weights.

    Attributes:
        name: of the node; float32 and float16 graphs of a role call it the same.
        kind: operator.
        input: value name of the activations.
        weight: constant's name; ``[K, N]`` of MatMul and Gemm, ``[N, K, ...]`` of Conv.
        output: value name.
        products: multiplications in one call of one row.
    """

    name: str
    kind: str
    input: str
    weight: str
    output: str
    products: int


def with_plain_weights(graph: Graph) -> Graph:
    """A graph whose layers read their weights directly.

    Float32 graphs may store weights as float16 behind a Cast, which hides them from a quantiser;
    transposed weights of Gemm become plain ones, so that channels lie along one axis everywhere.

    Args:
        graph: not changed.
    """
    constants = dict(graph.constants)
    nodes = []
    for node in graph.nodes:
        if node.op_type == "Cast" and node.input[0] in constants:
            kind = helper.get_node_attr_value(node, "to")
            found = constants[node.input[0]].astype(helper.tensor_dtype_to_np_dtype(kind))
            constants[node.output[0]] = found
            continue
        nodes.append(_untransposed(node, constants))
    plain = replace(graph, nodes=nodes, constants=constants)
    plain.drop_unused_constants()
    return plain


def _untransposed(node: onnx.NodeProto, constants: dict[str, Array]) -> onnx.NodeProto:
    if node.op_type != "Gemm" or node.input[1] not in constants or not _flag(node, "transB"):
        return node
    found = onnx.NodeProto()
    found.CopyFrom(node)
    name = f"{node.input[1]}/transposed"
    constants.setdefault(name, np.ascontiguousarray(constants[node.input[1]].T))
    found.input[1] = name
    kept = [attribute for attribute in node.attribute if attribute.name != "transB"]
    del found.attribute[:]
    found.attribute.extend(kept)
    return found


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """The layers of a graph of :func:`with_plain_weights`, in order.

    Left out are products of two computed values (attention), batched weights, which ONNX
    Runtime's integer product refuses, scaled or transposed Gemm, grouped convolutions, and what
    has hardly any channels.
    """
    types = graph.types()
    found = []
    for node in graph.nodes:
        if node.op_type not in LAYER_KINDS or node.input[1] not in graph.constants:
            continue
        if node.input[0] in graph.constants or node.input[0] in graph.inputs:
            continue
        weight = graph.constants[node.input[1]]
        if not _plain(node, weight) or min(_channels(node.op_type, weight)) < _NARROWEST:
            continue
        rows = _rows(node, types[node.output[0]], weight)
        found.append(
            Layer(
                node.name, node.op_type, node.input[0], node.input[1], node.output[0],
                rows * int(weight.size),
            )
        )  # fmt: skip
    return tuple(found)


def share_of_products(layers: Sequence[Layer], chosen: Collection[str]) -> float:
    """Share of the layers' multiplications in some of them, by name."""
    total = sum(layer.products for layer in layers)
    return sum(layer.products for layer in layers if layer.name in chosen) / max(1, total)


def _plain(node: onnx.NodeProto, weight: Array) -> bool:
    if node.op_type == "Conv":
        return int(_attribute(node, "group", 1)) == 1
    if weight.ndim != 2 or _flag(node, "transA") or _flag(node, "transB"):
        return False
    return all(float(_attribute(node, name, 1.0)) == 1.0 for name in ("alpha", "beta"))


def _channels(kind: str, weight: Array) -> tuple[int, int]:
    return (weight.shape[0], int(np.prod(weight.shape[1:]))) if kind == "Conv" else weight.shape[:2]


def _rows(node: onnx.NodeProto, made: ValueType, weight: Array) -> int:
    """How often the weights are used in a call; dynamic sizes count once."""
    shape = [size if isinstance(size, int) else 1 for size in made.shape or (1,)]
    wide = weight.shape[0] if node.op_type == "Conv" else weight.shape[1]
    return max(1, math.prod(shape) // int(wide))


def _flag(node: onnx.NodeProto, name: str) -> bool:
    return bool(_attribute(node, name, 0))


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    for attribute in node.attribute:
        if attribute.name == name:
            return float(helper.get_attribute_value(attribute))
    return default
