"""From class scores to one class per pixel: the one rule for conflicts.

1. A class takes part at a pixel where its score reaches its map threshold.
2. In the fused route, things that take part go over everything else (a car over the road).
3. Among those that are left, the highest score wins; among equals the earlier class of the pack.
4. Where none takes part, the pixel is 0, "none", with confidence 0.

The rule also says how the scores of overlapping tiles become one: objects by their maximum (each
is painted by the tile that holds its centre), everything else by the weighted mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from t2s_rt.routes import RouteName
from t2s_rt.routes.settings import RouteSettings

if TYPE_CHECKING:
    from t2s_rt.prompts import PackClass, PromptPack

__all__ = ["MapRule", "decide", "map_rule"]

_PAINTED = 0.5
"""Routes that paint whole masks write either 0 or a score that has already passed its threshold.
Half of it is where the edge of the weakest mask that counts lies after interpolation, and means
that it was seen with at least half of the weight where two tiles are averaged."""


@dataclass(frozen=True)
class MapRule:
    """How blended scores become a map.

    Attributes:
        thresholds: float32 ``[K]``, least score at which each class takes part.
        objects: per class, whether it is painted object by object, so that tiles are joined by
            their maximum instead of the weighted mean.
        over: per class, whether it goes over the classes that do not.
    """

    thresholds: NDArray[np.float32]
    objects: tuple[bool, ...]
    over: tuple[bool, ...]


def map_rule(pack: PromptPack, route: RouteName, settings: RouteSettings) -> MapRule:
    """The rule for a pack's classes on a route."""
    kinds = [pack_class.kind for pack_class in pack.classes]
    fused = route == "fused"
    return MapRule(
        np.array([_threshold(c, route, settings) for c in pack.classes], dtype=np.float32),
        tuple(route == "boxes" or (fused and kind != "stuff") for kind in kinds),
        tuple(fused and kind == "thing" for kind in kinds),
    )


def _threshold(pack_class: PackClass, route: RouteName, settings: RouteSettings) -> float:
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


def decide(
    scores: NDArray[np.float32], rule: MapRule
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One class per pixel.

    Args:
        scores: float32 ``[K, h, w]`` in 0..1.
        rule: from ``map_rule``.

    Returns:
        labels uint8 ``[h, w]``: 0 none, 1..K the classes in pack order; confidence float32
        ``[h, w]``: the winner's score, 0 where none.
    """
    # class by class: blocks of a large map must not be copied K times
    labels = np.zeros(scores.shape[1:], dtype=np.uint8)
    confidence = np.zeros(scores.shape[1:], dtype=np.float32)
    for first in (True, False):
        free = labels == 0
        for value, over in enumerate(rule.over, 1):
            if over is first:
                plane = scores[value - 1]
                # above 0 in any case: a threshold of 0 still asks for some score
                better = free & (plane >= rule.thresholds[value - 1]) & (plane > confidence)
                labels[better] = value
                np.copyto(confidence, plane, where=better)
    return labels, confidence
