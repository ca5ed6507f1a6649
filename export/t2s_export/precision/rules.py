"""Which operators stay float32 in every float16 graph, as a table of rules with their reasons.

A rule looks at the graph alone, so that it holds for any weights and any image; what else a
particular model needs is decided from calibration images (``t2s_export.precision.decision``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import onnx

from t2s_engines.graphs.graph import Graph
from t2s_export.architectures.grounding_dino.graph import FLOAT32_SCOPES
from t2s_export.precision.view import KEEPERS, GraphView

__all__ = ["RULES", "Islands", "Rule", "islands_by_rule"]

Islands = dict[str, str]
"""Names of the nodes that stay float32, and of each the rule or measurement that says so."""

_ELEMENTWISE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Min", "Max", "Clip", "Log", "Floor", "Equal"}
)
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})


@dataclass(frozen=True)
class Rule:
    """One reason for float32.

    Attributes:
        name: short, for the manifest.
        reason: what would go wrong in float16.
        find: the nodes it holds for.
    """

    name: str
    reason: str
    find: Callable[[GraphView], Iterable[onnx.NodeProto]]


def islands_by_rule(graph: Graph) -> Islands:
    """Apply every rule of :data:`RULES`.

    Args:
        graph: a clean float32 graph; not changed.

    Returns:
        The nodes that compute with float32 numbers and stay so, each with the first rule that
        holds for it. Nodes that only move values get their type from their neighbours.
    """
    view = GraphView(graph)
    islands: Islands = {}
    for rule in RULES:
        for node in rule.find(view):
            if view.computes(node):
                islands.setdefault(node.name, rule.name)
    return islands


def _operators(*kinds: str) -> Callable[[GraphView], Iterable[onnx.NodeProto]]:
    return lambda view: (node for node in view.graph.nodes if node.op_type in kinds)


def _scopes(*parts: str) -> Callable[[GraphView], Iterable[onnx.NodeProto]]:
    """Nodes with a module of such a name among those they lie in."""

    def inside(node: onnx.NodeProto) -> bool:
        # the exporter numbers modules that are called again: box_refinement_1
        modules = [module.split(".")[0] for module in node.name.split("/")[:-1]]
        return any(m == p or m.startswith(f"{p}_") for m in modules for p in parts)

    return lambda view: filter(inside, view.graph.nodes)


def _is_gate(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a Sigmoid is part of an activation ``x * sigmoid(k x)``."""
    before = {node.input[0]}
    scale = view.producers.get(node.input[0])
    if scale is not None and scale.op_type == "Mul":
        before.update(scale.input)
    after = [reader for reader, _ in view.consumers[node.output[0]]]
    return bool(after) and all(
        reader.op_type == "Mul" and before.intersection(reader.input) for reader in after
    )


def _sigmoids(view: GraphView) -> Iterator[onnx.NodeProto]:
    """Sigmoid and its inverse, with the sums and quotients that lead to them."""
    for node in view.graph.nodes:
        if node.op_type == "Log" or (node.op_type == "Sigmoid" and not _is_gate(view, node)):
            yield node
            yield from view.upstream(node.input, _ELEMENTWISE | KEEPERS)


def _sines(view: GraphView) -> Iterator[onnx.NodeProto]:
    """Sine and cosine with the phases that lead to them."""
    for node in view.graph.nodes:
        if node.op_type in ("Sin", "Cos"):
            yield node
            yield from view.upstream(node.input, _ELEMENTWISE | KEEPERS | {"MatMul"})


def _scores(view: GraphView) -> Iterator[onnx.NodeProto]:
    """Scores that are ranked and logits that leave the graph, back to the product they are."""
    starts = [node.input[0] for node in view.graph.nodes if node.op_type == "TopK"]
    starts += [name for name in view.graph.outputs if name == "logits"]
    yield from (node for node in view.graph.nodes if node.op_type == "TopK")
    yield from view.upstream(starts, _ELEMENTWISE | KEEPERS, last=_PRODUCTS)


def _norms(view: GraphView) -> Iterator[onnx.NodeProto]:
    """Sums of squares, and the division of a vector by its length."""
    for node in view.graph.nodes:
        if node.op_type in ("ReduceL2", "ReduceSumSquare"):
            yield node
            for name in node.output:
                yield from (
                    n for n in view.readers(name) if n.op_type in ("Div", "Sqrt", "Clip", "Max")
                )


def _sampling(view: GraphView) -> Iterator[onnx.NodeProto]:
    """Sampling places, GridSample, and the weighted sums of its samples."""
    inside = _scopes("sampling_grid")
    seeds = [node for node in view.graph.nodes if node.op_type in ("GridSample", "Floor")]
    starts = [node.input[-1] for node in seeds]
    starts += [name for node in inside(view) for name in node.input]
    chosen = {node.name for node in seeds}
    yield from seeds
    for node in view.upstream(starts, _ELEMENTWISE | KEEPERS):
        chosen.add(node.name)
        yield node
    yield from _behind(view, chosen)


def _behind(view: GraphView, chosen: set[str]) -> Iterator[onnx.NodeProto]:
    """Cheap nodes all of whose computed inputs come from chosen ones, Softmax or a comparison."""
    made: set[str] = set()
    for node in view.graph.nodes:
        inputs = view.computed_inputs(node)
        ready = bool(inputs) and all(name in made for name in inputs)
        moved = node.op_type in KEEPERS and ready
        compared = node.op_type == "Cast" and node.input[0] in made
        if node.name in chosen or node.op_type == "Softmax" or moved or compared:
            made.update(node.output)
        elif node.op_type in _ELEMENTWISE | {"ReduceSum"} and ready:
            made.update(node.output)
            yield node


RULES: tuple[Rule, ...] = (
    Rule(
        "softmax",
        "sums of exponentials over thousands of tokens, and weights below float16's smallest",
        _operators("Softmax", "LogSoftmax"),
    ),
    Rule(
        "normalisation",
        "squares of activations overflow (the classic failure of half-precision transformers)",
        _operators(
            "LayerNormalization",
            "InstanceNormalization",
            "GroupNormalization",
            "BatchNormalization",
        ),
    ),
    Rule(
        "vector length",
        "a sum of squares overflows or vanishes; embeddings are compared to three digits",
        _norms,
    ),
    Rule(
        "sigmoid",
        "boxes and their inverse sigmoid near 0 and 1, where float16 cannot tell pixels apart",
        _sigmoids,
    ),
    Rule(
        "sine positions",
        "phases grow to hundreds of turns, of which only the fraction counts",
        _sines,
    ),
    Rule(
        "sampling",
        "places in -1..1 in steps of 2**-11 miss pixels; GridSample takes values and places of "
        "one type",
        _sampling,
    ),
    Rule(
        "ranked scores",
        "neighbouring scores differ by 4e-6: coarser steps make ties, and ties other queries",
        _scores,
    ),
    Rule(
        "boxes",
        "georeferenced output: the box heads and what refines boxes (FLOAT32_SCOPES)",
        _scopes(*FLOAT32_SCOPES, "bbox_embed", "enc_out_bbox_embed"),
    ),
    Rule(
        "prompts",
        "pixel coordinates up to 1024 and their labels; a few tokens, so it costs nothing",
        _scopes("prompt_encoder"),
    ),
    Rule(
        "predicted IoU",
        "the host ranks masks by it; a few numbers, so it costs nothing",
        _scopes("iou_prediction_head"),
    ),
)
"""In order: a node that several rules hold for is counted for the first."""
