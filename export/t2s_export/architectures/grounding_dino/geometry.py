"""What follows from the size of the model frame alone: levels, positions, proposals, windows.

Large constants are kept as the small vectors that they are made of and put together in the graph
by operators that inference engines fold when they load it, so that files stay small: sine
positions are a table of rows, a table of columns and an index of each token into them, the mask of
shifted windows is one region number per token, the relative positions of all blocks share one
index.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.grounding_dino.attention import attention_bias
from t2s_export.architectures.grounding_dino.config import GroundingDinoConfig
from t2s_rt.errors import UsageError

__all__ = ["FrameGeometry", "sine_frequencies"]

PATCH = 4
"""Stride of the first Swin stage in pixels."""

_INVALID_PROPOSAL = 1e4
"""Stands for the original's infinity in logit space: its sigmoid is exactly one as well."""


def sine_frequencies(channels: int, temperature: float) -> Tensor:
    """Angular frequencies of a sine position of ``channels`` interleaved sines and cosines.

    Returns:
        float32 ``[channels / 2]``.
    """
    exponent = torch.arange(channels // 2, dtype=torch.float32) * 2 / channels
    return 1.0 / torch.pow(torch.tensor(temperature), exponent)


def _axis_positions(length: int, channels: int, temperature: float) -> Tensor:
    """Sine positions of one image axis, float32 ``[length, channels]``."""
    places = torch.arange(1, length + 1, dtype=torch.float32)
    angles = places / (length + 1e-6) * (2 * math.pi)
    phases = angles[:, None] * sine_frequencies(channels, temperature)
    return torch.stack([phases.sin(), phases.cos()], dim=-1).flatten(1)


def _shift_regions(length: int, window: int, shift: int) -> Tensor:
    """Number of the region (0, 1, 2) of each row or column after the cyclic shift."""
    places = torch.arange(length)
    return (places >= length - window).float() + (places >= length - shift).float()


class FrameGeometry(nn.Module):
    """Constants of a model at one frame size; coordinates are float32.

    A model keeps its geometries outside its modules, so that no state dict holds them.

    Args:
        config: sizes of the model.
        height: of the frame in pixels, a multiple of 4.
        width: of the frame in pixels, a multiple of 4.

    Attributes:
        stages: token grid (rows, columns) of each Swin stage.
        levels: token grid of each feature level.
        tokens: tokens of all levels together, S.

    Raises:
        UsageError: the frame is no multiple of 4, or has fewer tokens than queries.
    """

    grid: Tensor
    proposals: Tensor
    valid: Tensor
    offset_scale: Tensor
    level_size: Tensor
    level_columns: Tensor
    level_start: Tensor
    rows: Tensor
    columns: Tensor
    rows_level: Tensor
    columns_level: Tensor
    rows_index: Tensor
    columns_index: Tensor
    relative_index: Tensor

    def __init__(self, config: GroundingDinoConfig, height: int, width: int) -> None:
        super().__init__()
        if height % PATCH or width % PATCH or min(height, width) < PATCH:
            raise UsageError(
                f"the detector's frame must be a multiple of {PATCH} pixels in both directions, "
                f"but is {height} x {width}; choose another size"
            )
        self.height, self.width = height, width
        self.window = config.swin_window
        self.stages = [(height // PATCH, width // PATCH)]
        for _ in config.swin_depths[1:]:
            rows, columns = self.stages[-1]
            self.stages.append(((rows + 1) // 2, (columns + 1) // 2))
        self.levels = [self.stages[stage] for stage in config.swin_outputs]
        while len(self.levels) < config.levels:
            rows, columns = self.levels[-1]
            self.levels.append(((rows - 1) // 2 + 1, (columns - 1) // 2 + 1))
        self.tokens = sum(rows * columns for rows, columns in self.levels)
        if self.tokens < config.queries:
            raise UsageError(
                f"a frame of {height} x {width} pixels gives {self.tokens} proposals, fewer than "
                f"the {config.queries} queries of this detector; choose a larger frame"
            )
        self._register_windows()
        self._register_positions(config)
        self._register_proposals(config)

    def _constant(self, name: str, value: Tensor) -> None:
        # persistent, so that the exporter traces what is computed from it instead of its result
        self.register_buffer(name, value.contiguous())

    def padded(self, stage: int) -> tuple[int, int]:
        """Token grid of a stage, padded to whole windows."""
        rows, columns = self.stages[stage]
        return rows + (-rows) % self.window, columns + (-columns) % self.window

    def _register_windows(self) -> None:
        window, shift = self.window, self.window // 2
        places = torch.arange(window)
        apart = places[:, None] - places[None] + window - 1
        index = apart[:, None, :, None] * (2 * window - 1) + apart[None, :, None, :]
        self._constant("relative_index", index.reshape(window**2, window**2).to(torch.int32))
        for stage in range(len(self.stages)):
            rows, columns = self.padded(stage)
            regions = 3 * _shift_regions(rows, window, shift)[:, None]
            regions = regions + _shift_regions(columns, window, shift)[None]
            regions = regions.view(rows // window, window, columns // window, window)
            regions = regions.transpose(1, 2).reshape(-1, window * window)
            self._constant(f"regions_{stage}", regions)

    def _register_positions(self, config: GroundingDinoConfig) -> None:
        half = config.d_model // 2
        tables: dict[str, list[Tensor]] = {name: [] for name in ("rows", "columns")}
        levels: dict[str, list[Tensor]] = {name: [] for name in ("rows", "columns")}
        index: dict[str, list[Tensor]] = {name: [] for name in ("rows", "columns")}
        for level, (rows, columns) in enumerate(self.levels):
            cells = {
                "rows": torch.arange(rows)[:, None].expand(rows, columns),
                "columns": torch.arange(columns)[None].expand(rows, columns),
            }
            for name, length in (("rows", rows), ("columns", columns)):
                index[name].append(cells[name].reshape(-1) + sum(map(len, tables[name])))
                tables[name].append(_axis_positions(length, half, config.position_temperature))
                levels[name].append(torch.full((length,), level))
        for name in tables:
            self._constant(name, torch.cat(tables[name]))
            self._constant(f"{name}_level", torch.cat(levels[name]).to(torch.int32))
            # two-dimensional: the exporter would replace a lookup by a vector by its result
            self._constant(f"{name}_index", torch.cat(index[name])[None].to(torch.int32))

    def _register_proposals(self, config: GroundingDinoConfig) -> None:
        centres, boxes = [], []
        for level, (rows, columns) in enumerate(self.levels):
            y, x = torch.meshgrid(
                (torch.arange(rows) + 0.5) / rows,
                (torch.arange(columns) + 0.5) / columns,
                indexing="ij",
            )
            centre = torch.stack([x, y], dim=-1).view(-1, 2)
            size = torch.full_like(centre, config.proposal_size * 2**level)
            centres.append(centre)
            boxes.append(torch.cat([centre, size], dim=-1))
        proposals = torch.cat(boxes)
        valid = ((proposals > 0.01) & (proposals < 0.99)).all(dim=-1, keepdim=True)
        logits = torch.log(proposals / (1 - proposals))
        self._constant("grid", 2 * torch.cat(centres) - 1)
        self._constant("valid", valid.float())
        self._constant("proposals", torch.where(valid, logits, _INVALID_PROPOSAL))
        sizes = torch.tensor([[columns, rows] for rows, columns in self.levels])
        counts = sizes.prod(dim=1)
        self._constant("level_size", sizes.float())
        self._constant("offset_scale", 2.0 / sizes.float())
        self._constant("level_columns", sizes[:, 0].to(torch.int32))
        self._constant("level_start", (counts.cumsum(0) - counts).to(torch.int32))

    def relative_bias(self, table: Tensor) -> Tensor:
        """Position bias ``[heads, n, n]`` of token pairs from a table ``[(2 w - 1)^2, heads]``."""
        return F.embedding(self.relative_index, table).permute(2, 0, 1)

    def shift_mask(self, stage: int) -> Tensor:
        """Attention bias of the shifted windows of a stage.

        Returns:
            float32 ``[windows, 1, n, n]`` with n tokens per window: 0 within a region, else
            `MASKED` (Swin uses -100, which has the same effect).
        """
        # Clamping changes nothing here, but is an operator that the exporter does not evaluate:
        # without it the file would hold the mask, n times larger than the region numbers.
        regions = self.get_buffer(f"regions_{stage}").clamp(min=0.0)
        same = regions[:, None, None, :] == regions[:, None, :, None]
        return attention_bias(same, self.rows.dtype)

    def positions(self, level_embed: Tensor) -> Tensor:
        """Sine positions of all tokens plus the embedding of their level.

        Args:
            level_embed: float32 ``[levels, D]``.

        Returns:
            float32 ``[1, S, D]``.
        """
        half = self.rows.shape[1]
        rows = self.rows + F.embedding(self.rows_level, level_embed[:, :half])
        columns = self.columns + F.embedding(self.columns_level, level_embed[:, half:])
        return torch.cat(
            [F.embedding(self.rows_index, rows), F.embedding(self.columns_index, columns)], dim=-1
        )
