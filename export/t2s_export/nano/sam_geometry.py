"""What a box means, before any image: the first minutes of SAM's stage.

From random weights a mask decoder needs thousands of steps until the corners of a box move its
mask at all, and each of them would pay for an image encoder that has nothing to learn from it
yet. Here the decoder draws the rectangle that its two corners span, on noise instead of an image
embedding, which is several times cheaper; afterwards masks start as filled boxes and only their
edges have to be learnt.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from t2s_export.architectures.sam import Sam
from t2s_export.architectures.sam.mask_decoder import TwoWayLayer
from t2s_export.nano.sam_prompts import PromptGroup

__all__ = ["place_positions", "rectangles"]

_SIDES = (5.0, 0.7)
"""Shortest side of a box in pixels and longest as a share of the window; log-uniform."""
_SMALLEST = 4.0
_WAVES = (0.25, 6.0)
"""Lowest and highest frequency of the position features, in cycles over half the frame."""


def place_positions(sam: Sam) -> None:
    """Let prompts find their place from the first step, in place.

    The position features of a trained SAM are random Fourier features; any matrix serves. Here
    half of the features see x alone and half y alone, in sixteen octave-spaced frequencies, so
    that "right of this corner" is one linear step; and queries and keys of the cross attentions
    start with one common orthogonal projection, since unrelated ones cannot compare positions.
    """
    with torch.no_grad():
        matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
        low, high = (float(np.log10(w)) for w in _WAVES)
        matrix.zero_()
        for axis in (0, 1):
            row = matrix[axis, axis::2]
            row.copy_(torch.logspace(low, high, len(row)))
        for layer in sam.mask_decoder.transformer.layers:
            two_way = cast(TwoWayLayer, layer)
            for attention in (two_way.cross_attn_token_to_image, two_way.cross_attn_image_to_token):
                shared = nn.init.orthogonal_(torch.empty_like(attention.q_proj.weight))
                for projection in (attention.q_proj, attention.k_proj):
                    projection.weight.copy_(2.0 * shared)
                    nn.init.zeros_(projection.bias)


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
