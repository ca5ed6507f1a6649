"""The Swin Transformer backbone, channels last, at a fixed frame size.

Source: Liu et al. 2021, "Swin Transformer", arXiv:2103.14030. Parameter names are those of the
backbone in the official Grounding DINO checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.grounding_dino.config import GroundingDinoConfig
from t2s_export.architectures.grounding_dino.folding import Foldable
from t2s_export.architectures.grounding_dino.geometry import PATCH, FrameGeometry

__all__ = ["SwinTransformer"]


class PatchEmbed(Foldable):
    """Non-overlapping patches of a raw RGB image, with colour normalisation folded in."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.swin_width, PATCH, PATCH)
        self.norm = nn.LayerNorm(config.swin_width)
        self.register_buffer("mean", torch.tensor(config.pixel_mean), persistent=False)
        self.register_buffer("std", torch.tensor(config.pixel_std), persistent=False)

    def derive(self, geometry: FrameGeometry) -> tuple[Tensor, ...]:
        """The convolution as a matrix over a patch's (row, column, colour) values 0..255."""
        weight = self.proj.weight.permute(0, 2, 3, 1) / self.std
        bias = self.proj.bias
        if bias is None:
            raise TypeError("the patch embedding has a bias by construction")
        bias = bias - (weight * self.mean).sum(dim=(1, 2, 3))
        return weight.flatten(1), bias

    def forward(self, image: Tensor, geometry: FrameGeometry) -> Tensor:
        """Embed ``[B, H, W, 3]`` RGB values 0..255 (any dtype) as tokens ``[B, H/4 * W/4, C]``."""
        weight, bias = self.derived(geometry)
        rows, columns = geometry.stages[0]
        patches = image.to(weight.dtype).reshape(-1, rows, PATCH, columns, PATCH, 3)
        patches = patches.transpose(2, 3).reshape(-1, rows * columns, PATCH * PATCH * 3)
        tokens: Tensor = self.norm(F.linear(patches, weight, bias))
        return tokens


class WindowAttention(Foldable):
    """Self-attention inside windows with a learned relative position bias."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.head_width, self.tokens = heads, width // heads, window * window
        self.width = width
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def derive(self, geometry: FrameGeometry) -> tuple[Tensor, ...]:
        """The joint projection with the softmax scale folded into the query rows."""
        scale = torch.ones(3, 1, device=self.qkv.weight.device, dtype=self.qkv.weight.dtype)
        scale[0] = self.head_width**-0.5
        rows = scale.expand(3, self.width).reshape(-1)
        return self.qkv.weight * rows[:, None], self.qkv.bias * rows

    def forward(self, windows: Tensor, geometry: FrameGeometry, mask: Tensor | None) -> Tensor:
        """Attend within each window.

        Args:
            windows: ``[B * W, n, C]``, W windows an image of n tokens each.
            geometry: of the frame.
            mask: ``[W, 1, n, n]`` additive, or None.
        """
        weight, bias = self.derived(geometry)
        n = self.tokens
        qkv = F.linear(windows, weight, bias).reshape(-1, n, 3 * self.heads, self.head_width)
        query, key, value = torch.split(qkv.transpose(1, 2), self.heads, dim=1)
        scores = torch.matmul(query, key.transpose(-1, -2))
        position_bias = geometry.relative_bias(self.relative_position_bias_table)
        if mask is None:
            scores += position_bias
        else:
            count = mask.shape[0]
            scores = scores.reshape(-1, count, self.heads, n, n)
            scores += position_bias + mask
            scores = scores.reshape(-1, self.heads, n, n)
        mixed = torch.matmul(scores.softmax(dim=-1), value)
        output: Tensor = self.proj(mixed.transpose(1, 2).reshape(-1, n, self.width))
        return output


class SwinMlp(nn.Module):
    """The feed-forward part of a Swin block."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[..., C]`` to ``[..., C]``."""
        output: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return output


class SwinBlock(nn.Module):
    """One Swin block; every second one works on shifted windows."""

    def __init__(self, config: GroundingDinoConfig, stage: int, shifted: bool) -> None:
        super().__init__()
        width = config.swin_channels[stage]
        self.stage, self.width, self.window = stage, width, config.swin_window
        self.shift = config.swin_window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, config.swin_heads[stage], config.swin_window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = SwinMlp(width, int(width * config.swin_mlp_ratio))

    def _attend(self, tokens: Tensor, geometry: FrameGeometry, mask: Tensor | None) -> Tensor:
        """Cut into windows, attend, put together again; ``[B, h * w, C]`` in and out."""
        rows, columns = geometry.stages[self.stage]
        full_rows, full_columns = geometry.padded(self.stage)
        window, width, shift = self.window, self.width, self.shift
        grid = tokens.reshape(-1, rows, columns, width)
        if (rows, columns) != (full_rows, full_columns):
            grid = _extend(grid, full_rows - rows, full_columns - columns)
        if shift:
            grid = torch.roll(grid, (-shift, -shift), (1, 2))
        down, across = full_rows // window, full_columns // window
        windows = grid.reshape(-1, down, window, across, window, width).transpose(2, 3)
        windows = windows.reshape(-1, window * window, width)
        windows = self.attn(windows, geometry, mask if shift else None)
        grid = windows.reshape(-1, down, across, window, window, width).transpose(2, 3)
        grid = grid.reshape(-1, full_rows, full_columns, width)
        if shift:
            grid = torch.roll(grid, (shift, shift), (1, 2))
        if (rows, columns) != (full_rows, full_columns):
            grid = grid[:, :rows, :columns]
        return grid.reshape(-1, rows * columns, width)

    def forward(self, tokens: Tensor, geometry: FrameGeometry, mask: Tensor | None) -> Tensor:
        """Map ``[B, h * w, C]`` to the same shape."""
        tokens = tokens + self._attend(self.norm1(tokens), geometry, mask)
        output: Tensor = tokens + self.mlp(self.norm2(tokens))
        return output


def _extend(grid: Tensor, rows: int, columns: int) -> Tensor:
    """Append rows and columns of zeros to ``[B, h, w, C]``, for a batch of any size.

    The zeros are made of the grid's own first rows: the exporter turns a Pad into operators on
    shapes, which engines fuse badly.
    """
    for axis, count in ((1, rows), (2, columns)):
        while count:
            part = grid.narrow(axis, 0, min(count, grid.shape[axis])) * 0.0
            grid = torch.cat([grid, part], axis)
            count -= part.shape[axis]
    return grid


class PatchMerging(nn.Module):
    """Halve the token grid and double the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """Map ``[B, h * w, C]`` to ``[B, ceil(h/2) * ceil(w/2), 2C]``."""
        grid = tokens.reshape(-1, rows, columns, self.width)
        if rows % 2 or columns % 2:
            grid = _extend(grid, rows % 2, columns % 2)
        down, across = (rows + 1) // 2, (columns + 1) // 2
        grid = grid.reshape(-1, down, 2, across, 2, self.width)
        # The official order of the four neighbours: the row runs fastest.
        grid = grid.permute(0, 1, 3, 4, 2, 5).reshape(-1, down * across, 4 * self.width)
        output: Tensor = self.reduction(self.norm(grid))
        return output


class SwinStage(nn.Module):
    """The blocks of one resolution and the step down to the next."""

    def __init__(self, config: GroundingDinoConfig, stage: int) -> None:
        super().__init__()
        self.stage = stage
        self.blocks = nn.ModuleList(
            SwinBlock(config, stage, shifted=index % 2 == 1)
            for index in range(config.swin_depths[stage])
        )
        last = stage == len(config.swin_depths) - 1
        self.downsample = None if last else PatchMerging(config.swin_channels[stage])

    def forward(self, tokens: Tensor, geometry: FrameGeometry) -> Tensor:
        """Run the blocks on ``[B, h * w, C]``."""
        mask = geometry.shift_mask(self.stage) if len(self.blocks) > 1 else None
        for block in self.blocks:
            tokens = block(tokens, geometry, mask)
        return tokens


class SwinTransformer(nn.Module):
    """Features of an image at several strides."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        self.outputs = config.swin_outputs
        self.patch_embed = PatchEmbed(config)
        self.layers = nn.ModuleList(
            SwinStage(config, stage) for stage in range(len(config.swin_depths))
        )
        for stage in config.swin_outputs:
            self.add_module(f"norm{stage}", nn.LayerNorm(config.swin_channels[stage]))

    def forward(self, image: Tensor, geometry: FrameGeometry) -> list[Tensor]:
        """Compute the features of the configured stages.

        Args:
            image: ``[B, H, W, 3]`` RGB 0..255.
            geometry: of this frame.

        Returns:
            per configured stage, normalised tokens ``[B, h * w, C]``.
        """
        tokens = self.patch_embed(image, geometry)
        features = []
        for stage, layer in enumerate(self.layers):
            tokens = layer(tokens, geometry)
            if stage in self.outputs:
                features.append(self.get_submodule(f"norm{stage}")(tokens))
            if isinstance(layer, SwinStage) and layer.downsample is not None:
                tokens = layer.downsample(tokens, *geometry.stages[stage])
        return features
