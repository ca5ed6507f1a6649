"""What a box means, before any image: SAM's first minutes train its decoder on rectangles.

The decoder draws the rectangle that its two corners span, on noise instead of an image embedding,
which is several times cheaper; afterwards masks start as filled boxes and only their edges have
to be learnt. :mod:`t2s_export.nano.sam_positions` lets it begin nearly there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from t2s_export.nano.sam_prompts import PromptGroup

__all__ = ["rectangles"]

_SIDES = (5.0, 0.7)
"""Shortest side of a box in pixels and longest as a share of the window; log-uniform."""
_SMALLEST = 4.0


def _boxes(count: int, side: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Boxes xyxy ``[n, 4]`` of all sizes in a window of ``side`` pixels; some are cut by it."""
    low, high = _SIDES[0], _SIDES[1] * side
    width = np.exp(rng.uniform(np.log(low), np.log(high), 2 * count))
    height = (width * np.exp(rng.normal(0.0, 0.5, 2 * count))).clip(low, high)
    x, y = rng.uniform(0, side, (2, 2 * count))
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    boxes = np.stack(corners, 1).clip(0, side)
    large = (boxes[:, 2:] - boxes[:, :2] >= _SMALLEST).all(1)
    return np.asarray(boxes[large][:count])


def rectangles(count: int, side: int, rng: np.random.Generator) -> PromptGroup:
    """Boxes in a window of ``side`` pixels with the rectangles that they span as masks."""
    boxes = _boxes(count, side, rng)
    edges = 2.0 * np.arange(side // 2)
    covered = [
        (np.minimum(boxes[:, high, None], edges + 2) - np.maximum(boxes[:, low, None], edges)).clip(
            0, 2
        )
        / 2
        for low, high in ((0, 2), (1, 3))
    ]
    masks = covered[1][:, :, None] * covered[0][:, None, :]
    return PromptGroup(
        torch.from_numpy((boxes.reshape(-1, 2, 2) - 0.5).astype(np.float32)),
        torch.tensor([[2.0, 3.0]]).expand(len(boxes), 2),
        torch.from_numpy(masks.astype(np.float32)),
        True,
    )
