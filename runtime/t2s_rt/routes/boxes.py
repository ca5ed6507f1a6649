"""Boxes route: Grounding DINO finds boxes, SAM turns each into a mask.

Detections above their class's ``detector`` threshold pass class-aware NMS and a size filter;
all boxes of all classes go to the mask decoder together; each mask is painted with the
detection's score into its class's map by maximum. A box that several classes claim goes to the
class with the highest score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from t2s_rt.routes.features import TileFeatures
from t2s_rt.routes.painting import Window, mask_window, nms, paint, window_of
from t2s_rt.routes.result import TileResult
from t2s_rt.routes.settings import RouteSettings

if TYPE_CHECKING:
    from t2s_rt.models import Detections
    from t2s_rt.prompts import PromptPack

__all__ = ["Candidates", "paint_boxes", "run", "select"]

_EXTRA_MARGIN = 2.0
"""Pixels that a mask may leave its box by, beside ``RouteSettings.box_margin``."""


@dataclass(frozen=True)
class Candidates:
    """Boxes worth a mask.

    Attributes:
        boxes: float32 ``[N, 4]`` xyxy in tile pixels, clipped to the tile.
        classes: int ``[N]``, index into the pack's classes.
        scores: float32 ``[N]``, absolute detector scores.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.intp]
    scores: NDArray[np.float32]

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Candidates:
        """The candidates at an index or under a mask."""
        return Candidates(self.boxes[index], self.classes[index], self.scores[index])


def select(
    detections: Detections,
    pack: PromptPack,
    settings: RouteSettings,
    shape: tuple[int, int],
    wanted: Sequence[bool] | None = None,
    owned: Window | None = None,
) -> Candidates:
    """Choose the boxes that deserve a mask.

    Args:
        detections: boxes of all queries with one score per class.
        pack: the classes, in the order of the scores' columns.
        settings: thresholds and NMS limits.
        shape: height and width of the tile.
        wanted: per class, whether it takes part; all by default.
        owned: part of the tile that a box's centre must lie in; the whole tile by default.
    """
    height, width = shape
    thresholds = np.array([settings.threshold(c, "detector") for c in pack.classes])
    passing = (detections.scores >= thresholds) & (detections.scores > 0.0)
    if wanted is not None:
        passing &= np.asarray(wanted, dtype=bool)
    boxes = np.clip(detections.boxes, 0.0, np.array([width, height, width, height], np.float32))
    sides = boxes[:, 2:] - boxes[:, :2]
    sized = (sides.min(axis=1) >= settings.min_box_side) & (
        sides.prod(axis=1) <= settings.max_box_share * height * width
    )
    query, classes = np.nonzero(passing & sized[:, None])
    found = Candidates(
        boxes[query].astype(np.float32),
        classes.astype(np.intp),
        detections.scores[query, classes].astype(np.float32),
    )
    found = found.take(nms(found.boxes, found.scores, settings.box_nms_iou, found.classes))
    found = found.take(nms(found.boxes, found.scores, settings.cross_class_iou))
    row0, row1, col0, col1 = owned or (0, height, 0, width)
    x, y = (found.boxes[:, :2] + found.boxes[:, 2:]).T / 2
    return found.take((x >= col0) & (x <= col1) & (y >= row0) & (y <= row1))


def paint_boxes(
    features: TileFeatures, found: Candidates, classes: int, settings: RouteSettings
) -> TileResult:
    """Decode all boxes of all classes together and paint their masks by maximum."""
    height, width = features.shape
    scores = np.zeros((classes, height, width), dtype=np.float32)
    counts = [0] * classes
    if len(found.boxes):  # without boxes the mask encoder need not run
        for index, logits in features.decode_boxes(found.boxes):
            window = window_of(
                found.boxes[index], features.shape, settings.box_margin, _EXTRA_MARGIN
            )
            row0, row1, col0, col1 = window
            mask = mask_window(logits, features.shape, window)
            mask &= features.valid[row0:row1, col0:col1]
            cls = int(found.classes[index])
            counts[cls] += paint(scores[cls], mask, window, float(found.scores[index]))
    return TileResult(scores, tuple(counts))


def run(features: TileFeatures, pack: PromptPack, settings: RouteSettings) -> TileResult:
    """Scores of every class from detector boxes and SAM masks."""
    found = select(features.detections, pack, settings, features.shape, owned=features.owned)
    return paint_boxes(features, found, len(pack.classes), settings)
