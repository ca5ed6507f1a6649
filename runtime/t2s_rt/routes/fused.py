"""Fused route: things from boxes and SAM, stuff from dense CLIP sharpened by SAM masks.

A class of kind ``thing`` takes its scores from the boxes route, one of kind ``stuff`` from
dense CLIP, one of kind ``both`` the higher of the two. Things go over stuff: under the masks of
a tile's own objects stuff has no score, and the map's rule (``decision.py``) gives a pixel to a
thing that takes part before any stuff.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from t2s_rt.routes.boxes import paint_boxes, select
from t2s_rt.routes.dense import class_scores, count_passing
from t2s_rt.routes.features import TileFeatures
from t2s_rt.routes.painting import mask_window
from t2s_rt.routes.proposals import propose
from t2s_rt.routes.result import TileResult
from t2s_rt.routes.settings import RouteSettings

if TYPE_CHECKING:
    from t2s_rt.prompts import PromptPack

__all__ = ["run", "sharpen"]


def sharpen(
    scores: NDArray[np.float32],
    free: NDArray[np.bool_],
    features: TileFeatures,
    settings: RouteSettings,
) -> None:
    """Move stuff scores towards the mean of the SAM mask that a pixel lies in, in place.

    Dense CLIP knows what is there, SAM knows where it ends. Only masks that one class clearly
    owns take part; small masks are applied last, so that they win over the large ones that
    hold them. The image embedding is the one that the boxes already use.

    Args:
        scores: float32 ``[K, H, W]``, changed in place.
        free: bool ``[H, W]``, pixels that stuff may take: with data and under no thing.
        features: of the tile.
        settings: grid, weight and purity.
    """
    height, width = features.shape
    # a mask whose seed no class comes near can hardly be owned by one
    promising = free & (scores.max(axis=0) >= 0.5 * settings.sharpen_purity)
    # elsewhere a neighbouring tile has the better view
    row0, row1, col0, col1 = features.owned
    owned = np.zeros_like(promising)
    owned[row0:row1, col0:col1] = True
    promising &= owned
    proposals = propose(features, settings, settings.sharpen_grid, promising)
    order = np.argsort(-proposals.masks.sum(axis=(1, 2)), kind="stable")
    original = scores.copy()
    for logits in proposals.logits[order]:
        mask = mask_window(logits, features.shape, (0, height, 0, width)) & free
        if not mask.any():
            continue
        inside = original[:, mask]
        mean = inside.mean(axis=1, keepdims=True)
        if mean.max() >= settings.sharpen_purity:
            weight = settings.sharpen_weight
            scores[:, mask] = (1.0 - weight) * inside + weight * mean


def run(features: TileFeatures, pack: PromptPack, settings: RouteSettings) -> TileResult:
    """Scores of every class: things over stuff."""
    kinds = [pack_class.kind for pack_class in pack.classes]
    things = [kind != "stuff" for kind in kinds]
    stuff = np.array([kind != "thing" for kind in kinds])
    height, width = features.shape
    scores = np.zeros((len(kinds), height, width), dtype=np.float32)
    counts = [0] * len(kinds)
    if any(things):
        found = select(features.detections, pack, settings, features.shape, things, features.owned)
        painted = paint_boxes(features, found, len(kinds), settings)
        scores, counts = painted.scores, list(painted.candidates)
    if stuff.any():
        semantic = class_scores(features, pack, settings)
        semantic[~stuff] = 0.0
        # things over stuff
        free = features.valid & ~(scores > 0.0).any(axis=0)
        semantic *= free
        if settings.sharpen_grid and semantic.any():
            sharpen(semantic, free, features, settings)
        passing = count_passing(semantic, pack, settings)
        counts = [count + extra for count, extra in zip(counts, passing, strict=True)]
        np.maximum(scores, semantic, out=scores)
    return TileResult(scores, tuple(counts))
