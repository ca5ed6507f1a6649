"""Islands where numbers are too large, or constants too fine, for float16.

The largest finite float16 is 65504. A value may reach an eighth of it on the calibration images
before its operators become islands: they are few, other images have larger outliers, and a matrix
product may pass through partial sums above its result. Attention masks are the exception: they
lie at -1e4 (twice that where two meet) by design, whatever the image is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from t2s_engines.graphs.graph import Array
from t2s_engines.graphs.maxima import HALF_LIMIT
from t2s_export.architectures.grounding_dino.attention import MASKED
from t2s_export.precision.rules import Islands
from t2s_export.precision.view import KEEPERS, GraphView

__all__ = ["CONSTANT_LOSS", "HEADROOM", "constant_islands", "range_islands"]

HEADROOM = 8.0
"""Factor between the largest magnitude on calibration images and float16's limit."""
CONSTANT_LOSS = 2.0**-10
"""Largest relative change of a constant, as a vector, by rounding. Normal numbers change by at
most 2**-11; more means that it lies among the denormals."""


def range_islands(view: GraphView, maxima: Mapping[str, float]) -> tuple[Islands, float]:
    """Nodes that make or read a value without headroom.

    Args:
        view: the float32 graph.
        maxima: largest magnitude of its values, graph inputs included.

    Returns:
        The islands, and the largest magnitude among the values that may be float16, masks aside.
    """
    limit = HALF_LIMIT / HEADROOM
    masked = _masked_values(view)
    islands: Islands = {}
    largest = 0.0
    for name, size in maxima.items():
        if size <= (limit + 2 * abs(MASKED) if name in masked else limit):
            largest = largest if name in masked else max(largest, size)
            continue
        reason = f"range: {size:.4g}"
        maker = view.producers.get(name)
        for node in (*(() if maker is None else (maker,)), *view.readers(name)):
            if view.computes(node):
                islands.setdefault(node.name, reason)
    return islands, largest


def constant_islands(view: GraphView, islands: Mapping[str, str]) -> Islands:
    """Nodes outside ``islands`` that read a constant which float16 cannot hold."""
    found: Islands = {}
    for name, value in view.graph.constants.items():
        readers = [node for node in view.readers(name) if node.name not in islands]
        if value.dtype != np.float32 or not readers:
            continue
        loss = _loss(value)
        if loss > CONSTANT_LOSS:
            for node in readers:
                found.setdefault(node.name, f"constant: {name} changes by {loss:.2g}")
    return found


def _loss(value: Array) -> float:
    """Relative change of a constant by rounding to float16; infinite if it overflows."""
    wide = value.astype(np.float64)
    with np.errstate(over="ignore"):
        change = wide - value.astype(np.float16).astype(np.float64)
    if not np.isfinite(change).all():
        return float("inf")
    size = float(np.linalg.norm(wide))
    return float(np.linalg.norm(change)) / size if size else 0.0


def _is_mask(value: Array) -> bool:
    """Whether a constant is an attention mask, perhaps with position biases added to it."""
    wide = value.astype(np.float64)
    low = wide[wide < MASKED / 2]
    return bool(low.size) and bool(low.min() > 3 * MASKED and wide.max() < -MASKED / 2)


def _masked_values(view: GraphView) -> set[str]:
    """Values that hold attention masks: products with ``MASKED``, and sums with those."""
    constants = view.graph.constants
    floats = {name: value for name, value in constants.items() if value.dtype == np.float32}
    masks = {name for name, value in floats.items() if _is_mask(value)}
    for node in view.graph.nodes:
        through = node.op_type == "Add" or node.op_type in KEEPERS
        scaled = node.op_type == "Mul" and any(
            name in floats and (floats[name] == MASKED).all() for name in node.input
        )
        if scaled or (through and masks.intersection(node.input)):
            masks.update(node.output)
    return masks
