"""Export form of MobileSAM's image encoder: constants folded, tokens in rows, batch dynamic.

Against the trainable form (:mod:`t2s_export.architectures.sam.tiny_vit`) batch norms are part of
their convolutions, attention biases are gathered once, and the layer norm before the attention
has given weight and bias to the projection behind it. A padding token, zeros in front of the layer
norm, is then zero behind it as well: queries, keys and values of padding are zeros but for the
projection's bias, of which the keys' part drops out of the softmax and the values' part passes
through it. So padding costs no projection.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.sam.layers import FoldedNeck
from t2s_export.architectures.sam.packed_windows import PackedWindows
from t2s_export.architectures.sam.tiny_vit import (
    AttentionStage,
    ConvNorm,
    ConvStage,
    MobileBlock,
    PatchMerging,
    TinyVit,
    TinyVitAttention,
    TinyVitBlock,
)

__all__ = ["FoldedTinyVit"]


def _folded(layer: ConvNorm) -> nn.Conv2d:
    """The convolution with its batch norm's running statistics folded in."""
    norm, conv = layer.bn, layer.c
    scale = norm.weight / (cast(Tensor, norm.running_var) + norm.eps).sqrt()
    folded = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        conv.stride[0],
        conv.kernel_size[0] // 2,
        groups=conv.groups,
    )
    folded.weight.copy_(conv.weight * scale[:, None, None, None])
    cast(Tensor, folded.bias).copy_(norm.bias - cast(Tensor, norm.running_mean) * scale)
    return folded


def _rows(x: Tensor, channels: int) -> Tensor:
    """``[B, C, H, W]`` to rows of tokens ``[B * H * W, C]``: a product takes its bias along."""
    return x.permute(0, 2, 3, 1).reshape(-1, channels)


def _planes(x: Tensor, grid: int, channels: int) -> Tensor:
    """Undo :func:`_rows`."""
    return x.reshape(-1, grid, grid, channels).permute(0, 3, 1, 2)


class _FoldedMobileBlock(nn.Module):
    def __init__(self, block: MobileBlock) -> None:
        super().__init__()
        self.conv1, self.conv2 = _folded(block.conv1), _folded(block.conv2)
        self.conv3 = _folded(block.conv3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return F.gelu(x + y)


class _FoldedMerging(nn.Module):
    def __init__(self, merging: PatchMerging) -> None:
        super().__init__()
        self.conv1, self.conv2 = _folded(merging.conv1), _folded(merging.conv2)
        self.conv3 = _folded(merging.conv3)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class _FoldedAttention(nn.Module):
    """Windowed attention on rows of tokens, with its constants folded."""

    weight: Tensor
    bias: Tensor
    scores: Tensor
    ones: Tensor

    def __init__(self, attention: TinyVitAttention, grid: int) -> None:
        super().__init__()
        norm, heads = attention.norm, attention.num_heads
        self.dim, self.eps = norm.normalized_shape[0], norm.eps
        head_dim = self.dim // heads
        self.windows = PackedWindows(grid, attention.size, heads, head_dim)
        weight = attention.qkv.weight * norm.weight
        bias = attention.qkv.weight @ norm.bias + attention.qkv.bias
        # the original keeps a head's query, key and value together; here all queries come first
        weight = weight.view(heads, 3, head_dim, self.dim).transpose(0, 1).clone()
        bias = bias.view(heads, 3, head_dim).transpose(0, 1).clone()
        weight[0] *= attention.scale
        bias[0] *= attention.scale
        self.proj = copy.deepcopy(attention.proj)
        self.proj.bias.add_(self.proj.weight @ bias[2].flatten())
        bias[1:] = 0.0
        self.register_buffer("weight", weight.reshape(3 * self.dim, self.dim), persistent=False)
        self.register_buffer("bias", bias.flatten(), persistent=False)
        self.register_buffer("scores", attention.biases().clone(), persistent=False)
        self.register_buffer("ones", torch.ones(self.dim), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B * grid * grid, C]`` to the same shape."""
        normal = F.layer_norm(x, (self.dim,), self.ones, eps=self.eps)
        packed = F.linear(normal, self.weight, self.bias)
        q, k, v = self.windows.split(packed)
        weights = (torch.matmul(q, k.transpose(2, 3)) + self.scores).softmax(-1)
        return cast(Tensor, self.proj(self.windows.join(torch.matmul(weights, v))))


class _FoldedBlock(nn.Module):
    def __init__(self, block: TinyVitBlock) -> None:
        super().__init__()
        self.grid = block.grid
        self.attn = _FoldedAttention(block.attn, block.grid)
        self.local_conv = _folded(block.local_conv)
        self.mlp = copy.deepcopy(block.mlp)

    def forward(self, x: Tensor) -> Tensor:
        channels = self.attn.dim
        x = _planes(x + self.attn(x), self.grid, channels)
        x = _rows(self.local_conv(x), channels)
        return x + cast(Tensor, self.mlp(x))


class _FoldedStage(nn.Module):
    """The step to a stage's grid, and its blocks: planes in, rows out."""

    def __init__(self, merging: PatchMerging, stage: AttentionStage) -> None:
        super().__init__()
        self.merging = _FoldedMerging(merging)
        self.blocks = nn.Sequential(
            *(_FoldedBlock(cast(TinyVitBlock, block)) for block in stage.blocks)
        )
        self.channels = merging.conv3.c.out_channels

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.blocks(_rows(self.merging(x), self.channels)))


class FoldedTinyVit(nn.Module):
    """An image to its embedding.

    Args:
        encoder: the trainable form; its weights are copied, not touched.
    """

    mean: Tensor

    @torch.no_grad()
    def __init__(self, encoder: TinyVit) -> None:
        super().__init__()
        config = encoder.config
        self.grids, self.widths = config.grids, config.embed_dims
        # the first convolution pads with zeros, which stand for the mean: it can take over the
        # division by the deviation, but not the subtraction
        self.register_buffer("mean", encoder.mean.clone(), persistent=False)
        first, _, second = encoder.patch_embed.seq
        self.patch1, self.patch2 = _folded(cast(ConvNorm, first)), _folded(cast(ConvNorm, second))
        self.patch1.weight.div_(encoder.std[:, None, None])
        before: ConvStage | AttentionStage = cast(ConvStage, encoder.layers[0])
        self.blocks = nn.Sequential(
            *(_FoldedMobileBlock(cast(MobileBlock, block)) for block in before.blocks)
        )
        self.stages = nn.ModuleList()
        for layer in list(encoder.layers)[1:]:
            stage = cast(AttentionStage, layer)
            self.stages.append(_FoldedStage(cast(PatchMerging, before.downsample), stage))
            before = stage
        self.neck = FoldedNeck(encoder.neck, config.grid)

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 ``[B, H, W, 3]`` RGB to ``[B, C, h, w]``."""
        x = (image.to(self.mean.dtype) - self.mean).permute(0, 3, 1, 2)
        x = self.blocks(self.patch2(F.gelu(self.patch1(x))))
        for index, stage in enumerate(self.stages):
            if index:
                x = _planes(x, self.grids[index], self.widths[index])
            x = stage(x)
        return cast(Tensor, self.neck(x))
