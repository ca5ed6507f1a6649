"""Rows of tokens to the heads of attention windows and back, as both exported encoders do it."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from t2s_export.architectures.sam.image_encoder import pad_to_windows

__all__ = ["PackedWindows"]


@dataclass(frozen=True)
class PackedWindows:
    """The windows of a fixed grid; no operator asks for a shape, so the batch may be dynamic.

    No module, so that a graph's nodes keep the name of the layer that calls.

    Attributes:
        grid: side of the token grid.
        size: side of a window; windows at the far edges are padded with zeros.
        heads: of the attention.
        head_dim: channels of a head; C below is ``heads * head_dim``.
    """

    grid: int
    size: int
    heads: int
    head_dim: int

    @property
    def padded(self) -> int:
        """Side of the padded grid."""
        return pad_to_windows(self.grid, self.size)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Pad ``[B * grid * grid, 3 C]``; give q, k and v ``[B * windows, heads, n * n, d]``.

        A row has all heads of its query first, then those of its key, then those of its value.
        """
        count, size, missing = self.padded // self.size, self.size, self.padded - self.grid
        if missing:
            x = x.reshape(-1, self.grid, self.grid, 3 * self.heads * self.head_dim)
            x = F.pad(x, (0, 0, 0, missing, 0, missing))
        x = x.reshape(-1, count, size, count, size, 3 * self.heads, self.head_dim)
        x = x.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, 3 * self.heads, size * size, self.head_dim)
        return x.split_with_sizes([self.heads] * 3, 1)

    def join(self, x: Tensor) -> Tensor:
        """Undo :meth:`split` for one of the three: ``[B * grid * grid, C]`` without padding."""
        count, size, dim = self.padded // self.size, self.size, self.heads * self.head_dim
        x = x.reshape(-1, count, count, self.heads, size, size, self.head_dim)
        x = x.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, self.padded, self.padded, dim)
        x = x[:, : self.grid, : self.grid] if self.padded > self.grid else x
        return x.reshape(-1, dim)
