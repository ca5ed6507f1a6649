"""The cross-modality decoder: queries attend to each other, the text and the image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.grounding_dino.attention import FeedForward, Mlp, MultiheadAttention
from t2s_export.architectures.grounding_dino.config import GroundingDinoConfig
from t2s_export.architectures.grounding_dino.deformable import DeformableAttention
from t2s_export.architectures.grounding_dino.folding import Foldable
from t2s_export.architectures.grounding_dino.geometry import FrameGeometry, sine_frequencies

__all__ = ["BoxRefinement", "Decoder"]

_REFERENCE_TEMPERATURE = 10000.0


class BoxRefinement(nn.Module):
    """Boxes from earlier boxes and predicted changes. Always float32: georeferenced output."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, deltas: Tensor, reference: Tensor) -> Tensor:
        """Refine.

        Args:
            deltas: ``[B, Q, 4]``, changes in logit space.
            reference: float32 ``[B, Q, 4]``, boxes in 0..1.
        """
        inside = reference.clamp(min=self.epsilon)
        outside = (1.0 - reference).clamp(min=self.epsilon)
        return (deltas.float() + torch.log(inside / outside)).sigmoid()


class ReferencePositions(Foldable):
    """Query positions from reference boxes: sines of cx cy w h through a small perceptron.

    The original interleaves sines and cosines and puts y first; here they come side by side in
    the order of the box, and the columns of the first layer are permuted instead.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList([nn.Linear(2 * width, width), nn.Linear(width, width)])
        frequencies = sine_frequencies(width // 2, _REFERENCE_TEMPERATURE) * (2 * math.pi)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def derive(self, geometry: FrameGeometry) -> tuple[Tensor, ...]:
        """The first layer's weight with columns (sin or cos, cx cy w h, frequency), and bias."""
        weight, bias = self.layers[0].weight, self.layers[0].bias
        if not isinstance(weight, Tensor) or not isinstance(bias, Tensor):
            raise TypeError("a linear layer has a weight and a bias by construction")
        y, x, w, h = weight.view(self.width, 4, self.width // 4, 2).unbind(dim=1)
        columns = torch.stack([x, y, w, h], dim=1).permute(0, 3, 1, 2)
        return columns.reshape(self.width, 2 * self.width), bias

    def forward(self, reference: Tensor, geometry: FrameGeometry, queries: int) -> Tensor:
        """Map boxes ``[B, Q, 4]`` to positions ``[B, Q, D]``."""
        weight, bias = self.derived(geometry)
        phases = (reference.unsqueeze(-1) * self.frequencies).reshape(-1, queries, self.width)
        sines = torch.cat([phases.sin(), phases.cos()], dim=-1).to(weight.dtype)
        output: Tensor = self.layers[1](F.relu(F.linear(sines, weight, bias)))
        return output


class DecoderLayer(FeedForward):
    """One decoder layer; the numbering of the norms is the checkpoint's."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__(config.d_model, config.ffn_width)
        width, heads = config.d_model, config.heads
        self.cross_attn = DeformableAttention(
            width, heads, config.levels, config.decoder_points, boxes=True
        )
        self.norm1 = nn.LayerNorm(width)
        self.ca_text = MultiheadAttention(width, heads)
        self.catext_norm = nn.LayerNorm(width)
        self.self_attn = MultiheadAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        reference: Tensor,
        memory: Tensor,
        text: Tensor,
        token_bias: Tensor,
        geometry: FrameGeometry,
        counts: tuple[int, int],
    ) -> Tensor:
        """Update the queries.

        Args:
            queries: ``[B, Q, D]``.
            positions: ``[B, Q, D]``.
            reference: float32 ``[B, Q, 4]``, boxes in 0..1.
            memory: image tokens ``[B, S, D]``.
            text: text tokens ``[B, T, D]``.
            token_bias: ``[B or 1, 1, 1, T]``.
            geometry: of the frame.
            counts: Q and T.
        """
        count, text_length = counts
        query = queries + positions
        attended = self.self_attn(query, query, queries, geometry, count, count)
        queries = self.norm2(queries + attended)
        attended = self.ca_text(
            queries + positions, text, text, geometry, count, text_length, token_bias
        )
        queries = self.catext_norm(queries + attended)
        boxes = reference[:, None]
        attended = self.cross_attn(
            queries + positions, memory, 2.0 * boxes[..., :2] - 1.0, boxes[..., 2:], geometry, count
        )
        queries = self.norm1(queries + attended)
        output: Tensor = self.norm3(queries + self.feed_forward(queries))
        return output


class Decoder(nn.Module):
    """The decoder layers with box refinement between them."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        self.queries = config.queries
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.ref_point_head = ReferencePositions(config.d_model)
        self.box_refinement = BoxRefinement(config.inverse_sigmoid_epsilon)

    def forward(
        self,
        queries: Tensor,
        reference: Tensor,
        memory: Tensor,
        text: Tensor,
        token_bias: Tensor,
        box_heads: list[Mlp],
        geometry: FrameGeometry,
        text_length: int,
        every_layer: bool,
    ) -> list[tuple[Tensor, Tensor]]:
        """Decode.

        Args:
            queries: ``[B, Q, D]``, learned content queries.
            reference: float32 ``[B, Q, 4]``, boxes of the query selection.
            memory: image tokens ``[B, S, D]``.
            text: text tokens ``[B, T, D]``.
            token_bias: ``[B or 1, 1, 1, T]``.
            box_heads: one per layer (the same object if shared).
            geometry: of the frame.
            text_length: T.
            every_layer: return all layers, for training; else only the last.

        Returns:
            per layer, normalised queries ``[B, Q, D]`` and boxes float32 ``[B, Q, 4]``. A layer's
            box is refined from the box before it with its gradient ("look forward twice"), while
            the layer itself sees that box detached.
        """
        results = []
        before = reference
        last = len(self.layers) - 1
        for index, (layer, box_head) in enumerate(zip(self.layers, box_heads, strict=True)):
            seen = before.detach()
            positions = self.ref_point_head(seen, geometry, self.queries)
            queries = layer(
                queries,
                positions,
                seen,
                memory,
                text,
                token_bias,
                geometry,
                (self.queries, text_length),
            )
            if every_layer or index == last:
                normalised = self.norm(queries)
                boxes = self.box_refinement(box_head(normalised), before)
                results.append((normalised, boxes))
            if index < last:
                before = self.box_refinement(box_head(queries), seen)
        return results
