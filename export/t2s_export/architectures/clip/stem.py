"""A convolutional stem in the place of most of the patch convolution.

Xiao et al., Early Convolutions Help Transformers See Better (2021), with pre-activation residual
blocks (He et al. 2016) and layer norms over channels. No published CLIP has one; its weights are
extra names, ``visual.stem.*``.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.clip.config import ClipConfig

__all__ = ["ConvolutionalStem"]


class ConvolutionalStem(nn.Module):
    """Features at 2 pixels to features at the patch size.

    Args:
        config: sizes with a stem.
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        widths = (*config.stem[1:], config.width)
        self.stages = nn.ModuleList(
            _Stage(before, after, config.stem_blocks)
            for before, after in zip(config.stem, widths, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, stem[0], H / 2, W / 2]`` to ``[B, width, H / patch, W / patch]``."""
        x = F.gelu(x)
        for stage in self.stages:
            x = stage(x)
        return x


class _Stage(nn.Module):
    """Halve the resolution, then refine."""

    def __init__(self, before: int, after: int, blocks: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(_ResidualConvolution(after) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        for block in self.blocks:
            x = block(x)
        return x


class _ResidualConvolution(nn.Module):
    """``x + conv(gelu(norm(x)))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return cast(Tensor, x + self.conv(F.gelu(y)))
