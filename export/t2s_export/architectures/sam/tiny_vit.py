"""MobileSAM's image encoder: TinyViT, a convolutional stage and three of windowed attention.

Source: Wu et al., TinyViT (2022), as Zhang et al., MobileSAM (2023) changed it: the last two stages
share one grid, and SAM's neck follows. Parameter names and shapes are those of mobile_sam.pt below
``image_encoder.``; the classifier's ``norm_head`` and ``head``, which no mask needs, are left out.

The original gathers its attention biases when ``eval()`` is called, and its builder calls that
before it loads the weights: used so, all biases are zero until somebody calls ``eval()`` again, as
MobileSAM's README does. Here the biases always are those of the weights.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.sam.config import PIXEL_MEAN, PIXEL_STD, MobileSamConfig
from t2s_export.architectures.sam.image_encoder import pad_to_windows, windows, windows_back
from t2s_export.architectures.sam.layers import build_neck

__all__ = [
    "AttentionStage",
    "ConvNorm",
    "ConvStage",
    "MobileBlock",
    "PatchMerging",
    "TinyVit",
    "TinyVitAttention",
    "TinyVitBlock",
    "distance_index",
]


def distance_index(size: int) -> Tensor:
    """Index of the bias for each pair of window tokens: ``[size * size, size * size]``.

    Biases are shared by all pairs as many rows and as many columns apart, and lie row-major by
    these two distances.
    """
    place = torch.arange(size)
    apart = (place[:, None] - place[None, :]).abs()
    index = apart[:, None, :, None] * size + apart[None, :, None, :]
    return index.reshape(size * size, size * size)


class ConvNorm(nn.Module):
    """A convolution without bias and its batch norm."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, out, H / stride, W / stride]``."""
        return cast(Tensor, self.bn(self.c(x)))


class PatchEmbed(nn.Module):
    """Two convolutions of stride 2."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, dim // 2, 3, stride=2), nn.GELU(), ConvNorm(dim // 2, dim, 3, stride=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map a normalised image ``[B, 3, H, W]`` to ``[B, C, H / 4, W / 4]``."""
        return cast(Tensor, self.seq(x))


class MobileBlock(nn.Module):
    """Inverted bottleneck: wider, convolved channel by channel, narrower, with a residual."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to the same shape."""
        y = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return F.gelu(x + y)


class PatchMerging(nn.Module):
    """The step to the next stage's width and grid."""

    def __init__(self, dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, out_dim)
        self.conv2 = ConvNorm(out_dim, out_dim, 3, stride=stride, groups=out_dim)
        self.conv3 = ConvNorm(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, out, H / stride, W / stride]``."""
        return cast(Tensor, self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class ConvStage(nn.Module):
    """The first stage."""

    def __init__(self, config: MobileSamConfig) -> None:
        super().__init__()
        dim = config.embed_dims[0]
        self.blocks = nn.ModuleList(
            MobileBlock(dim, config.expand_ratio * dim) for _ in range(config.depths[0])
        )
        self.downsample = _merging(config, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to the next stage's shape."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else cast(Tensor, self.downsample(x))


class TinyVitAttention(nn.Module):
    """Multi-head attention within a window, its layer norm included.

    A head's query, key and value lie together in ``qkv``. Scores get a bias by the distance of
    their tokens.
    """

    bias_index: Tensor

    def __init__(self, dim: int, num_heads: int, size: int) -> None:
        super().__init__()
        self.num_heads, self.size = num_heads, size
        self.scale = (dim // num_heads) ** -0.5
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, size * size))
        self.register_buffer("bias_index", distance_index(size), persistent=False)

    def biases(self) -> Tensor:
        """Bias of each head's scores, ``[heads, n * n, n * n]``."""
        return self.attention_biases[:, self.bias_index]

    def forward(self, x: Tensor) -> Tensor:
        """Map windows ``[G, n * n, C]`` to the same shape."""
        groups, tokens, dim = x.shape
        qkv = self.qkv(self.norm(x)).view(groups, tokens, self.num_heads, 3, -1)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        weights = ((q * self.scale) @ k.transpose(-2, -1) + self.biases()).softmax(-1)
        return cast(Tensor, self.proj((weights @ v).transpose(1, 2).reshape(groups, tokens, dim)))


class TinyVitMlp(nn.Module):
    """Layer norm and two linear layers with the exact GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., dim]`` to the same shape."""
        return cast(Tensor, self.fc2(F.gelu(self.fc1(self.norm(x)))))


class TinyVitBlock(nn.Module):
    """Windowed attention, a convolution of each channel, and an MLP."""

    def __init__(self, config: MobileSamConfig, stage: int) -> None:
        super().__init__()
        dim, window = config.embed_dims[stage], config.window_sizes[stage]
        self.grid, self.window = config.grids[stage], window
        self.attn = TinyVitAttention(dim, config.num_heads[stage], window)
        self.mlp = TinyVitMlp(dim, config.mlp_ratio * dim)
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, grid, grid, C]`` to the same shape."""
        grid, window, channels = self.grid, self.window, x.shape[-1]
        padded = pad_to_windows(grid, window)
        # zeros go in before the layer norm and leave it as its bias: padding is attended to
        y = F.pad(x, (0, 0, 0, padded - grid, 0, padded - grid))
        y = self.attn(windows(y, window).view(-1, window * window, channels))
        y = windows_back(y.view(-1, window, window, channels), window, padded)
        x = x + y[:, :grid, :grid]
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + cast(Tensor, self.mlp(x))


class AttentionStage(nn.Module):
    """One of the later stages."""

    def __init__(self, config: MobileSamConfig, stage: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TinyVitBlock(config, stage) for _ in range(config.depths[stage])
        )
        self.downsample = _merging(config, stage)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to the next stage's shape."""
        x = x.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        x = x.permute(0, 3, 1, 2)
        return x if self.downsample is None else cast(Tensor, self.downsample(x))


def _merging(config: MobileSamConfig, stage: int) -> PatchMerging | None:
    """What follows a stage; nothing follows the last."""
    dims, grids = config.embed_dims, config.grids
    if stage == len(dims) - 1:
        return None
    return PatchMerging(dims[stage], dims[stage + 1], grids[stage] // grids[stage + 1])


class TinyVit(nn.Module):
    """Image to embedding; trainable form, normalisation included."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: MobileSamConfig) -> None:
        super().__init__()
        self.config = config
        dims = config.embed_dims
        self.patch_embed = PatchEmbed(dims[0])
        stages = [AttentionStage(config, stage) for stage in range(1, len(dims))]
        self.layers = nn.ModuleList([ConvStage(config), *stages])
        self.neck = build_neck(dims[-1], config.out_channels)
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Encode RGB images.

        Args:
            image: ``[B, H, W, 3]`` in 0..255, uint8 or float, H = W = ``config.image_size``.

        Returns:
            ``[B, C, h, w]`` image embedding.
        """
        x = (image.to(self.mean.dtype) - self.mean) / self.std
        x = self.patch_embed(x.permute(0, 3, 1, 2))
        for layer in self.layers:
            x = layer(x)
        return cast(Tensor, self.neck(x))
