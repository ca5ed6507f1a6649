"""SAM everything: masks from a regular grid of points, kept where SAM itself is sure of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2s_rt.routes.features import TileFeatures
from t2s_rt.routes.painting import mask_boxes, nms
from t2s_rt.routes.settings import RouteSettings

__all__ = ["Proposals", "grid_points", "propose", "stability"]


@dataclass(frozen=True)
class Proposals:
    """Masks of a tile, best predicted IoU first.

    Attributes:
        logits: float32 ``[N, h4, w4]`` at low resolution.
        iou: float32 ``[N]``, predicted IoU.
    """

    logits: NDArray[np.float32]
    iou: NDArray[np.float32]

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Bool ``[N, h4, w4]``."""
        return np.asarray(self.logits > 0.0)


def grid_points(
    where: NDArray[np.bool_], per_side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One positive point in the middle of each cell of a regular grid, where asked for.

    Args:
        where: bool ``[H, W]``, e.g. the tile's valid pixels.
        per_side: cells along each side.

    Returns:
        coordinates float32 ``[N, 1, 2]`` (x y, tile pixels) and labels float32 ``[N, 1]``.
    """
    height, width = where.shape
    y, x = np.meshgrid(
        (np.arange(per_side) + 0.5) * height / per_side,
        (np.arange(per_side) + 0.5) * width / per_side,
        indexing="ij",
    )
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    column, row = points.astype(np.intp).T
    points = points[where[row, column]]
    return points[:, None].astype(np.float32), np.ones((len(points), 1), dtype=np.float32)


def stability(logits: NDArray[np.float32], offset: float) -> NDArray[np.float32]:
    """IoU of each mask ``[..., h, w]`` cut at ``+offset`` with itself cut at ``-offset``."""
    inner = (logits > offset).sum(axis=(-2, -1), dtype=np.int64)
    outer = (logits > -offset).sum(axis=(-2, -1), dtype=np.int64)
    ratio = np.divide(inner, outer, out=np.zeros(inner.shape, np.float64), where=outer > 0)
    return np.asarray(ratio, dtype=np.float32)


def propose(
    features: TileFeatures, settings: RouteSettings, per_side: int, where: NDArray[np.bool_]
) -> Proposals:
    """Masks of a regular point grid after SAM's own filters and NMS on mask boxes.

    Every point's three multi-masks are candidates; each must reach the predicted IoU and the
    stability score of the settings. Chunks are filtered as they come, so memory stays flat.

    Args:
        features: of the tile.
        settings: SAM's filters.
        per_side: points along each side of the grid.
        where: bool ``[H, W]``, where points are worth their decoding.
    """
    coords, labels = grid_points(where, per_side)
    kept: list[NDArray[np.float32]] = []
    sure: list[NDArray[np.float32]] = []
    for _, found in features.decode_points(coords, labels):
        good = found.iou[:, 1:] >= settings.mask_iou
        logits, iou = found.logits[:, 1:][good], found.iou[:, 1:][good]
        if len(logits):
            good = stability(logits, settings.stability_offset) >= settings.mask_stability
            good &= (logits > 0.0).sum(axis=(1, 2)) >= settings.min_mask_pixels
            kept.append(logits[good])
            sure.append(iou[good])
    if not sum(len(part) for part in kept):
        return Proposals(np.zeros((0, 1, 1), np.float32), np.zeros(0, np.float32))
    logits, iou = np.concatenate(kept), np.concatenate(sure)
    order = nms(mask_boxes(logits > 0.0), iou, settings.mask_nms_iou)
    return Proposals(logits[order], iou[order])
