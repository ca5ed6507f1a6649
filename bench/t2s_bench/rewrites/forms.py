"""Rewrites of a graph into operators that only ONNX Runtime has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from t2s_engines.graphs.graph import Graph

__all__ = ["fused_attention", "tanh_gelu", "to_model"]

_CONTRIB = "com.microsoft"


def to_model(graph: Graph) -> ModelProto:
    """The graph as a model that may hold operators of ONNX Runtime's own."""
    from onnx import helper

    model = graph.to_model("rewritten")
    model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
    return model


def fused_attention(graph: Graph) -> int:
    """Put MultiHeadAttention in the place of ``softmax(q k^T) v``, in place.

    Where heads are split off ``[B, L, C]`` by a reshape and a transposition and joined again the
    same way, as in CLIP; attention with a bias, or with the same tokens twice, stays as it is.

    Returns:
        how many were fused.
    """
    from onnx import helper

    producers, readers = graph.producers(), _readers(graph)
    fused: dict[int, NodeProto] = {}
    for softmax in (node for node in graph.nodes if node.op_type == "Softmax"):
        scores = producers.get(softmax.input[0])
        chain = _chain(softmax, readers, ("MatMul", "Transpose", "Reshape"))
        if scores is None or scores.op_type != "MatMul" or chain is None:
            continue
        split = [_split_heads(name, producers) for name in (*scores.input, chain[0].input[1])]
        parts = [node.input[0] for node in split if node is not None]
        heads = None if split[0] is None else _heads(graph, split[0])
        if heads is None or len(parts) < len(split):
            continue
        fused[id(chain[-1])] = helper.make_node(
            "MultiHeadAttention",
            parts,
            list(chain[-1].output),
            domain=_CONTRIB,
            num_heads=heads,
            scale=1.0,
        )
    return _put(graph, fused)


def tanh_gelu(graph: Graph) -> int:
    """Put the tanh approximation in the place of the exact Gelu, in place.

    Returns:
        how many were replaced.
    """
    from onnx import helper

    producers, readers = graph.producers(), _readers(graph)
    fused: dict[int, NodeProto] = {}
    for erf in (node for node in graph.nodes if node.op_type == "Erf"):
        scaled = producers.get(erf.input[0])
        chain = _chain(erf, readers, ("Add", "Mul", "Mul"))
        if scaled is None or scaled.op_type != "Div" or chain is None:
            continue
        x = scaled.input[0]
        if x in chain[1].input:
            node = helper.make_node("FastGelu", [x], list(chain[-1].output), domain=_CONTRIB)
            fused[id(chain[-1])] = node
    return _put(graph, fused)


def _readers(graph: Graph) -> dict[str, list[NodeProto]]:
    found: dict[str, list[NodeProto]] = {}
    for node in graph.nodes:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def _chain(
    start: NodeProto, readers: dict[str, list[NodeProto]], operators: tuple[str, ...]
) -> list[NodeProto] | None:
    """The nodes after ``start``, each the only reader of the one before, of these operators."""
    chain, node = [], start
    for operator in operators:
        following = readers.get(node.output[0], [])
        if len(following) != 1 or following[0].op_type != operator:
            return None
        node = following[0]
        chain.append(node)
    return chain


def _split_heads(name: str, producers: dict[str, NodeProto]) -> NodeProto | None:
    """The reshape that splits the heads of ``name`` off ``[B, L, C]``, transposed or not."""
    node = producers.get(name)
    while node is not None and node.op_type == "Transpose":
        node = producers.get(node.input[0])
    return node if node is not None and node.op_type == "Reshape" else None


def _heads(graph: Graph, split: NodeProto) -> int | None:
    """The number of heads that a reshape to ``[B, L, heads, d]`` splits off."""
    shape = np.asarray(graph.constants.get(split.input[1], ()))
    return int(shape[2]) if shape.size == 4 and shape[2] > 0 else None


def _put(graph: Graph, nodes: dict[int, NodeProto]) -> int:
    """Put nodes in the place of others, by identity, and forget what nobody reads any more."""
    graph.nodes = [nodes.get(id(node), node) for node in graph.nodes]
    graph.remove_dead()
    return len(nodes)
