"""Dense route: every pixel named by dense CLIP.

Patch embeddings of one CLIP pass, softmax over the label set, bilinear to the tile. A class
keeps a pixel only where no other word of the label set scores higher; the class's ``dense``
threshold is applied after tiles are blended (``decision.py``), which keeps seams smooth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from t2s_rt.routes.features import TileFeatures
from t2s_rt.routes.labels import LabelSet
from t2s_rt.routes.painting import resize_planes
from t2s_rt.routes.result import TileResult
from t2s_rt.routes.settings import RouteSettings

if TYPE_CHECKING:
    from t2s_rt.prompts import PromptPack

__all__ = ["class_scores", "count_passing", "run"]


def class_scores(
    features: TileFeatures, pack: PromptPack, settings: RouteSettings
) -> NDArray[np.float32]:
    """Probability planes float32 ``[K, H, W]``, 0 where an other word is likelier."""
    labels = LabelSet.from_pack(pack, settings.label_scale)
    patch = features.dense.patch
    rows, cols, width = patch.shape
    planes, other = labels.class_planes(labels.scores(patch.reshape(-1, width)), (rows, cols))
    enlarged = resize_planes(np.concatenate([planes, other[None]]), features.shape)
    scores = enlarged[:-1]
    scores[scores < enlarged[-1]] = 0.0
    scores *= features.valid
    return np.ascontiguousarray(scores)


def count_passing(
    scores: NDArray[np.float32], pack: PromptPack, settings: RouteSettings
) -> tuple[int, ...]:
    """1 for each class that reaches its ``dense`` threshold at some pixel, else 0."""
    best = scores.max(axis=(1, 2))
    return tuple(
        int(0.0 < top >= settings.threshold(pack_class, "dense"))
        for top, pack_class in zip(best, pack.classes, strict=True)
    )


def run(features: TileFeatures, pack: PromptPack, settings: RouteSettings) -> TileResult:
    """Scores of every class from dense CLIP alone."""
    scores = class_scores(features, pack, settings)
    return TileResult(scores, count_passing(scores, pack, settings))
