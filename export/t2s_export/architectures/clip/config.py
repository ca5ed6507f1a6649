"""Sizes of a CLIP model; everything else derives from them."""

from __future__ import annotations

from dataclasses import dataclass

from t2s_export.architectures.stem import check_stem
from t2s_rt.errors import UsageError

__all__ = ["CLIP_NANO", "VIT_B_16", "VIT_B_32", "VIT_L_14", "VIT_L_14_336", "ClipConfig"]

PIXEL_MEAN = (122.7709383, 116.7460125, 104.09373615)
"""Mean of each RGB channel in 0..255: CLIP's 0.48145466, 0.4578275, 0.40821073."""
PIXEL_STD = (68.5005327, 66.6321579, 70.32316305)
"""Standard deviation in 0..255: CLIP's 0.26862954, 0.26130258, 0.27577711."""


@dataclass(frozen=True)
class ClipConfig:
    """Sizes of the image tower and the text tower.

    Attributes:
        image_size: side that the positional embedding was made for, pixels.
        patch_size: side of a patch, pixels.
        width: width of the image tower.
        layers: blocks of the image tower.
        heads: attention heads of the image tower.
        embed_dim: D, width of the joint embedding.
        text_width: width of the text tower.
        text_layers: blocks of the text tower.
        text_heads: attention heads of the text tower.
        context_length: longest text, tokens.
        vocab_size: rows of the token embedding.
        mlp_ratio: hidden width of all MLPs over their width.
        quick_gelu: ``x sigmoid(1.702 x)`` as OpenAI's weights were trained with; else exact GELU.
        surgery_blocks: last blocks of the image tower that CLIP Surgery's second path follows.
        stem: widths of a convolutional stem, each at twice the stride of the one before, the first
            at 2 pixels; empty for one convolution of a patch's size, as all published models have.
        stem_blocks: residual convolutions at each of the stem's strides but the first.

    Raises:
        UsageError: sizes that do not divide.
    """

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    embed_dim: int
    text_width: int
    text_layers: int
    text_heads: int
    context_length: int = 77
    vocab_size: int = 49408
    mlp_ratio: int = 4
    quick_gelu: bool = True
    surgery_blocks: int = 6
    stem: tuple[int, ...] = ()
    stem_blocks: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that do not divide."""
        checks = (
            ("image_size", self.image_size, "patch_size", self.patch_size),
            ("width", self.width, "heads", self.heads),
            ("text_width", self.text_width, "text_heads", self.text_heads),
        )
        for name, value, divisor_name, divisor in checks:
            if value % divisor:
                raise UsageError(
                    f"ClipConfig: expected {name} to be a multiple of {divisor_name} = {divisor}, "
                    f"found {value}; change one of the two"
                )
        check_stem(self.stem, self.patch_size)
        if not 1 <= self.surgery_blocks <= self.layers:
            raise UsageError(
                f"ClipConfig: expected surgery_blocks in 1..layers = 1..{self.layers}, "
                f"found {self.surgery_blocks}; choose a number of existing blocks"
            )

    @property
    def grid(self) -> int:
        """Side of the patch grid that the positional embedding was made for."""
        return self.image_size // self.patch_size


VIT_B_32 = ClipConfig(224, 32, 768, 12, 12, 512, 512, 12, 8)
"""CLIP ViT-B/32."""
VIT_B_16 = ClipConfig(224, 16, 768, 12, 12, 512, 512, 12, 8)
"""CLIP ViT-B/16."""
VIT_L_14 = ClipConfig(224, 14, 1024, 24, 16, 768, 768, 12, 12)
"""CLIP ViT-L/14."""
VIT_L_14_336 = ClipConfig(336, 14, 1024, 24, 16, 768, 768, 12, 12)
"""CLIP ViT-L/14@336."""
CLIP_NANO = ClipConfig(
    image_size=192,
    patch_size=8,
    width=128,
    layers=4,
    heads=4,
    embed_dim=64,
    text_width=64,
    text_layers=2,
    text_heads=2,
    context_length=16,
    vocab_size=128,
    surgery_blocks=2,
    stem=(32, 64),
    stem_blocks=2,
)
"""The model that the project trains itself: 24 x 24 patches of 8 px.

Patches are seen through a convolutional stem: from random weights, with the minutes that this
project has, a single patch convolution learns textures far more slowly (Xiao et al. 2021, Early
convolutions help transformers see better).
"""
