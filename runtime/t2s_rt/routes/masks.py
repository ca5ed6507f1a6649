"""Masks route: SAM segments everything, CLIP names each mask.

A mask's scores are absolute probabilities over the label set: other masks of the tile change
nothing. By default they come from the mean of the dense CLIP embeddings inside the mask, one
CLIP pass for all masks; ``mask_names="crops"`` embeds a crop with context for each mask.
Overlapping masks are painted by maximum, and pixels that no mask covers stay none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.routes.features import TileFeatures
from t2s_rt.routes.labels import LabelSet
from t2s_rt.routes.painting import mask_boxes, mask_window, paint, window_of
from t2s_rt.routes.proposals import Proposals, propose
from t2s_rt.routes.result import TileResult
from t2s_rt.routes.settings import RouteSettings

if TYPE_CHECKING:
    from t2s_rt.prompts import PromptPack

__all__ = ["mask_embeddings", "mask_shares", "run"]


def mask_shares(masks: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Share of each grid cell that a mask covers: ``[N, h * w]`` from ``[N, h4, w4]``."""
    rows, cols = grid
    shares = [
        cv2.resize(mask.astype(np.float32), (cols, rows), interpolation=cv2.INTER_AREA).ravel()
        for mask in masks
    ]
    return np.array(shares, dtype=np.float32).reshape(len(masks), rows * cols)


def mask_embeddings(
    features: TileFeatures, proposals: Proposals, settings: RouteSettings
) -> NDArray[np.float32]:
    """CLIP embedding float32 ``[N, D]``, unit length, of each mask."""
    if settings.mask_names == "crops":
        boxes = mask_boxes(proposals.masks)
        height, width = features.shape
        low = proposals.logits.shape[1:]
        boxes = boxes * np.array([width / low[1], height / low[0]] * 2, dtype=np.float32)
        crops = []
        for box in boxes:
            extra = settings.crop_context * float((box[2:] - box[:2]).max())
            row0, row1, col0, col1 = window_of(box, features.shape, extra=extra)
            crops.append(features.image[row0:row1, col0:col1])
        return features.embed(crops)
    patch = features.dense.patch
    rows, cols, width = patch.shape
    summed = mask_shares(proposals.masks, (rows, cols)) @ patch.reshape(-1, width)
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    return np.asarray(summed / np.maximum(length, 1e-12), dtype=np.float32)


def run(features: TileFeatures, pack: PromptPack, settings: RouteSettings) -> TileResult:
    """Scores of every class from SAM masks named by CLIP."""
    height, width = features.shape
    count = len(pack.classes)
    scores = np.zeros((count, height, width), dtype=np.float32)
    counts = [0] * count
    proposals = propose(features, settings, settings.grid, features.valid)
    if len(proposals.iou):
        labels = LabelSet.from_pack(pack, settings.label_scale)
        named = labels.scores(mask_embeddings(features, proposals, settings))
        whole = (0, height, 0, width)
        for logits, row in zip(proposals.logits, named, strict=True):
            cls = int(row.argmax())
            if cls < count and row[cls] >= settings.threshold(pack.classes[cls], "masks"):
                mask = mask_window(logits, features.shape, whole) & features.valid
                counts[cls] += paint(scores[cls], mask, whole, float(row[cls]))
    return TileResult(scores, tuple(counts))
