"""The feature enhancer: fusion, text self-attention and deformable image self-attention."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from t2s_export.architectures.grounding_dino.attention import FeedForward, MultiheadAttention
from t2s_export.architectures.grounding_dino.config import GroundingDinoConfig
from t2s_export.architectures.grounding_dino.deformable import DeformableAttention
from t2s_export.architectures.grounding_dino.fusion import FusionLayer
from t2s_export.architectures.grounding_dino.geometry import FrameGeometry

__all__ = ["Encoder", "TextInputs"]


@dataclass(frozen=True)
class TextInputs:
    """The caption as the detector takes it in.

    Attributes:
        features: ``[B or 1, T, D]``, the text encoder's output in the detector's width.
        token_bias: ``[B or 1, 1, 1, T]``, `MASKED` for padding tokens, else 0.
        self_bias: ``[B or 1, 1, T, T]``, 0 where a token may attend.
        positions: ``[B or 1, T, D]``, sine positions within each phrase.
        length: T.
    """

    features: Tensor
    token_bias: Tensor
    self_bias: Tensor
    positions: Tensor
    length: int


class TextEnhancerLayer(FeedForward):
    """Self-attention of the text tokens within their phrases."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__(config.d_model, config.half_ffn_width)
        self.self_attn = MultiheadAttention(config.d_model, config.half_heads)
        self.norm1 = nn.LayerNorm(config.d_model)
        self.norm2 = nn.LayerNorm(config.d_model)

    def forward(self, tokens: Tensor, text: TextInputs, geometry: FrameGeometry) -> Tensor:
        """Map text tokens ``[B, T, D]`` to the same shape."""
        query = tokens + text.positions
        attended = self.self_attn(
            query, query, tokens, geometry, text.length, text.length, text.self_bias
        )
        tokens = self.norm1(tokens + attended)
        output: Tensor = self.norm2(tokens + self.feed_forward(tokens))
        return output


class DeformableEncoderLayer(FeedForward):
    """Deformable self-attention of the image tokens."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__(config.d_model, config.ffn_width)
        self.self_attn = DeformableAttention(
            config.d_model, config.heads, config.levels, config.encoder_points, boxes=False
        )
        self.norm1 = nn.LayerNorm(config.d_model)
        self.norm2 = nn.LayerNorm(config.d_model)

    def forward(self, tokens: Tensor, positions: Tensor, geometry: FrameGeometry) -> Tensor:
        """Map image tokens ``[B, S, D]`` to the same shape."""
        centre = geometry.grid[None, None]
        attended = self.self_attn(
            tokens + positions, tokens, centre, None, geometry, geometry.tokens
        )
        tokens = self.norm1(tokens + attended)
        output: Tensor = self.norm2(tokens + self.feed_forward(tokens))
        return output


class Encoder(nn.Module):
    """The layers of the feature enhancer."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        count = range(config.encoder_layers)
        self.layers = nn.ModuleList(DeformableEncoderLayer(config) for _ in count)
        self.text_layers = nn.ModuleList(TextEnhancerLayer(config) for _ in count)
        self.fusion_layers = nn.ModuleList(FusionLayer(config) for _ in count)

    def forward(
        self, image: Tensor, text: TextInputs, positions: Tensor, geometry: FrameGeometry
    ) -> tuple[Tensor, Tensor]:
        """Enhance.

        Args:
            image: ``[B, S, D]``.
            text: the caption.
            positions: ``[1, S, D]``, of the image tokens.
            geometry: of the frame.

        Returns:
            image ``[B, S, D]`` and text ``[B, T, D]``.
        """
        tokens = text.features
        layers = zip(self.fusion_layers, self.text_layers, self.layers, strict=True)
        for fusion, text_layer, image_layer in layers:
            image, tokens = fusion(image, tokens, text.token_bias, geometry, text.length)
            tokens = text_layer(tokens, text, geometry)
            image = image_layer(image, positions, geometry)
        return image, tokens
