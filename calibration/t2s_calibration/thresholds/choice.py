"""Thresholds with the highest mIoU on scored tiles, found one class at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2s_calibration.thresholds.planes import ScoredTile
from t2s_rt.evaluation import ConfusionMatrix
from t2s_rt.evaluation.datasets import IGNORED

__all__ = ["GRID", "Choice", "choose", "mean_iou"]

GRID = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Thresholds that are tried."""
_LEAST_GAIN = 0.002
"""Less mIoU than this is noise: the threshold stays where it was."""
_SWEEPS = 4


@dataclass(frozen=True)
class Choice:
    """What was found for one route.

    Attributes:
        thresholds: of every class of the pack.
        before: mIoU on the tiles with the default for all.
        after: with those found.
    """

    thresholds: tuple[float, ...]
    before: float
    after: float


def mean_iou(
    tiles: Sequence[ScoredTile],
    thresholds: Sequence[float],
    targets: NDArray[np.uint8],
    names: Sequence[str],
    classes: int,
) -> float:
    """mIoU over the data set's classes when each class counts from its threshold on.

    Args:
        tiles: scored.
        thresholds: of every class of the pack.
        targets: class of the data set by label of a map, label 0 first.
        names: classes of the confusion matrix.
        classes: how many of them are the data set's own.
    """
    matrix = ConfusionMatrix(names, (IGNORED,))
    for tile in tiles:
        matrix.add(tile.truth, targets[_labels(tile.scores, thresholds)])
    return matrix.miou(range(classes))


def choose(
    tiles: Sequence[ScoredTile],
    default: float,
    targets: NDArray[np.uint8],
    names: Sequence[str],
    classes: int,
) -> Choice:
    """Go from class to class and take what helps the mean most, until nothing does.

    Thresholds of one class change what is left for the others, so several sweeps are made. On
    equal terms the value nearest to the default is taken.

    Args:
        tiles: scored.
        default: the route's threshold.
        targets: see :func:`mean_iou`.
        names: likewise.
        classes: likewise.
    """
    count = tiles[0].scores.shape[0]
    current = [default] * count
    before = best = mean_iou(tiles, current, targets, names, classes)
    for _ in range(_SWEEPS):
        changed = False
        for index in range(count):
            tried = []
            for value in sorted(GRID, key=lambda value: abs(value - default)):
                trial = [*current[:index], value, *current[index + 1 :]]
                tried.append((mean_iou(tiles, trial, targets, names, classes), value))
            top = max(tried, key=lambda pair: pair[0])
            if top[0] > best + _LEAST_GAIN:
                best, current[index], changed = top[0], top[1], True
        if not changed:
            break
    return Choice(tuple(current), before, best)


def _labels(scores: NDArray[np.uint8], thresholds: Sequence[float]) -> NDArray[np.uint8]:
    """The class with the highest score among those that reach their threshold, as maps decide."""
    limits = np.ceil(np.asarray(thresholds, np.float64) * 255 - 0.5).clip(1, 255).astype(np.uint8)
    passing = np.where(scores >= limits[:, None, None], scores, np.uint8(0))
    best = passing.argmax(0)
    return np.where(passing.max(0) > 0, best + 1, 0).astype(np.uint8)
