"""Confusion matrix, IoU per class, mIoU and pixel accuracy of label maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import UsageError

__all__ = ["ConfusionMatrix", "mask_iou"]


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of one shape; two empty masks agree (1.0)."""
    union = int(np.count_nonzero(first | second))
    if union == 0:
        return 1.0
    return int(np.count_nonzero(first & second)) / union


class ConfusionMatrix:
    """Pixel counts of truth against prediction, pooled over any number of images.

    Args:
        names: class names; label ``i`` of both maps is ``names[i]``.
        ignore: truth labels whose pixels are left out (no data, class boundaries).

    Attributes:
        counts: int64 [classes, classes], rows are truth and columns prediction, in pixels.
    """

    def __init__(self, names: Sequence[str], ignore: Sequence[int] = ()) -> None:
        self.names = tuple(names)
        self.ignore = tuple(ignore)
        self.counts: NDArray[np.int64] = np.zeros((len(names), len(names)), np.int64)

    @classmethod
    def of(cls, names: Sequence[str], counts: NDArray[np.int64]) -> ConfusionMatrix:
        """A matrix of counts that were made before, int64 [classes, classes]."""
        matrix = cls(names)
        matrix.counts = counts
        return matrix

    def add(self, truth: NDArray[np.integer], prediction: NDArray[np.integer]) -> None:
        """Count one image.

        Args:
            truth: integer labels [H, W]; labels in ``ignore`` are skipped.
            prediction: integer labels [H, W] of the same shape, each below ``len(names)``.

        Raises:
            UsageError: the shapes differ, or a label lies outside the names.
        """
        if truth.shape != prediction.shape:
            raise UsageError(
                f"truth and prediction must have one shape; found {truth.shape} and "
                f"{prediction.shape}; resample the prediction to the truth's grid first"
            )
        keep = ~np.isin(truth, self.ignore)
        rows = truth[keep].astype(np.int64)
        columns = prediction[keep].astype(np.int64)
        size = len(self.names)
        for what, values in (("truth", rows), ("prediction", columns)):
            if values.size and (values.min() < 0 or values.max() >= size):
                raise UsageError(
                    f"{what} labels must lie in 0..{size - 1} ({', '.join(self.names)}); found "
                    f"{values.min()}..{values.max()}; map or ignore the others first"
                )
        self.counts += np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)

    @property
    def present(self) -> NDArray[np.bool_]:
        """bool [classes]: classes that occur in truth or prediction."""
        occurs: NDArray[np.bool_] = (self.counts.sum(0) + self.counts.sum(1)) > 0
        return occurs

    def iou(self) -> NDArray[np.float64]:
        """float64 [classes]: IoU in 0..1; NaN where a class is in neither truth nor prediction."""
        hits = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - np.diag(self.counts)
        return np.where(union > 0, hits / np.maximum(union, 1), np.nan)

    def miou(self, classes: Sequence[int] | None = None) -> float:
        """Mean IoU in 0..1 over the classes that occur, or over those of ``classes`` that do."""
        values = self.iou() if classes is None else self.iou()[list(classes)]
        values = values[~np.isnan(values)]
        return float(values.mean()) if values.size else float("nan")

    def pixel_accuracy(self) -> float:
        """Share of counted pixels whose label is right, in 0..1; NaN without pixels."""
        total = int(self.counts.sum())
        return float(np.diag(self.counts).sum() / total) if total else float("nan")
