"""Outliers moved from activations into weights, where a LayerNorm lies between.

A ViT's activations have a few channels many times larger than the rest, and one step for the whole
tensor leaves the rest without digits. Dividing a channel by a factor and multiplying its row of
weights by it changes nothing in exact arithmetic; before a LayerNorm's readers the division costs
nothing either, since it goes into scale and bias (SmoothQuant, arXiv 2211.10438, equation 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from t2s_calibration.int8.layers import Layer
from t2s_calibration.int8.observe import Channels
from t2s_engines.graphs.graph import Array, Graph, ValueType

__all__ = ["STRENGTHS", "Smoothing", "choose_smoothing", "smoothed", "smoothing_places"]

STRENGTHS = (0.25, 0.5, 0.75)
"""How much of the outliers moves: the exponent alpha of the paper."""
_WORTH = 0.9
"""Expected error against that without smoothing below which it is done."""
_LEAST, _MOST = 1e-2, 1e2
"""Factors beyond these would only move trouble, in float16 above all."""
_LEVELS = 127.0


@dataclass(frozen=True)
class Smoothing:
    """Channels of one LayerNorm, and who reads them.

    Attributes:
        norm: name of its node.
        layers: names of the layers, all readers of the norm.
        factors: float32 ``[K]``: channels are divided, weights multiplied by them.
        gain: expected error, a share of the error without it.
    """

    norm: str
    layers: tuple[str, ...]
    factors: NDArray[np.float32]
    gain: float


def smoothing_places(graph: Graph, layers: Sequence[Layer]) -> dict[str, tuple[str, ...]]:
    """LayerNorms all of whose readers are layers: names of these by name of the norm.

    Between them may lie what keeps channels in the last axis: casts, reshapes, transpositions.
    """
    types = graph.types()
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.nodes:
        for index, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, index))
    known = {layer.name: layer for layer in layers}
    shared = {name for name, found in readers.items() if name in graph.constants and found[1:]}
    places = {}
    for norm in graph.nodes:
        if norm.op_type != "LayerNormalization" or norm.output[0] in graph.outputs:
            continue
        if not all(name in graph.constants for name in norm.input[1:3]) or len(norm.input) < 3:
            continue
        found = _readers_of(norm.output[0], readers, types, graph)
        if found and all(
            name in known and known[name].kind != "Conv" and known[name].weight not in shared
            for name in found
        ):
            places[norm.name] = tuple(found)
    return places


def choose_smoothing(
    graph: Graph,
    layers: Sequence[Layer],
    places: Mapping[str, tuple[str, ...]],
    channels: Mapping[str, Channels],
) -> tuple[Smoothing, ...]:
    """For each place the strength with the least expected error, where it is worth it.

    Args:
        graph: of the layers.
        layers: of the graph.
        places: see :func:`smoothing_places`.
        channels: what the layers' inputs held, by value name.
    """
    known = {layer.name: layer for layer in layers}
    found = []
    for norm, names in places.items():
        seen = channels[known[names[0]].input]
        weights = np.concatenate(
            [np.asarray(graph.constants[known[name].weight], np.float64) for name in names], axis=1
        )
        power = seen.squares / max(1, seen.rows)
        peaks = np.asarray(seen.peaks, np.float64)
        plain = _expected_error(peaks, power, weights, np.ones_like(peaks))
        options = []
        for strength in STRENGTHS:
            factors = _factors(peaks, weights, strength)
            options.append((_expected_error(peaks, power, weights, factors), factors))
        error, factors = min(options, key=lambda option: option[0])
        if plain > 0 and error < _WORTH * plain:
            found.append(
                Smoothing(norm, names, factors.astype(np.float32), round(error / plain, 4))
            )
    return tuple(found)


def smoothed(graph: Graph, smoothings: Sequence[Smoothing]) -> Graph:
    """The graph with scales, biases and weights changed; it computes the same.

    Args:
        graph: float32, or the float16 graph of the same role; not changed.
        smoothings: whose nodes it has.
    """
    constants = dict(graph.constants)
    by_norm = {one.norm: one for one in smoothings}
    by_layer = {name: one for one in smoothings for name in one.layers}
    nodes = []
    for node in graph.nodes:
        if node.name in by_norm:
            factors = by_norm[node.name].factors
            node = _with_constants(node, {1: 1 / factors, 2: 1 / factors}, constants)
        elif node.name in by_layer:
            node = _with_constants(node, {1: by_layer[node.name].factors[:, None]}, constants)
        nodes.append(node)
    found = replace(graph, nodes=nodes, constants=constants)
    found.drop_unused_constants()
    return found


def _with_constants(
    node: onnx.NodeProto, factors: Mapping[int, Array], constants: dict[str, Array]
) -> onnx.NodeProto:
    found = onnx.NodeProto()
    found.CopyFrom(node)
    for index, factor in factors.items():
        old = constants[node.input[index]]
        name = f"{node.name}/{index}/smoothed"
        product = old.astype(np.float64) * np.asarray(factor, np.float64)
        constants[name] = product.astype(old.dtype)
        found.input[index] = name
    return found


def _factors(
    peaks: NDArray[np.float64], weights: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    rows = np.maximum(np.abs(weights).max(1), 1e-8)
    factors = np.maximum(peaks, 1e-8) ** strength / rows ** (1 - strength)
    # the common size is of no account: one step spans all channels
    factors /= np.exp(np.log(factors).mean())
    return np.asarray(factors.clip(_LEAST, _MOST).astype(np.float32), np.float64)


def _expected_error(
    peaks: NDArray[np.float64],
    power: NDArray[np.float64],
    weights: NDArray[np.float64],
    factors: NDArray[np.float64],
) -> float:
    """Squared error of the products: steps of the activations, and steps of the weights."""
    moved = weights * factors[:, None]
    step = (peaks / factors).max() / _LEVELS
    steps = np.abs(moved).max(0) / _LEVELS
    by_activations = step**2 / 12 * (moved**2).sum()
    by_weights = (power / factors**2).sum() * (steps**2 / 12).sum()
    return float(by_activations + by_weights)


def _readers_of(
    value: str,
    readers: Mapping[str, list[tuple[onnx.NodeProto, int]]],
    types: Mapping[str, ValueType],
    graph: Graph,
) -> list[str]:
    """Names of the nodes that read a value, seen through what keeps its last axis.

    Empty where something else happens to it.
    """
    found: list[str] = []
    waiting = [value]
    while waiting:
        name = waiting.pop()
        if name in graph.outputs:
            return []
        for node, index in readers.get(name, []):
            if node.op_type in ("MatMul", "Gemm") and index == 0:
                found.append(node.name)
            elif index == 0 and _keeps_channels(node, types):
                waiting.append(node.output[0])
            else:
                return []
    return sorted(found)


def _keeps_channels(node: onnx.NodeProto, types: Mapping[str, ValueType]) -> bool:
    before, after = types[node.input[0]].shape, types[node.output[0]].shape
    if not before or not after or before[-1] != after[-1] or not isinstance(before[-1], int):
        return False
    if node.op_type == "Transpose":
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
        return bool(order) and order[-1] == len(order) - 1
    return node.op_type in ("Cast", "Reshape", "Identity", "Squeeze", "Unsqueeze")
