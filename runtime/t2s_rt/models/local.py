"""Where in its frame a small box is decoded: the windows of ``mask_decoder_local``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LocalWindows"]

_LARGEST = 0.75
"""Longest side of a box that is decoded in a window, as a share of the window's: at least an
eighth of it is left around the box on each side."""
_OUTSIDE = -16.0
"""Logit beyond a window: no mask reaches so far."""


@dataclass(frozen=True)
class LocalWindows:
    """Windows of image tokens around boxes. Training uses the same rule as inference.

    Attributes:
        grid: rows and columns of the image embedding.
        cells: side of a window in image tokens.
        stride: frame pixels per image token.
    """

    grid: tuple[int, int]
    cells: int
    stride: float

    def fit(self, boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which boxes ``[N, 4]`` xyxy in frame pixels are small enough for a window, ``[N]``."""
        longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
        return np.asarray(longest <= _LARGEST * self.cells * self.stride)

    def place(self, boxes: NDArray[np.floating]) -> NDArray[np.int32]:
        """First token (row, column) of each box's window, inside the grid: int32 ``[N, 2]``."""
        centres = (boxes[:, 1::-1] + boxes[:, :1:-1]) / (2 * self.stride)  # y, x
        first = np.rint(centres - self.cells / 2)
        return np.clip(first, 0, np.array(self.grid) - self.cells).astype(np.int32)

    def whole(self, logits: NDArray[np.float32], first: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits ``[N, 4 cells, 4 cells]`` of windows as maps of the frame ``[N, 4h, 4w]``."""
        side = logits.shape[1]
        scale = side // self.cells
        maps = np.full((len(logits), *(scale * n for n in self.grid)), _OUTSIDE, np.float32)
        for out, window, (row, column) in zip(maps, logits, first * scale, strict=True):
            out[row : row + side, column : column + side] = window
        return maps
