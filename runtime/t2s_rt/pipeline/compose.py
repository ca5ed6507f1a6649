"""From blended scores to the class map, block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2s_rt.pipeline.blend import Region, blend, resample
from t2s_rt.pipeline.layout import Layout
from t2s_rt.pipeline.store import ScoreStore
from t2s_rt.routes.decision import MapRule, decide
from t2s_rt.scene import CONFIDENCE_NODATA, CONFIDENCE_SCALE, LABEL_NODATA

__all__ = ["Block", "compose_block"]


@dataclass(frozen=True)
class Block:
    """Part of the class map.

    Attributes:
        labels: uint8 ``[h, w]``: 0 none, 1..K classes in pack order, 255 nodata.
        confidence: uint8 ``[h, w]``: 254 is 1.0, 255 nodata.
    """

    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]


def compose_block(
    region: Region,
    layout: Layout,
    store: ScoreStore,
    rule: MapRule,
    blank: Callable[[int], bool],
    valid: NDArray[np.bool_] | None,
) -> Block:
    """Blend, resample to scene pixels, decide.

    Args:
        region: block in scene pixels.
        layout: of the scene.
        store: quantised tile scores.
        rule: for conflicts, from ``map_rule``.
        blank: whether a tile was skipped because it holds no data.
        valid: bool of the block's size, or None where every pixel of the scene has data.
    """
    part = layout.working(region)
    scores, seen = blend(part, layout.grid, layout.touching(part), store, rule.objects, blank)
    origin = (part[0], part[2])
    labels, confidence = decide(resample(scores, origin, layout.scale, region), rule)
    levels = np.asarray(np.rint(confidence * CONFIDENCE_SCALE), dtype=np.uint8)
    empty = ~valid if valid is not None else np.zeros(labels.shape, dtype=bool)
    if not seen.all():
        # a failed tile: pixels that no other tile saw are unknown, not "none"
        empty |= resample(seen[None].astype(np.float32), origin, layout.scale, region)[0] < 0.5
    labels[empty] = LABEL_NODATA
    levels[empty] = CONFIDENCE_NODATA
    return Block(labels, levels)
