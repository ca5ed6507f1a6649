"""Multi-scale deformable attention in two interchangeable forms.

``grid_sample`` uses the ONNX operator GridSample, one call per level; ``gather`` does the bilinear
interpolation with Gather and arithmetic, for engines whose GridSample is wrong (TensorRT#4813).
Source: Zhu et al. 2020, "Deformable DETR", arXiv:2010.04159.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.grounding_dino.folding import Foldable
from t2s_export.architectures.grounding_dino.geometry import FrameGeometry
from t2s_export.choices import DeformableForm

__all__ = ["DeformableAttention", "SamplingGrid"]


def _total(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


class _Corners(NamedTuple):
    """The two cells beside each sample along one axis, and how much of it each of them gets.

    Attributes:
        cell: int32 ``[B * heads, 2, samples, Q]``, inside the level.
        share: same shape; 0 for a cell outside the level, as GridSample pads with zeros.
    """

    cell: Tensor
    share: Tensor


def _corners(place: Tensor, size: Tensor, steps: Tensor) -> _Corners:
    """Bilinear cells along one axis.

    Args:
        place: ``[B * heads, 1, samples, Q]`` in -1..1 of the frame.
        size: float32 ``[samples, 1]``: cells of each sample's level along the axis.
        steps: ``[2, 1, 1]``: 0 and 1.
    """
    place = (place + 1.0) * (0.5 * size) - 0.5
    corner = place.floor() + steps
    cell = torch.minimum(corner.clamp(min=0.0), size - 1.0)
    share = (1.0 - (place - corner).abs()) * (cell == corner).to(place.dtype)
    return _Corners(cell.to(torch.int32), share)


class SamplingGrid(nn.Module):
    """Sampling places from reference points and offsets. Always float32: pixels depend on it."""

    def forward(self, offsets: Tensor, centre: Tensor, extent: Tensor | None) -> Tensor:
        """Compute ``centre + offsets * extent`` in float32.

        Args:
            offsets: ``[B, heads * levels * points, Q, 2]``.
            centre: broadcastable to it, in -1..1 of the frame (x, y).
            extent: likewise, or None for 1.
        """
        offsets = offsets.float()
        return centre + offsets if extent is None else centre + offsets * extent


class DeformableAttention(Foldable):
    """Each query samples a few learned places of every level around its reference.

    Args:
        width: channels D.
        heads: attention heads.
        levels: feature levels.
        points: samples per head and level.
        boxes: whether references are boxes, by whose size offsets are scaled, or points, where
            offsets count cells of the level.
    """

    steps: Tensor
    head_numbers: Tensor

    def __init__(self, width: int, heads: int, levels: int, points: int, boxes: bool) -> None:
        super().__init__()
        self.width, self.heads, self.levels, self.points = width, heads, levels, points
        self.boxes = boxes
        self.form: DeformableForm = "grid_sample"
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self.sampling_grid = SamplingGrid()
        self.register_buffer("steps", torch.tensor([0.0, 1.0]).view(2, 1, 1), persistent=False)
        numbers = torch.arange(heads, dtype=torch.int32)
        self.register_buffer("head_numbers", numbers, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start with each head looking into its own direction, further with each point."""
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        bias = directions[:, None, None] * steps[None, None, :, None]
        bias = bias.expand(self.heads, self.levels, self.points, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.reshape(-1))
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def derive(self, geometry: FrameGeometry) -> tuple[Tensor, ...]:
        """One projection for the offsets (in -1..1 units) and the attention weights."""
        if self.boxes:
            scale = geometry.offset_scale.new_full((1, 1, 1, 1), 1.0 / self.points)
        else:
            scale = geometry.offset_scale.view(1, self.levels, 1, 2)
        scale = scale.expand(self.heads, self.levels, self.points, 2).reshape(-1)
        offsets, weights = self.sampling_offsets, self.attention_weights
        weight = torch.cat([offsets.weight * scale[:, None], weights.weight])
        bias = torch.cat([offsets.bias * scale, weights.bias])
        # the level of each sample, for the gather form: size, columns and first token
        size = geometry.level_size.repeat_interleave(self.points, dim=0).unsqueeze(1)
        columns = geometry.level_columns.repeat_interleave(self.points).unsqueeze(1)
        start = geometry.level_start.repeat_interleave(self.points).unsqueeze(1)
        return weight, bias, size, columns, start

    def forward(
        self,
        query: Tensor,
        memory: Tensor,
        centre: Tensor,
        extent: Tensor | None,
        geometry: FrameGeometry,
        query_length: int,
    ) -> Tensor:
        """Attend.

        Args:
            query: ``[B, Q, D]``.
            memory: ``[B, S, D]``, all levels one after the other.
            centre: float32 ``[B or 1, 1, Q, 2]``: reference points in -1..1 of the frame.
            extent: float32 ``[B, 1, Q, 2]``: width and height of reference boxes in 0..1 of the
                frame, or None for points.
            geometry: of the frame.
            query_length: Q.

        Returns:
            ``[B, Q, D]``.
        """
        weight, bias, size, columns, start = self.derived(geometry)
        samples = self.levels * self.points
        plan = F.linear(query, weight, bias)
        rows = self.heads * samples
        offsets, attention = torch.split(plan, [2 * rows, rows], dim=-1)
        # Queries run last from here on: sums and softmax over the few samples are then
        # vectorised over the many queries.
        offsets = offsets.reshape(-1, query_length, rows, 2).transpose(1, 2)
        grid = self.sampling_grid(offsets, centre, extent)
        attention = attention.transpose(1, 2).reshape(-1, samples, query_length).softmax(dim=1)
        value = self.value_proj(memory)
        if self.form == "gather":
            mixed = self._by_gather(value, grid, attention, geometry, (size, columns, start))
        else:
            mixed = self._by_grid_sample(value, grid, attention, geometry)
        output: Tensor = self.output_proj(mixed)
        return output

    def _by_grid_sample(
        self, value: Tensor, grid: Tensor, attention: Tensor, geometry: FrameGeometry
    ) -> Tensor:
        """Sample with one GridSample per level; arguments as in `_by_gather`."""
        channels, length = self.width // self.heads, grid.shape[2]
        sizes = [rows * columns for rows, columns in geometry.levels]
        grid = grid.reshape(-1, self.levels * self.points, length, 2).to(value.dtype)
        parts = []
        for shape, cells, places, weights in zip(
            geometry.levels,
            torch.split(value.transpose(1, 2), sizes, dim=2),
            torch.split(grid, self.points, dim=1),
            torch.split(attention, self.points, dim=1),
            strict=True,
        ):
            found = F.grid_sample(
                cells.reshape(-1, channels, *shape),
                places,
                mode="bilinear",
                padding_mode="zeros",
                align_corners=False,
            )
            parts.append((found * weights.unsqueeze(1)).sum(dim=2))
        return _total(parts).reshape(-1, self.width, length).transpose(1, 2)

    def _by_gather(
        self,
        value: Tensor,
        grid: Tensor,
        attention: Tensor,
        geometry: FrameGeometry,
        levels: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        """Sample with gathered rows and bilinear weights.

        Args:
            value: ``[B, S, D]``.
            grid: float32 ``[B, heads * samples, Q, 2]``, places in -1..1 of the frame.
            attention: ``[B * heads, samples, Q]``.
            geometry: of the frame.
            levels: of each sample the level's size float32 ``[samples, 1, 2]`` (columns, rows),
                its columns and its first token, int32 ``[samples, 1]``.

        Returns:
            ``[B, Q, D]``.
        """
        heads, samples, points = self.heads, self.levels * self.points, self.points
        length = grid.shape[2]
        size, columns, start = levels
        # x and y apart, so that every operator runs over the queries without a break
        across, down = (
            _corners(grid[..., axis].reshape(-1, 1, samples, length), size[..., axis], self.steps)
            for axis in (0, 1)
        )
        weight = down.share.unsqueeze(2) * across.share.unsqueeze(1)
        weight = weight.reshape(-1, 4, samples, length) * attention.unsqueeze(1)
        # One table row per (image, token, head), so that one index addresses all of them.
        image = torch.arange(value.shape[0], dtype=torch.int32, device=value.device)
        offset = image[:, None] * (geometry.tokens * heads) + self.head_numbers
        rows = down.cell * (columns * heads) + start * heads
        rows = rows.reshape(-1, heads, 2, samples, length) + offset[:, :, None, None, None]
        index = rows.reshape(-1, 2, 1, samples, length) + (across.cell * heads).unsqueeze(1)
        index = index.reshape(-1, 4, samples, length)
        table = value.reshape(-1, self.width // heads)
        parts = []
        for chosen, shares in zip(
            torch.split(index, points, dim=2),
            torch.split(weight.to(value.dtype), points, dim=2),
            strict=True,
        ):
            found = table.index_select(0, chosen.reshape(-1))
            found = found.reshape(-1, 4 * points, length, self.width // heads)
            parts.append((found * shares.reshape(-1, 4 * points, length, 1)).sum(dim=1))
        mixed = _total(parts).reshape(-1, heads, length, self.width // heads)
        return mixed.transpose(1, 2).reshape(-1, length, self.width)
