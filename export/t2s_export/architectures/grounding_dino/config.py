"""Sizes of a Grounding DINO, and the presets of the project."""

from __future__ import annotations

from dataclasses import dataclass

from t2s_rt.errors import UsageError

__all__ = ["GDINO_NANO", "SWIN_B", "SWIN_T", "GroundingDinoConfig"]


@dataclass(frozen=True)
class GroundingDinoConfig:
    """Everything that fixes the shapes and constants of a Grounding DINO.

    Attributes:
        frame: side of the square model frame in pixels that the weights like.
        swin_width: channels of the first Swin stage; each further stage doubles them.
        swin_depths: blocks per Swin stage; the first stage has stride 4.
        swin_heads: attention heads per Swin stage.
        swin_window: side of an attention window in tokens.
        swin_mlp_ratio: hidden width of a Swin MLP over its channels.
        swin_outputs: indices of the stages whose features are used.
        d_model: channels of image and text tokens in encoder and decoder.
        heads: attention heads; fusion and text layers have half as many.
        ffn_width: hidden width of the feed-forward layers; fusion and text layers have half.
        encoder_layers: layers of the feature enhancer.
        decoder_layers: layers of the cross-modality decoder.
        queries: proposals kept by the query selection, and boxes returned.
        levels: feature levels; those beyond ``swin_outputs`` are strided convolutions.
        encoder_points: sampling points per head and level in the encoder.
        decoder_points: sampling points per head and level in the decoder.
        vocabulary_size: rows of the word embedding.
        bert_width: hidden size of the text encoder.
        bert_layers: layers of the text encoder.
        bert_heads: attention heads of the text encoder.
        bert_ffn_width: hidden width of the text encoder's feed-forward layers.
        bert_positions: rows of the position embedding, the longest caption in tokens.
        proposal_size: side of a proposal of the first level, in 0..1 of the frame; doubles
            with each level.
        exclude_invalid_proposals: never select a proposal whose box leaves 0.01..0.99. The
            official models may select them.
        inverse_sigmoid_epsilon: clamp of the inverse sigmoid. The original package trained with
            1e-3; transformers uses 1e-5, which moves boxes by up to 1e-3.
        position_temperature: temperature of the sine positions of the image.
        pixel_mean: mean colour (RGB, 0..255) that normalisation subtracts.
        pixel_std: standard deviation (RGB, 0..255) that normalisation divides by.
    """

    frame: int = 800
    swin_width: int = 96
    swin_depths: tuple[int, ...] = (2, 2, 6, 2)
    swin_heads: tuple[int, ...] = (3, 6, 12, 24)
    swin_window: int = 7
    swin_mlp_ratio: float = 4.0
    swin_outputs: tuple[int, ...] = (1, 2, 3)
    d_model: int = 256
    heads: int = 8
    ffn_width: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 6
    queries: int = 900
    levels: int = 4
    encoder_points: int = 4
    decoder_points: int = 4
    vocabulary_size: int = 30522
    bert_width: int = 768
    bert_layers: int = 12
    bert_heads: int = 12
    bert_ffn_width: int = 3072
    bert_positions: int = 512
    proposal_size: float = 0.05
    exclude_invalid_proposals: bool = False
    inverse_sigmoid_epsilon: float = 1e-3
    position_temperature: float = 20.0
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        """Refuse sizes that no Grounding DINO can have.

        Raises:
            UsageError: naming the field, its value and what it must be.
        """
        stages = len(self.swin_depths)
        rules = (
            ("swin_heads", self.swin_heads, len(self.swin_heads) == stages, f"{stages} values"),
            (
                "swin_outputs",
                self.swin_outputs,
                bool(self.swin_outputs) and self.swin_outputs[-1] == stages - 1,
                f"stage indices that end with the last stage, {stages - 1}",
            ),
            ("levels", self.levels, self.levels >= len(self.swin_outputs), "no less than outputs"),
            ("heads", self.heads, self.heads % 2 == 0, "even: fusion and text layers have half"),
            ("ffn_width", self.ffn_width, self.ffn_width % self.heads == 0, "divisible by heads"),
            (
                "d_model",
                self.d_model,
                self.d_model % self.heads == 0 and self.d_model % 32 == 0,
                "divisible by heads and by 32, the groups of the input projection",
            ),
            ("bert_width", self.bert_width, self.bert_width % self.bert_heads == 0, "divisible"),
        )
        for name, value, holds, wanted in rules:
            if not holds:
                raise UsageError(
                    f"Grounding DINO configuration: {name} must be {wanted}, but is {value}; "
                    "change the field or start from a preset"
                )

    @property
    def swin_channels(self) -> tuple[int, ...]:
        """Channels of each Swin stage."""
        return tuple(self.swin_width * 2**stage for stage in range(len(self.swin_depths)))

    @property
    def half_heads(self) -> int:
        """Attention heads of a fusion or text layer."""
        return self.heads // 2

    @property
    def half_ffn_width(self) -> int:
        """Width of the fusion attention, and hidden width of a text layer's feed-forward."""
        return self.ffn_width // 2


SWIN_T = GroundingDinoConfig()
"""The official ``groundingdino_swint_ogc`` checkpoint."""

SWIN_B = GroundingDinoConfig(
    swin_width=128, swin_depths=(2, 2, 18, 2), swin_heads=(4, 8, 16, 32), swin_window=12
)
"""The official ``groundingdino_swinb_cogcoor`` checkpoint."""

GDINO_NANO = GroundingDinoConfig(
    frame=576,
    swin_width=32,
    swin_depths=(2, 2, 4),
    swin_heads=(2, 4, 8),
    swin_window=8,
    swin_mlp_ratio=2.0,
    swin_outputs=(1, 2),
    d_model=96,
    heads=4,
    ffn_width=256,
    encoder_layers=2,
    decoder_layers=3,
    queries=300,
    levels=3,
    encoder_points=2,
    decoder_points=4,
    vocabulary_size=64,
    bert_width=64,
    bert_layers=2,
    bert_heads=2,
    bert_ffn_width=128,
    bert_positions=64,
    exclude_invalid_proposals=True,
)
"""The detector that the project trains itself and ships inside the wheel."""
