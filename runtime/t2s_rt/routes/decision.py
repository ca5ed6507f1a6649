"""From class scores to one class per pixel: the one rule for conflicts.

1. A class takes part at a pixel where its score reaches its map threshold.
2. Among those, the highest score wins; among equals the earlier class of the pack.
3. Where none takes part, the pixel is 0, "none", with confidence 0.

Things over stuff: in the fused route a thing whose mask covers a pixel removes the stuff scores
there before this rule is applied (``fused.py``), so the rule itself needs no precedence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from t2s_rt.routes import RouteName
from t2s_rt.routes.settings import RouteSettings

if TYPE_CHECKING:
    from t2s_rt.prompts import PackClass, PromptPack

__all__ = ["decide", "map_thresholds"]

_PAINTED = 0.5
"""Routes that paint whole masks write either 0 or a score that has already passed its threshold.
After blending two overlapping tiles, half the threshold means that the weakest mask that counts
was seen with at least half of the weight."""


def map_thresholds(
    pack: PromptPack, route: RouteName, settings: RouteSettings
) -> NDArray[np.float32]:
    """Least blended score float32 ``[K]`` at which each class takes part."""

    def of(pack_class: PackClass) -> float:
        boxes = _PAINTED * settings.threshold(pack_class, "detector")
        dense = settings.threshold(pack_class, "dense")
        if route == "boxes":
            return boxes
        if route == "points":
            return _PAINTED * settings.threshold(pack_class, "points")
        if route == "masks":
            return _PAINTED * settings.threshold(pack_class, "masks")
        if route == "dense" or pack_class.kind == "stuff":
            return dense
        return boxes if pack_class.kind == "thing" else min(boxes, dense)

    return np.array([of(pack_class) for pack_class in pack.classes], dtype=np.float32)


def decide(
    scores: NDArray[np.float32], thresholds: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One class per pixel.

    Args:
        scores: float32 ``[K, h, w]`` in 0..1.
        thresholds: float32 ``[K]`` from ``map_thresholds``.

    Returns:
        labels uint8 ``[h, w]``: 0 none, 1..K the classes in pack order; confidence float32
        ``[h, w]``: the winner's score, 0 where none.
    """
    # class by class: blocks of a large map must not be copied K times
    labels = np.zeros(scores.shape[1:], dtype=np.uint8)
    confidence = np.zeros(scores.shape[1:], dtype=np.float32)
    for value, (plane, threshold) in enumerate(zip(scores, thresholds, strict=True), 1):
        # above 0 in any case: a threshold of 0 still asks for some score
        better = (plane >= threshold) & (plane > confidence)
        labels[better] = value
        np.copyto(confidence, plane, where=better)
    return labels, confidence
