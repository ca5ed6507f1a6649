"""SAM's prompt encoder: points and box corners to tokens, by arithmetic on float labels.

Parameter names and shapes are those of the official checkpoints below ``prompt_encoder.``.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.sam.config import DecoderConfig
from t2s_export.architectures.sam.layers import LayerNorm2d

__all__ = ["PromptEncoder"]


class RandomPositions(nn.Module):
    """Random Fourier features of positions in 0..1 (Tancik et al. 2020)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    positional_encoding_gaussian_matrix: Tensor

    def forward(self, xy: Tensor, size: float = 1.0, shift: float = 0.0) -> Tensor:
        """Map positions ``[..., 2]`` to ``[..., 2 * features]``.

        Scale and shift go into the matrix, so that a graph holds one product and one sum.

        Args:
            xy: in pixels, 0..size over the frame when ``shift`` was added.
            size: of the frame.
            shift: added to every coordinate.
        """
        matrix = self.positional_encoding_gaussian_matrix
        # 2 pi (2 (xy + shift) / size - 1) M
        start = (2.0 * math.pi) * (2.0 * shift / size - 1.0) * matrix.sum(0)
        # bfloat16 would round a place in the frame to about a pixel
        with torch.autocast(xy.device.type, enabled=False):
            angles = xy @ ((4.0 * math.pi / size) * matrix) + start
        return torch.cat([angles.sin(), angles.cos()], -1)


class PromptEncoder(nn.Module):
    """Points and box corners to decoder tokens.

    ``mask_downscaling`` belongs to mask prompts, which no contract of this project has: its
    weights are carried, frozen, so that checkpoints map one to one.
    """

    labels: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        channels, hidden = config.out_channels, config.mask_in_channels
        self.pe_layer = RandomPositions(channels // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, hidden // 4, 2, stride=2),
            LayerNorm2d(hidden // 4),
            nn.GELU(),
            nn.Conv2d(hidden // 4, hidden, 2, stride=2),
            LayerNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1),
        )
        self.mask_downscaling.requires_grad_(False)
        self.no_mask_embed = nn.Embedding(1, channels)
        self.register_buffer("labels", torch.tensor([-1.0, 0.0, 1.0, 2.0, 3.0]), persistent=False)

    def label_table(self) -> Tensor:
        """Embedding of each label -1, 0, 1, 2, 3 in rows: ``[5, C]``."""
        points = [cast(nn.Embedding, embedding).weight for embedding in self.point_embeddings]
        return torch.cat([self.not_a_point_embed.weight, *points])

    def grid_positions(self) -> Tensor:
        """Position features of the image tokens, row-major: ``[h * w, C]``."""
        grid = self.config.grid
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        centres = (torch.arange(grid, device=matrix.device, dtype=matrix.dtype) + 0.5) / grid
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return cast(Tensor, self.pe_layer(torch.stack([x, y], -1).view(-1, 2)))

    def image_tokens(self, embedding: Tensor) -> Tensor:
        """Image embedding ``[B, C, h, w]`` without a mask prompt as tokens ``[B, h * w, C]``."""
        grid, channels = self.config.grid, self.config.out_channels
        tokens = embedding.reshape(-1, channels, grid * grid).transpose(1, 2)
        return tokens + self.no_mask_embed.weight

    def forward(self, point_coords: Tensor, point_labels: Tensor) -> Tensor:
        """Encode prompts.

        Args:
            point_coords: ``[N, P, 2]`` x y in model-frame pixels; the pixel shift of 0.5 is added
                here, as the original does.
            point_labels: ``[N, P]`` float: -1 padding, 0 negative, 1 positive, 2 and 3 the top
                left and bottom right corner of a box.

        Returns:
            ``[N, P, C]`` tokens.
        """
        positions = self.pe_layer(point_coords, self.config.image_size, 0.5)
        # labels are small exact integers, so this is their one-hot code without a comparison
        one_hot = F.relu(1.0 - (point_labels[..., None] - self.labels).abs())
        present = 1.0 - one_hot[..., :1]
        encoded: Tensor = positions * present + one_hot @ self.label_table()
        return encoded
