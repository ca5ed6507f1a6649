"""What the layers of a graph see on calibration images, in bounded memory.

ONNX Runtime's own calibrator keeps every tensor of every image: two images of 1024 x 1024 in SAM
ViT-B take 24 GiB. Here one image is run at a time, with as many values beside the outputs as fit
into a budget, and only counts of them are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from t2s_calibration.int8.histogram import Histogram
from t2s_engines.graphs.graph import Array, Graph, ValueType
from t2s_engines.graphs.running import running

__all__ = ["Channels", "Observed", "observe"]

_BUDGET = 512 << 20
"""Bytes of values that leave the graph together."""
Feeds = Mapping[str, Array]


@dataclass
class Channels:
    """Channels of a value, its last axis.

    Attributes:
        peaks: largest magnitude, float32 ``[K]``.
        squares: sum of squares, float64 ``[K]``.
        rows: how many values of each channel were seen.
    """

    peaks: NDArray[np.float32]
    squares: NDArray[np.float64]
    rows: int = 0

    def add(self, values: NDArray[np.float32]) -> None:
        """Take up the rows of a value ``[..., K]``."""
        flat = values.reshape(-1, values.shape[-1])
        self.peaks = np.maximum(self.peaks, np.abs(flat).max(0))
        self.squares = self.squares + np.einsum("nk,nk->k", flat, flat, dtype=np.float64)
        self.rows += len(flat)


@dataclass
class Observed:
    """What was seen.

    Attributes:
        histograms: by value name.
        channels: by value name, for those asked for.
    """

    histograms: dict[str, Histogram] = field(default_factory=dict)
    channels: dict[str, Channels] = field(default_factory=dict)


def observe(
    graph: Graph,
    values: Collection[str],
    feeds: Callable[[], Iterable[Feeds]],
    *,
    channels: bool = False,
    budget: int = _BUDGET,
    step: Callable[[], None] | None = None,
) -> Observed:
    """Run a graph on calibration inputs and count what some values hold.

    Args:
        graph: float32.
        values: which, none of them an input or a constant.
        feeds: gives the inputs anew for every group of values.
        channels: count by channel (the last axis) instead of in histograms.
        budget: bytes of values in one run.
        step: called after every run.

    Raises:
        GraphError: ONNX Runtime refuses the graph.
    """
    types = graph.types()
    found = Observed()
    for group in groups_of(graph, types, values, budget):
        outputs = {name: types[name] for name in group}
        with running(_only_what_is_needed(replace(graph, outputs=outputs))) as run:
            for inputs in feeds():
                for name, array in run(inputs).items():
                    if channels:
                        _channels(found, name, array)
                    else:
                        found.histograms.setdefault(name, Histogram()).add(array)
                if step is not None:
                    step()
    return found


def groups_of(
    graph: Graph, types: Mapping[str, ValueType], values: Collection[str], budget: int = _BUDGET
) -> list[list[str]]:
    """Values in the order of the graph, as many together as fit; dynamic sizes count once."""
    wanted = set(values)
    groups: list[list[str]] = []
    used = budget
    for name in (name for node in graph.nodes for name in node.output if name in wanted):
        shape = types[name].shape or ()
        size = 4 * math.prod(length for length in shape if isinstance(length, int))
        if used + size > budget or not groups:
            groups.append([])
            used = 0
        groups[-1].append(name)
        used += size
    return groups


def _channels(found: Observed, name: str, array: Array) -> None:
    values = np.asarray(array, np.float32)
    width = values.shape[-1]
    if name not in found.channels:
        found.channels[name] = Channels(np.zeros(width, np.float32), np.zeros(width))
    found.channels[name].add(values)


def _only_what_is_needed(graph: Graph) -> Graph:
    """Without the nodes that no output depends on."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    constants: Sequence[str] = [name for name in graph.constants if name in needed]
    return replace(
        graph,
        nodes=kept[::-1],
        constants={name: graph.constants[name] for name in constants},
        shapes={name: shape for name, shape in graph.shapes.items() if name in needed},
    )
