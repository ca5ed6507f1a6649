"""Grounding DINO: boxes of whatever a caption names.

Source: Liu et al. 2023, "Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set
Object Detection", arXiv:2303.05499. Parameter names are those of the official checkpoints
(see `checkpoint`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from t2s_export.architectures.grounding_dino.attention import Mlp, attention_bias
from t2s_export.architectures.grounding_dino.bert import BertModel
from t2s_export.architectures.grounding_dino.config import GroundingDinoConfig
from t2s_export.architectures.grounding_dino.decoder import Decoder
from t2s_export.architectures.grounding_dino.encoder import Encoder, TextInputs
from t2s_export.architectures.grounding_dino.geometry import FrameGeometry, sine_frequencies
from t2s_export.architectures.grounding_dino.initialise import initialise_for_training
from t2s_export.architectures.grounding_dino.query_selection import (
    Selection,
    contrastive_logits,
    select_queries,
)
from t2s_export.architectures.grounding_dino.swin import SwinTransformer

__all__ = ["DetectorOutput", "GroundingDino", "encode_text"]

_TEXT_TEMPERATURE = 10000.0
_GROUPS = 32


@dataclass(frozen=True)
class DetectorOutput:
    """Detections of a batch, and in training what the losses need.

    Attributes:
        logits: float32 ``[B, Q, T]``, per query and text token; padding has about -1e4.
        boxes: float32 ``[B, Q, 4]``, cx cy w h in 0..1 of the frame.
        selected: int64 ``[B, Q]``, which of the S proposals became queries, best first.
        level_shapes: (rows, columns) of each feature level; the S proposals are their cells,
            level after level, row after row.
        valid: bool ``[S]``, proposals whose box lies within the frame.
        encoder_logits: ``[B, S, T]`` of all proposals, in training.
        encoder_boxes: float32 ``[B, S, 4]`` of all proposals, in training.
        layers: (logits, boxes) of every decoder layer, the last one included, in training.
    """

    logits: Tensor
    boxes: Tensor
    selected: Tensor
    level_shapes: tuple[tuple[int, int], ...]
    valid: Tensor
    encoder_logits: Tensor | None = None
    encoder_boxes: Tensor | None = None
    layers: tuple[tuple[Tensor, Tensor], ...] = ()


def encode_text(
    bert: BertModel, feat_map: nn.Linear, input_ids: Tensor, position_ids: Tensor, mask: Tensor
) -> Tensor:
    """Encode captions with the text encoder and its projection; see `GroundingDino.encode_text`."""
    bias = attention_bias(mask, feat_map.weight.dtype).unsqueeze(1)
    features: Tensor = feat_map(bert(input_ids, position_ids, bias))
    return features


class Transformer(nn.Module):
    """Feature enhancer, query selection and decoder, under the checkpoint's names."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.level_embed = nn.Parameter(torch.randn(config.levels, width))
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.tgt_embed = nn.Embedding(config.queries, width)
        self.enc_output = nn.Linear(width, width)
        self.enc_output_norm = nn.LayerNorm(width)
        self.enc_out_bbox_embed = Mlp(width, width, width, 4)

    def forward(
        self,
        image: Tensor,
        text: TextInputs,
        box_heads: list[Mlp],
        geometry: FrameGeometry,
        dense: bool,
        selected: Tensor | None,
    ) -> tuple[Selection, list[tuple[Tensor, Tensor]]]:
        """Detect in projected image tokens ``[B, S, D]``.

        Returns:
            the query selection, and per decoder layer (all if ``dense``, else the last) logits
            ``[B, Q, T]`` and boxes ``[B, Q, 4]``.
        """
        config = self.config
        positions = geometry.positions(self.level_embed)
        memory, tokens = self.encoder(image, text, positions, geometry)
        proposals = self.enc_output_norm(self.enc_output(memory * geometry.valid))
        selection = select_queries(
            proposals,
            tokens,
            text.token_bias,
            self.enc_out_bbox_embed,
            geometry,
            config.queries,
            config.exclude_invalid_proposals,
            dense,
            selected,
        )
        decoded = self.decoder(
            self.tgt_embed.weight.unsqueeze(0),
            selection.reference,
            memory,
            tokens,
            text.token_bias,
            box_heads,
            geometry,
            text.length,
            dense,
        )
        layers = [
            (contrastive_logits(queries, tokens, text.token_bias), boxes)
            for queries, boxes in decoded
        ]
        return selection, layers


class GroundingDino(nn.Module):
    """The open-set detector: trainable, and the source of the exported graphs.

    Args:
        config: sizes; see the presets.
    """

    text_frequencies: Tensor

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.transformer = Transformer(config)
        self.bert = BertModel(config)
        self.feat_map = nn.Linear(config.bert_width, width)
        self.input_proj = nn.ModuleList(self._input_projections(config))
        # index 1 of the original's backbone holds the sine positions, which have no parameters
        self.backbone = nn.ModuleList([SwinTransformer(config)])
        # All decoder layers share one box head; the official checkpoints hold it under many names.
        self.bbox_embed = nn.ModuleList([Mlp(width, width, width, 4)])
        frequencies = sine_frequencies(width, _TEXT_TEMPERATURE) * (2 * math.pi)
        self.register_buffer("text_frequencies", frequencies, persistent=False)
        self._geometries: dict[tuple[int, int, torch.device], FrameGeometry] = {}

    @staticmethod
    def _input_projections(config: GroundingDinoConfig) -> list[nn.Module]:
        width = config.d_model
        channels = [config.swin_channels[stage] for stage in config.swin_outputs]
        layers: list[nn.Module] = [nn.Conv2d(before, width, 1) for before in channels]
        before = channels[-1]
        while len(layers) < config.levels:
            layers.append(nn.Conv2d(before, width, 3, stride=2, padding=1))
            before = width
        return [nn.Sequential(layer, nn.GroupNorm(_GROUPS, width)) for layer in layers]

    def initialise_for_training(self) -> None:
        """Set every parameter as training from nothing needs it (see `initialise`)."""
        initialise_for_training(self)

    def geometry(self, height: int, width: int) -> FrameGeometry:
        """Constants of a frame size on the model's device, made once."""
        key = (height, width, self.feat_map.weight.device)
        if key not in self._geometries:
            self._geometries[key] = FrameGeometry(self.config, height, width).to(key[2])
        return self._geometries[key]

    def encode_text(
        self, input_ids: Tensor, position_ids: Tensor, self_attention_mask: Tensor
    ) -> Tensor:
        """Encode captions.

        Args:
            input_ids: integer ``[B, T]``.
            position_ids: integer ``[B, T]``, counted from 0 in each phrase.
            self_attention_mask: bool ``[B, T, T]``, True where a token may attend.

        Returns:
            text features ``[B, T, D]``.
        """
        return encode_text(self.bert, self.feat_map, input_ids, position_ids, self_attention_mask)

    def text_inputs(
        self,
        text_features: Tensor,
        text_token_mask: Tensor,
        text_self_attention_mask: Tensor,
        position_ids: Tensor,
    ) -> TextInputs:
        """Turn the detector's text tensors into biases and positions."""
        dtype = self.feat_map.weight.dtype
        length = text_features.shape[1]
        phases = position_ids.to(self.text_frequencies.dtype).unsqueeze(-1) * self.text_frequencies
        sines = torch.stack([phases.sin(), phases.cos()], dim=-1)
        return TextInputs(
            features=text_features.to(dtype),
            token_bias=attention_bias(text_token_mask, dtype)[:, None, None],
            self_bias=attention_bias(text_self_attention_mask, dtype)[:, None],
            positions=sines.reshape(-1, length, self.config.d_model).to(dtype),
            length=length,
        )

    def image_tokens(self, image: Tensor, geometry: FrameGeometry) -> Tensor:
        """Tokens of all levels ``[B, S, D]`` of an image ``[B, H, W, 3]``."""
        features: list[Tensor] = self.backbone[0](image, geometry)
        width = self.config.d_model
        grids = [geometry.stages[stage] for stage in self.config.swin_outputs]
        maps = [
            feature.transpose(1, 2).reshape(-1, feature.shape[-1], *grid)
            for feature, grid in zip(features, grids, strict=True)
        ]
        tokens = []
        source = maps[-1]
        for level, (rows, columns) in enumerate(geometry.levels):
            projected = self.input_proj[level](maps[level] if level < len(maps) else source)
            if level >= len(maps):
                source = projected
            tokens.append(projected.reshape(-1, width, rows * columns))
        return torch.cat(tokens, dim=2).transpose(1, 2)

    def run(
        self,
        image: Tensor,
        text: TextInputs,
        geometry: FrameGeometry,
        dense: bool,
        selected: Tensor | None = None,
    ) -> tuple[Selection, list[tuple[Tensor, Tensor]]]:
        """Everything after the text encoder; see `Transformer.forward`."""
        head = self.bbox_embed[0]
        if not isinstance(head, Mlp):
            raise TypeError("the box head is a perceptron by construction")
        heads = [head] * self.config.decoder_layers
        result: tuple[Selection, list[tuple[Tensor, Tensor]]] = self.transformer(
            self.image_tokens(image, geometry), text, heads, geometry, dense, selected
        )
        return result

    def detect(
        self,
        image: Tensor,
        text_features: Tensor,
        text_token_mask: Tensor,
        text_self_attention_mask: Tensor,
        position_ids: Tensor,
        selected: Tensor | None = None,
    ) -> DetectorOutput:
        """Find what the caption names.

        Args:
            image: ``[B, H, W, 3]`` RGB 0..255, uint8 or float, H and W multiples of 4.
            text_features: ``[B or 1, T, D]`` from `encode_text`.
            text_token_mask: bool ``[B or 1, T]``, True for a real token.
            text_self_attention_mask: bool ``[B or 1, T, T]``, True where a token may attend.
            position_ids: integer ``[B or 1, T]``.
            selected: int64 ``[B, Q]``, proposals to use instead of the best, for comparisons.

        Returns:
            detections; in training mode with the dense predictions of the encoder stage and those
            of every decoder layer.
        """
        geometry = self.geometry(image.shape[1], image.shape[2])
        text = self.text_inputs(
            text_features, text_token_mask, text_self_attention_mask, position_ids
        )
        selection, layers = self.run(image, text, geometry, self.training, selected)
        logits, boxes = layers[-1]
        output = DetectorOutput(
            logits=logits,
            boxes=boxes,
            selected=selection.index,
            level_shapes=tuple(geometry.levels),
            valid=geometry.valid.squeeze(-1) > 0,
            encoder_logits=selection.logits if self.training else None,
            encoder_boxes=selection.boxes,
            layers=tuple(layers) if self.training else (),
        )
        return output
