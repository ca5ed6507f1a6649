"""How far two computations of one graph agree: the figures that export and verify share.

Not accuracy: no ground truth is involved. One side is the reference, the other is what rounding, a
device or a fault made of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.evaluation.detection import box_iou

__all__ = [
    "FRAME_SCALE",
    "PROMISED",
    "PROMISED_COSINE",
    "centre_box_iou",
    "cosine",
    "frame_maps",
    "greedy_pairs",
    "mask_ious",
]

PROMISED: Mapping[str, float] = {
    "box IoU mean": 0.99,
    "score agreement mean": 0.97,
    "mask IoU mean": 0.99,
    # one pixel more along the outline of a small building is 3 %
    "mask IoU worst": 0.97,
}
"""What a float16 graph must reach against its float32 graph, on any image and device. Export asks
for more on its few calibration images; ``t2s-rt verify`` asks for this on the device."""
PROMISED_COSINE = 0.999
"""The same for the cosine of every output."""
FRAME_SCALE = 4
"""Frame pixels of SAM along one edge of a mask logit."""


def centre_box_iou(one: NDArray[np.floating], two: NDArray[np.floating]) -> NDArray[np.float64]:
    """IoU of every box of ``one`` ``[N, 4]`` with every box of ``two`` ``[M, 4]``, cx cy w h."""
    return box_iou(_corners(one), _corners(two))


def _corners(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    centre, half = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def mask_ious(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> NDArray[np.float64]:
    """IoU of masks in pairs ``[..., h, w]``; 1 where both are empty."""
    shared = (one & two).sum((-2, -1))
    union = (one | two).sum((-2, -1))
    return np.where(union > 0, shared / np.maximum(union, 1), 1.0)


def frame_maps(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Mask logits ``[N, h, w]`` at the resolution of the frame ``[N, 4h, 4w]``, bilinear."""
    height, width = (FRAME_SCALE * size for size in logits.shape[1:])
    out = np.empty((len(logits), height, width), np.float32)
    for target, plane in zip(out, logits, strict=True):
        cv2.resize(
            np.ascontiguousarray(plane, dtype=np.float32),
            (width, height),
            dst=target,
            interpolation=cv2.INTER_LINEAR,
        )
    return out


def cosine(one: NDArray[np.floating], two: NDArray[np.floating]) -> float:
    """Cosine of two tensors taken as vectors; of a zero vector 1 with itself, else 0."""
    a, b = one.reshape(-1).astype(np.float64), two.reshape(-1).astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else float(np.array_equal(a, b))


def greedy_pairs(cost: NDArray[np.floating]) -> NDArray[np.intp]:
    """A partner for every row of ``cost`` ``[N, M]``: cheapest pairs first, each column once.

    Two computations of one graph differ little, so right pairs cost next to nothing and come
    first; for them this gives what the assignment problem gives, without a solver on board.

    Returns:
        ``[N]``: the column of each row; -1 where columns have run out.
    """
    rows, columns = cost.shape
    partners = np.full(rows, -1, dtype=np.intp)
    taken = np.zeros(columns, bool)
    left = min(rows, columns)
    for place in np.argsort(cost, axis=None, kind="stable") if left else ():
        row, column = divmod(int(place), columns)
        if partners[row] < 0 and not taken[column]:
            partners[row], taken[column] = column, True
            left -= 1
            if left == 0:
                break
    return partners
