"""Training the detector on aligned windows of its frame: more steps, the same coordinates.

A window of half the frame's side costs a quarter. Boxes, proposals and sine positions stay those
of the whole frame, so that what is learnt on windows holds on whole frames unchanged: expressed
in the window's own 0..1, the same step in logit space would move a box by twice as many pixels
after the switch.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn

from t2s_export.architectures.grounding_dino import (
    DetectorOutput,
    GroundingDino,
    GroundingDinoConfig,
)
from t2s_export.architectures.grounding_dino.decoder import DecoderLayer
from t2s_export.architectures.grounding_dino.deformable import SamplingGrid
from t2s_export.architectures.grounding_dino.geometry import FrameGeometry
from t2s_export.nano.auxiliary import PREFIX
from t2s_export.nano.captions import CaptionBatch

__all__ = ["WindowedDetector", "detect"]

_QUERIES = "transformer.tgt_embed.weight"


def detect(model: GroundingDino, images: Tensor, captions: CaptionBatch) -> DetectorOutput:
    """Run text encoder and detector on one device."""
    device = images.device
    ids, token_mask, attention, positions = (
        t.to(device)
        for t in (
            captions.input_ids,
            captions.token_mask,
            captions.self_attention_mask,
            captions.position_ids,
        )
    )
    features = model.encode_text(ids, positions, attention)
    return model.detect(images, features, token_mask, attention, positions)


class _WindowSampling(SamplingGrid):
    """Sampling places in a window, from reference boxes in coordinates of the frame."""

    def __init__(self) -> None:
        super().__init__()
        self.zoom = 1.0
        self.middle = torch.zeros(2)

    def forward(self, offsets: Tensor, centre: Tensor, extent: Tensor | None) -> Tensor:
        """As :class:`SamplingGrid`, with the result in -1..1 of the window."""
        return (super().forward(offsets, centre, extent) - self.middle.to(centre)) * self.zoom


class _PlacedDetector(GroundingDino):
    """A detector whose frame lies somewhere in a larger one."""

    def place(self, geometry: FrameGeometry) -> None:
        """Use this geometry from now on, whatever the frame."""
        self._placed = (geometry,)  # in a tuple: as an attribute it would become a submodule

    def geometry(self, height: int, width: int) -> FrameGeometry:
        """The geometry of the place; the frame's size is the window's by construction."""
        return self._placed[0]


def _window_geometry(
    config: GroundingDinoConfig, whole: FrameGeometry, side: int, corner: tuple[int, int]
) -> FrameGeometry:
    """Geometry of a window that numbers positions and proposals as the whole frame does."""
    geometry = FrameGeometry(config, side, side)
    chosen, start = [], 0
    for (rows, columns), (height, width) in zip(whole.levels, geometry.levels, strict=True):
        stride = config.frame // rows
        row, column = corner[0] // stride, corner[1] // stride
        cells = (row + torch.arange(height))[:, None] * columns + column + torch.arange(width)
        chosen.append(start + cells.reshape(-1))
        start += rows * columns
    index = torch.cat(chosen)
    for name in ("proposals", "valid"):
        setattr(geometry, name, getattr(whole, name).cpu()[index])
    for name in ("rows", "columns"):
        # the frame's own tables, and which of their rows the window's tokens have
        for key in (name, f"{name}_level"):
            setattr(geometry, key, getattr(whole, key).cpu())
        setattr(geometry, f"{name}_index", getattr(whole, f"{name}_index").cpu()[:, index])
    return geometry


class WindowedDetector:
    """Runs a detector's weights on windows of its frame, with fewer queries.

    Args:
        model: the model that is trained; gradients land in its parameters.
        side: of a window in pixels.
        queries: queries of a window; each step draws which of the frame's learned queries.
    """

    def __init__(self, model: GroundingDino, side: int, queries: int) -> None:
        config = model.config
        self.side, self.frame, self.queries = side, config.frame, queries
        self.small = _PlacedDetector(dataclasses.replace(config, queries=queries)).train()
        self.content = model.transformer.tgt_embed.weight
        for name, parameter in model.named_parameters():
            if name.startswith(PREFIX) or name == _QUERIES:
                continue
            owner, _, leaf = name.rpartition(".")
            # the same parameters, not copies
            setattr(self.small.get_submodule(owner), leaf, parameter)
        del self.small.transformer.tgt_embed.weight
        self.sampling = _WindowSampling()
        self.sampling.zoom = config.frame / side
        for layer in self.small.transformer.decoder.layers:
            cast(DecoderLayer, layer).cross_attn.sampling_grid = self.sampling
        self.whole = model.geometry(config.frame, config.frame)
        self._geometries: dict[tuple[int, int], FrameGeometry] = {}

    def __call__(
        self, images: Tensor, captions: CaptionBatch, corner: tuple[int, int]
    ) -> DetectorOutput:
        """Detect in windows whose upper left corner is at (row, column) of the frame, pixels.

        Returns:
            as ``GroundingDino.detect``, with boxes in 0..1 of the window.
        """
        device = images.device
        if corner not in self._geometries:
            geometry = _window_geometry(self.small.config, self.whole, self.side, corner)
            self._geometries[corner] = geometry.to(device)
        self.small.place(self._geometries[corner])
        start = torch.tensor([corner[1], corner[0]], dtype=torch.float32) / self.frame
        share = self.side / self.frame
        self.sampling.middle = (2 * start + share - 1).to(device)
        drawn = torch.randperm(len(self.content), device=device)[: self.queries]
        cast(nn.Module, self.small.transformer.tgt_embed).weight = self.content[drawn]
        output = detect(self.small, images, captions)
        shift = torch.cat([start, torch.zeros(2)]).to(device)

        def inside(boxes: Tensor) -> Tensor:
            return (boxes - shift) / share

        assert output.encoder_boxes is not None
        return dataclasses.replace(
            output,
            boxes=inside(output.boxes),
            encoder_boxes=inside(output.encoder_boxes),
            layers=tuple((logits, inside(boxes)) for logits, boxes in output.layers),
        )
