"""Average precision of boxes: all-point, pooled over images, with ignored regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DetectionScores", "DetectionTally", "box_iou"]

Boxes = NDArray[np.floating]


def box_iou(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """IoU of every pair of boxes.

    Args:
        first: xyxy boxes [N, 4] in one frame.
        second: xyxy boxes [M, 4] in the same frame.

    Returns:
        float64 [N, M] in 0..1; 0 where both boxes are empty.
    """
    inner, areas_a, areas_b = _overlaps(first, second)
    union = areas_a[:, None] + areas_b[None, :] - inner
    return np.where(union > 0, inner / np.maximum(union, 1e-12), 0.0)


def _overlaps(
    first: Boxes, second: Boxes
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Intersection areas [N, M] and the areas of both sets."""
    a = np.asarray(first, np.float64).reshape(-1, 4)
    b = np.asarray(second, np.float64).reshape(-1, 4)
    corners = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(
        a[:, None, :2], b[None, :, :2]
    )
    inner = np.clip(corners, 0, None).prod(-1)
    return (
        inner,
        np.clip(a[:, 2:] - a[:, :2], 0, None).prod(-1),
        np.clip(b[:, 2:] - b[:, :2], 0, None).prod(-1),
    )


@dataclass(frozen=True)
class DetectionScores:
    """What one class scored.

    Attributes:
        ap: all-point average precision in 0..1, NaN without a true object.
        recall: share of true objects found at any score, NaN without one.
        objects: number of true objects.
        false_per_absent_image: boxes at or above the threshold per image that lacks the class,
            NaN when every image holds it.
        absent_images: number of such images.
    """

    ap: float
    recall: float
    objects: int
    false_per_absent_image: float
    absent_images: int


class DetectionTally:
    """Collects the detections of one class over images, then scores them.

    A detection is right if it is the best-scored one that overlaps a true box, not taken by a
    better one, with IoU at or above ``iou``. Detections that match nothing but lie mostly inside
    an ignored region count neither way (the rule of COCO's crowd regions); likewise those that
    match an ignored true box.

    Args:
        iou: overlap that makes a match, 0..1.
        threshold: score at which a box counts as shown, for the false boxes of absent classes.
    """

    def __init__(self, iou: float = 0.5, threshold: float = 0.3) -> None:
        self.iou = iou
        self.threshold = threshold
        self._scores: list[NDArray[np.float64]] = []
        self._right: list[NDArray[np.bool_]] = []
        self._objects = 0
        self._absent = 0
        self._in_absent: list[NDArray[np.float64]] = []

    def add(
        self,
        boxes: Boxes,
        scores: NDArray[np.floating],
        truth: Boxes,
        ignored: Boxes | None = None,
    ) -> None:
        """Count one image.

        Args:
            boxes: detected xyxy boxes [N, 4].
            scores: their scores [N].
            truth: true xyxy boxes [M, 4] in the same frame.
            ignored: xyxy regions [R, 4] in which unmatched detections do not count.
        """
        order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
        found = np.asarray(boxes, np.float64).reshape(-1, 4)[order]
        ranked = np.asarray(scores, np.float64)[order]
        regions = np.zeros((0, 4)) if ignored is None else np.asarray(ignored).reshape(-1, 4)
        overlap = box_iou(found, truth)
        taken = np.zeros(overlap.shape[1], bool)
        right = np.zeros(len(found), bool)
        for row in range(len(found)):
            free = np.where(taken, -1.0, overlap[row])
            best = int(free.argmax()) if free.size else -1
            if best >= 0 and free[best] >= self.iou:
                taken[best] = right[row] = True
        counted = right | ~self._mostly_inside(found, regions)
        self._scores.append(ranked[counted])
        self._right.append(right[counted])
        self._objects += overlap.shape[1]
        if overlap.shape[1] == 0 and len(regions) == 0:
            self._absent += 1
            self._in_absent.append(ranked)

    @staticmethod
    def _mostly_inside(boxes: Boxes, regions: Boxes) -> NDArray[np.bool_]:
        if len(regions) == 0 or len(boxes) == 0:
            return np.zeros(len(boxes), bool)
        inner, areas, _ = _overlaps(boxes, regions)
        inside: NDArray[np.bool_] = (inner / np.maximum(areas, 1e-12)[:, None]).max(1) >= 0.5
        return inside

    def false_boxes(self, threshold: float) -> float:
        """Boxes of at least this score per image that lacks the class; NaN without such."""
        if not self._absent:
            return float("nan")
        return int((np.concatenate(self._in_absent) >= threshold).sum()) / self._absent

    def scores(self) -> DetectionScores:
        """Score everything counted so far."""
        scores = np.concatenate(self._scores) if self._scores else np.zeros(0)
        right = np.concatenate(self._right) if self._right else np.zeros(0, bool)
        absent = self.false_boxes(self.threshold)
        if self._objects == 0:
            return DetectionScores(float("nan"), float("nan"), 0, absent, self._absent)
        hits = np.cumsum(right[np.argsort(-scores, kind="stable")])
        precision = hits / np.arange(1, len(hits) + 1)
        recall = hits / self._objects
        # all-point interpolation: the best precision at this recall or beyond
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        ap = float((np.diff(recall, prepend=0.0) * envelope).sum())
        found = float(recall[-1]) if len(recall) else 0.0
        return DetectionScores(ap, found, self._objects, absent, self._absent)
