"""CLIP's image tower: class embedding, SegEarth-OV's dense path and CLIP Surgery's second path.

Sources: Radford et al., CLIP (2021); Li et al., CLIP Surgery (2023), the v-v dual path; Li et al.,
SegEarth-OV (2025), the last block's attention. Weights are never changed by the paths.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.clip.config import PIXEL_MEAN, PIXEL_STD, ClipConfig
from t2s_export.architectures.clip.transformer import Transformer, unit
from t2s_export.architectures.stem import ConvolutionalStem
from t2s_rt.errors import UsageError

__all__ = ["VisionTransformer", "resize_positions"]


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize a positional embedding ``[1 + g * g, C]`` bilinearly to another patch grid.

    The class token's position stays; the parameter itself is not touched. Bilinear without
    antialias, as CLIP Surgery does it.
    """
    side = round((positions.shape[0] - 1) ** 0.5)
    if grid == (side, side):
        return positions
    patches = positions[1:].view(1, side, side, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, grid, mode="bilinear", align_corners=False)
    return torch.cat([positions[:1], patches.flatten(2)[0].t()])


class VisionTransformer(nn.Module):
    """Image tower with the parameter names of OpenAI's and open_clip's ``visual.``."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        width, scale = config.width, config.width**-0.5
        first, side = (config.stem[0], 2) if config.stem else (width, config.patch_size)
        self.conv1 = nn.Conv2d(3, first, side, stride=side, bias=False)
        self.stem = (
            ConvolutionalStem(config.stem, width, config.stem_blocks)
            if config.stem
            else nn.Identity()
        )
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(config.grid**2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(
            width, config.layers, config.heads, config.mlp_ratio, config.quick_gelu
        )
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, config.embed_dim))
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD), persistent=False)

    def tokens(self, image: Tensor) -> Tensor:
        """Embed RGB ``[B, H, W, 3]`` in 0..255 to normalised tokens ``[B, 1 + hw, C]``."""
        height, width = image.shape[1], image.shape[2]
        patch = self.config.patch_size
        if height % patch or width % patch:
            raise UsageError(
                f"CLIP image: expected sides that are multiples of the patch size {patch}, "
                f"found {height} x {width}; resize the image first"
            )
        x = (image.to(self.mean.dtype) - self.mean) / self.std
        x = self.stem(self.conv1(x.permute(0, 3, 1, 2))).flatten(2).transpose(1, 2)
        positions = resize_positions(self.positional_embedding, (height // patch, width // patch))
        first = (self.class_embedding + positions[0]).expand(x.shape[0], 1, -1)
        x = torch.cat([first, x + positions[1:]], 1)
        return self.ln_pre(x)  # type: ignore[no-any-return]

    def embed(self, x: Tensor) -> Tensor:
        """Project ``[..., C]`` to unit embeddings ``[..., D]``."""
        return unit(torch.matmul(self.ln_post(x), self.proj))

    def class_path(self, x: Tensor) -> Tensor:
        """Tokens ``[B, 1 + hw, C]`` to the class embedding ``[B, D]``.

        In the last block nothing but the class token is needed after the keys and values.
        """
        *blocks, last = self.transformer.blocks
        for block in blocks:
            x = block(x)
        y = last.ln_1(x)
        k, v = last.attn.project_keys_values(y)
        first = last.attn.attend(last.attn.project_query(y[:, :1]), k, v)
        return self.embed(last.feed(x[:, :1] + last.attn.merge_one(first)))[:, 0]

    def patch_path(self, x: Tensor) -> Tensor:
        """Tokens ``[B, 1 + hw, C]`` to the patch embeddings of :meth:`dense_paths`."""
        *blocks, last = self.transformer.blocks
        for block in blocks:
            x = block(x)
        q, k, v = last.attn.project(last.ln_1(x))
        total = sum((last.attn.attend(t, t, v) for t in (q, k, v)), torch.zeros(()))
        return self.embed(last.attn.merge(total)[:, 1:])

    def dense_paths(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens ``[B, 1 + hw, C]`` to patch, surgery and class embeddings in one pass."""
        *blocks, last = self.transformer.blocks
        start = self.config.layers - self.config.surgery_blocks
        surgery = x
        for index, block in enumerate(blocks):
            attn = block.attn
            if index == start:
                surgery = x
            q, k, v = attn.project(block.ln_1(x))
            if index >= start:
                surgery = surgery + attn.merge(attn.attend(v, v, v))
            x = block.feed(x + attn.merge(attn.attend(q, k, v)))
        if self.config.surgery_blocks == 1:
            surgery = x
        attn = last.attn
        q, k, v = attn.project(last.ln_1(x))
        value_path = attn.attend(v, v, v)
        surgery = surgery + attn.merge(value_path)
        patches = attn.merge(attn.attend(q, q, v) + attn.attend(k, k, v) + value_path)
        first = last.feed(x[:, :1] + attn.merge_one(attn.attend(q[:, :, :1], k, v)))
        return self.embed(patches[:, 1:]), self.embed(surgery[:, 1:]), self.embed(first)[:, 0]
