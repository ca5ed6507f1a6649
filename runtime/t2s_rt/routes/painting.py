"""From low-resolution mask logits to tile pixels, and from masks to class scores."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Window",
    "box_iou",
    "mask_boxes",
    "mask_window",
    "nms",
    "paint",
    "resize_planes",
    "window_of",
]

Window = tuple[int, int, int, int]
"""Rows and columns of a part of the tile: ``row0, row1, col0, col1``, ends excluded."""


def mask_window(
    logits: NDArray[np.float32], shape: tuple[int, int], window: Window
) -> NDArray[np.bool_]:
    """Part of a mask in tile pixels.

    Args:
        logits: float32 ``[h4, w4]``, one mask over the whole tile at low resolution.
        shape: height and width of the tile.
        window: the part of the tile to fill.

    Returns:
        bool, true where the bilinearly enlarged logit is above 0.
    """
    row0, row1, col0, col1 = window
    scale_y, scale_x = logits.shape[0] / shape[0], logits.shape[1] / shape[1]
    # Pixel centres lie at +0.5, so tile pixel x samples low-resolution index (x + 0.5) s - 0.5.
    matrix = np.array(
        [
            [scale_x, 0.0, (col0 + 0.5) * scale_x - 0.5],
            [0.0, scale_y, (row0 + 0.5) * scale_y - 0.5],
        ]
    )
    enlarged = cv2.warpAffine(
        logits,
        matrix,
        (col1 - col0, row1 - row0),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(enlarged > 0.0)


def window_of(
    box: NDArray[np.floating], shape: tuple[int, int], margin: float = 0.0, extra: float = 0.0
) -> Window:
    """Whole pixels of a tile under an xyxy box, grown by a share of its sides plus pixels."""
    x0, y0, x1, y1 = (float(value) for value in box)
    grow_x, grow_y = margin * (x1 - x0) + extra, margin * (y1 - y0) + extra
    height, width = shape
    row0 = min(max(int(np.floor(y0 - grow_y)), 0), height)
    col0 = min(max(int(np.floor(x0 - grow_x)), 0), width)
    row1 = min(max(int(np.ceil(y1 + grow_y)), row0), height)
    col1 = min(max(int(np.ceil(x1 + grow_x)), col0), width)
    return row0, row1, col0, col1


def paint(
    plane: NDArray[np.float32], mask: NDArray[np.bool_], window: Window, score: float
) -> bool:
    """Raise a class's score map to ``score`` under a mask; say whether any pixel was covered.

    Args:
        plane: float32 ``[H, W]``, the class's score map, changed in place.
        mask: bool, of the window's size.
        window: where the mask lies in the tile.
        score: 0..1.
    """
    row0, row1, col0, col1 = window
    view = plane[row0:row1, col0:col1]
    np.maximum(view, score, out=view, where=mask)
    return bool(mask.any())


def box_iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU ``[N, M]`` of xyxy boxes ``[N, 4]`` with ``[M, 4]``; 0 for boxes without area."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0.0, None), axis=2)
    areas = [np.prod(np.clip(b[:, 2:] - b[:, :2], 0.0, None), axis=1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - inter
    iou = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return np.asarray(iou, dtype=np.float32)


def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    iou: float,
    groups: NDArray[np.intp] | None = None,
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: float32 ``[N, 4]`` xyxy.
        scores: float32 ``[N]``; among equals the earlier box wins.
        iou: boxes that overlap a better one by more than this are dropped.
        groups: ``[N]``; only boxes of one group suppress each other (class-aware NMS).

    Returns:
        indices of the kept boxes, best first.
    """
    order = np.argsort(-scores, kind="stable")
    overlap = box_iou(boxes[order], boxes[order]) > iou
    if groups is not None:
        overlap &= groups[order][:, None] == groups[order][None, :]
    alive = np.ones(len(order), dtype=bool)
    for place in range(len(order)):
        if alive[place]:
            alive[place + 1 :] &= ~overlap[place, place + 1 :]
    return np.asarray(order[alive], dtype=np.intp)


def mask_boxes(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Tight xyxy boxes ``[N, 4]`` of masks ``[N, h, w]`` in mask pixels; zeros for empty masks."""
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    rows: NDArray[np.bool_] = np.asarray(masks.any(axis=2))
    cols: NDArray[np.bool_] = np.asarray(masks.any(axis=1))
    height, width = masks.shape[1:]
    some = np.asarray(rows.any(axis=1))
    boxes[:, 0] = cols.argmax(axis=1)
    boxes[:, 1] = rows.argmax(axis=1)
    boxes[:, 2] = width - cols[:, ::-1].argmax(axis=1)
    boxes[:, 3] = height - rows[:, ::-1].argmax(axis=1)
    boxes[~some] = 0.0
    return boxes


def resize_planes(planes: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear resize of ``[K, h, w]`` to ``[K, H, W]``, pixel centres at +0.5."""
    height, width = shape
    out = np.empty((len(planes), height, width), dtype=np.float32)
    for target, plane in zip(out, planes, strict=True):
        cv2.resize(plane, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
    return out
