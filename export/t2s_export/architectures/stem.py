"""A convolutional stem in the place of most of the patch convolution.

Xiao et al., Early Convolutions Help Transformers See Better (2021), with pre-activation residual
blocks (He et al. 2016) and layer norms over channels. No published CLIP or SAM has one; its weights
are extra names, ``visual.stem.*`` and ``image_encoder.patch_embed.stem.*``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from t2s_rt.errors import UsageError

__all__ = ["ConvolutionalStem", "check_stem"]


def check_stem(stem: tuple[int, ...], patch_size: int) -> None:
    """Refuse a stem whose strides do not come to a patch.

    Raises:
        UsageError: n widths that do not end at a patch of 2^(n + 1) pixels.
    """
    if stem and 2 ** (len(stem) + 1) != patch_size:
        raise UsageError(
            f"expected a stem of n widths to end at a patch of 2^(n + 1) pixels, found {len(stem)} "
            f"widths and patch_size {patch_size}; change one"
        )


class ConvolutionalStem(nn.Module):
    """Features at 2 pixels to features at the patch size.

    Args:
        stem: widths, each at twice the stride of the one before, the first at 2 pixels.
        width: of the tokens.
        blocks: residual convolutions at each stride but the first.
    """

    def __init__(self, stem: tuple[int, ...], width: int, blocks: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            _Stage(before, after, blocks) for before, after in pairwise((*stem, width))
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
