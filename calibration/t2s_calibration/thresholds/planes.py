"""Class scores of a route on labelled tiles, small enough to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.evaluation.datasets import IGNORED, DatasetSpec, read_item
from t2s_rt.evaluation.evaluate import EvalTile
from t2s_rt.pipeline import Pipeline, Progress
from t2s_rt.prompts import PromptPack
from t2s_rt.routes import RouteSettings

__all__ = ["LOOSE", "ScoredTile", "bare", "score_tiles"]

LOOSE = RouteSettings(detector=0.05, points=0.05, masks=0.05, dense=0.0)
"""Thresholds that let nearly everything through, so that any higher one can be tried after."""
_SIDE = 512


@dataclass(frozen=True)
class ScoredTile:
    """One tile, no larger than 512 pixels: the sums over classes hardly change with more.

    Attributes:
        truth: uint8 ``[h, w]`` classes of the data set; 255 does not count.
        scores: uint8 ``[K, h, w]`` of the pack's classes, 255 is 1.0.
    """

    truth: NDArray[np.uint8]
    scores: NDArray[np.uint8]


def bare(pack: PromptPack) -> PromptPack:
    """The pack without thresholds of its own."""
    return replace(pack, classes=tuple(replace(entry, thresholds={}) for entry in pack.classes))


def score_tiles(
    pipeline: Pipeline,
    pack: PromptPack,
    spec: DatasetSpec,
    tiles: Sequence[EvalTile],
    progress: Progress,
) -> list[ScoredTile]:
    """Score tiles with a pipeline whose settings are :data:`LOOSE`; unlabelled ones are left out.

    Raises:
        SceneError: a tile cannot be read.
        BundleError, BackendError: the models cannot be opened or run.
    """
    plain, found = bare(pack), []
    progress.begin(f"{spec.title}, route {pipeline.settings.route}", len(tiles), 0)
    try:
        for tile in tiles:
            image, truth, _ = read_item(spec, tile.item, tile.window)
            if (truth == IGNORED).all():
                progress.tile("skipped")
                continue
            scores = pipeline.score_image(image, plain, tile.gsd).scores
            found.append(_small(truth, scores))
            progress.tile("done")
    finally:
        progress.end()
    return found


def _small(truth: NDArray[np.uint8], scores: NDArray[np.float32]) -> ScoredTile:
    height, width = truth.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    near = [cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST) for plane in scores]
    return ScoredTile(
        np.asarray(cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST), np.uint8),
        np.rint(np.stack(near).clip(0, 1) * 255).astype(np.uint8),
    )
