"""SAM's image encoder: a ViT with windowed and global attention and relative positions.

Source: Kirillov et al., Segment Anything (2023), after Li et al., ViTDet (2022). Parameter names
and shapes are those of the official checkpoints below ``image_encoder.``.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.sam.config import PIXEL_MEAN, PIXEL_STD, SamConfig
from t2s_export.architectures.sam.global_attention import global_attention
from t2s_export.architectures.sam.layers import build_neck
from t2s_export.architectures.stem import ConvolutionalStem

__all__ = [
    "DecomposedAttention",
    "EncoderBlock",
    "ImageEncoder",
    "attend",
    "pad_to_windows",
    "relative_table",
    "windows",
    "windows_back",
]


def relative_table(positions: Tensor, size: int) -> Tensor:
    """Gather relative positions ``[2 size - 1, d]`` to a table ``[query, key, d]``."""
    index = torch.arange(size, device=positions.device)
    return positions[index[:, None] - index[None, :] + size - 1]


def windows(x: Tensor, size: int) -> Tensor:
    """Cut ``[B, H, W, C]`` into windows ``[B * H/size * W/size, size, size, C]``."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // size, size, width // size, size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size, size, channels)


def windows_back(x: Tensor, size: int, grid: int) -> Tensor:
    """Undo :func:`windows`: back to ``[B, grid, grid, C]``."""
    count, channels = grid // size, x.shape[-1]
    x = x.reshape(-1, count, count, size, size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, grid, grid, channels)


def pad_to_windows(grid: int, size: int) -> int:
    """Side of the padded grid: the next multiple of the window."""
    return -(-grid // size) * size


def attend(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, *, size: int, step: int
) -> Tensor:
    """Attend over a square grid with decomposed relative positions.

    Args:
        q: scaled queries ``[G, step * size, d]``: some rows of queries, G images times heads.
        k: keys ``[G, size * size, d]``.
        v: values ``[G, size * size, d]``.
        rows: ``[G, step, size, size, 1]``: bias of query row, query column, key row.
        columns: ``[G, step, size, 1, size]``: bias of query row, query column, key column.
        size: side of the grid.
        step: rows of queries.

    Returns:
        ``[G, step * size, d]``.
    """
    scores = torch.matmul(q, k.transpose(1, 2)).view(-1, step, size, size, size)
    scores = scores + rows + columns
    weights = scores.view(-1, step * size, size * size).softmax(-1)
    return torch.matmul(weights, v)


_LARGEST_PLAIN = 24
"""Grids up to this side keep their scores for autograd: windows are small and many."""


class DecomposedAttention(nn.Module):
    """Multi-head attention over a square grid with relative rows and columns."""

    def __init__(self, dim: int, num_heads: int, size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.size = size
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, dim // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, n, n, C]`` to the same shape, n the grid or window side."""
        batch, size, _, dim = x.shape
        qkv = self.qkv(x).view(batch, size * size, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).reshape(3, batch * self.num_heads, size * size, -1)
        grid = q.view(-1, size, size, q.shape[-1])
        rows = torch.einsum("grcd,rkd->grck", grid, relative_table(self.rel_pos_h, size))
        columns = torch.einsum("grcd,ckd->grck", grid, relative_table(self.rel_pos_w, size))
        if size > _LARGEST_PLAIN:
            out = global_attention(q * self.scale, k, v, rows, columns)
        else:
            bias = rows[..., :, None], columns[..., None, :]
            out = attend(q * self.scale, k, v, *bias, size=size, step=size)
        out = out.view(batch, self.num_heads, size, size, -1)
        return cast(Tensor, self.proj(out.permute(0, 2, 3, 1, 4).reshape(batch, size, size, dim)))


class GeluMlp(nn.Module):
    """The encoder's two-layer MLP with the exact GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., dim]`` to the same shape."""
        return cast(Tensor, self.lin2(F.gelu(self.lin1(x))))


class EncoderBlock(nn.Module):
    """Pre-norm transformer block; ``window`` 0 attends over the whole grid."""

    def __init__(self, config: SamConfig, window: int) -> None:
        super().__init__()
        dim = config.embed_dim
        self.window = window
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = DecomposedAttention(dim, config.num_heads, window or config.grid)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = GeluMlp(dim, config.mlp_ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, grid, grid, C]`` to the same shape."""
        y = self.norm1(x)
        if self.window:
            grid = x.shape[1]
            padded = pad_to_windows(grid, self.window)
            if padded > grid:
                y = F.pad(y, (0, 0, 0, padded - grid, 0, padded - grid))
            y = windows_back(self.attn(windows(y, self.window)), self.window, padded)
            y = y[:, :grid, :grid]
        else:
            y = self.attn(y)
        x = x + y
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """The strided convolution that makes tokens of patches, or one with a stem behind it."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        first, side = (config.stem[0], 2) if config.stem else (dim, config.patch_size)
        self.proj = nn.Conv2d(3, first, side, stride=side)
        self.stem = (
            ConvolutionalStem(config.stem, dim, config.stem_blocks)
            if config.stem
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map a normalised image ``[B, 3, H, W]`` to tokens ``[B, h, w, C]``."""
        return cast(Tensor, self.stem(self.proj(x))).permute(0, 2, 3, 1)


class ImageEncoder(nn.Module):
    """Image to embedding; trainable form, normalisation included."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.empty(1, config.grid, config.grid, dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.norm_pre = nn.LayerNorm(dim) if config.stem else nn.Identity()
        self.blocks = nn.ModuleList(
            EncoderBlock(config, 0 if index in config.global_blocks else config.window_size)
            for index in range(config.depth)
        )
        self.neck = build_neck(dim, config.out_channels)
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD), persistent=False)

    mean: Tensor
    std: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Encode RGB images.

        Args:
            image: ``[B, H, W, 3]`` in 0..255, uint8 or float, H = W = ``config.image_size``.

        Returns:
            ``[B, C, h, w]`` image embedding.
        """
        x = (image.to(self.mean.dtype) - self.mean) / self.std
        x = self.norm_pre(self.patch_embed(x.permute(0, 3, 1, 2)) + self.pos_embed)
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.neck(x.permute(0, 3, 1, 2)))
