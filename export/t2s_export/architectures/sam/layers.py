"""Layers that the encoder and the decoder of Segment Anything share."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FoldedNeck", "LayerNorm2d", "ReluMlp", "build_neck"]


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of ``[B, C, H, W]``."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def last(self, x: Tensor) -> Tensor:
        """Normalise ``[..., C]``: the channel-last form of the same layer."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel of ``[B, C, H, W]``."""
        return self.last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ReluMlp(nn.Module):
    """Linear layers with ReLU between them, as SAM's heads use."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., sizes[0]]`` to ``[..., sizes[-1]]``."""
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index < last:
                x = F.relu(x)
        return x


def build_neck(dim: int, channels: int) -> nn.Sequential:
    """The end of either image encoder: ``[B, dim, h, w]`` to ``[B, channels, h, w]``."""
    return nn.Sequential(
        nn.Conv2d(dim, channels, 1, bias=False),
        LayerNorm2d(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        LayerNorm2d(channels),
    )


class FoldedNeck(nn.Module):
    """Export form of the neck of either image encoder, on rows of tokens.

    Args:
        neck: a convolution of one pixel, layer norm, a convolution, layer norm; copied.
        grid: side of the token grid.
    """

    def __init__(self, neck: nn.Sequential, grid: int) -> None:
        super().__init__()
        narrow, norm, smooth, last = copy.deepcopy(neck)
        # on rows a convolution of one pixel is a product, and its result has the channels last
        weight = cast(nn.Conv2d, narrow).weight.detach().flatten(1)
        self.grid, self.channels = grid, weight.shape[0]
        self.narrow = nn.Linear(weight.shape[1], self.channels, bias=False)
        self.narrow.weight = nn.Parameter(weight)
        self.norm, self.smooth, self.last = cast(LayerNorm2d, norm), smooth, last

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B * grid * grid, dim]`` to ``[B, C, grid, grid]``."""
        x = self.norm.last(self.narrow(x)).reshape(-1, self.grid, self.grid, self.channels)
        return cast(Tensor, self.last(self.smooth(x.permute(0, 3, 1, 2))))
