"""Sizes of a Segment Anything model; everything else derives from them."""

from __future__ import annotations

from dataclasses import dataclass

from t2s_rt.errors import UsageError

__all__ = ["SAM_NANO", "SAM_VIT_B", "SAM_VIT_H", "SAM_VIT_L", "SamConfig"]

PIXEL_MEAN = (123.675, 116.28, 103.53)
"""Mean of each RGB channel in 0..255, as segment_anything.build_sam sets it."""
PIXEL_STD = (58.395, 57.12, 57.375)
"""Standard deviation of each RGB channel in 0..255, from the same place."""


@dataclass(frozen=True)
class SamConfig:
    """Sizes of the image encoder, the prompt encoder and the mask decoder.

    Attributes:
        image_size: side of the square model frame, pixels.
        patch_size: side of a patch; the token grid is ``image_size / patch_size`` square.
        embed_dim: width of the image encoder.
        depth: number of encoder blocks.
        num_heads: attention heads of the encoder.
        global_blocks: indices of the blocks that attend over the whole grid.
        window_size: side of the attention windows of all other blocks, tokens.
        mlp_ratio: hidden width of the encoder's MLPs over ``embed_dim``.
        out_channels: C, channels of the image embedding and width of the decoder.
        mask_in_channels: hidden channels of the mask prompt's convolutions (weights only).
        decoder_depth: two-way layers of the decoder.
        decoder_heads: attention heads of the decoder.
        decoder_mlp_dim: hidden width of the decoder layers' MLPs.
        attention_downsample: C over the inner width of the decoder's cross attentions.
        iou_hidden_dim: hidden width of the IoU head.
        global_rows: rows of queries that a global block treats at a time in the exported graph,
            so that the block of scores stays in cache; must divide the grid.

    Raises:
        UsageError: sizes that do not divide.
    """

    image_size: int
    patch_size: int
    embed_dim: int
    depth: int
    num_heads: int
    global_blocks: tuple[int, ...]
    window_size: int
    mlp_ratio: int = 4
    out_channels: int = 256
    mask_in_channels: int = 16
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    attention_downsample: int = 2
    iou_hidden_dim: int = 256
    global_rows: int = 4

    def __post_init__(self) -> None:
        """Refuse sizes that do not divide."""
        inner = self.decoder_heads * self.attention_downsample
        checks = (
            ("image_size", self.image_size, "patch_size", self.patch_size),
            ("embed_dim", self.embed_dim, "num_heads", self.num_heads),
            ("out_channels", self.out_channels, "decoder_heads * attention_downsample", inner),
            ("out_channels", self.out_channels, "8 (mask upscaling)", 8),
            ("grid", self.grid, "global_rows", self.global_rows),
        )
        for name, value, divisor_name, divisor in checks:
            if value % divisor:
                raise UsageError(
                    f"SamConfig: expected {name} to be a multiple of {divisor_name} = {divisor}, "
                    f"found {value}; change one of the two"
                )

    @property
    def grid(self) -> int:
        """Side of the token grid."""
        return self.image_size // self.patch_size


SAM_VIT_B = SamConfig(1024, 16, 768, 12, 12, (2, 5, 8, 11), 14)
"""sam_vit_b_01ec64."""
SAM_VIT_L = SamConfig(1024, 16, 1024, 24, 16, (5, 11, 17, 23), 14)
"""sam_vit_l_0b3195."""
SAM_VIT_H = SamConfig(1024, 16, 1280, 32, 16, (7, 15, 23, 31), 14)
"""sam_vit_h_4b8939."""
SAM_NANO = SamConfig(
    image_size=576,
    patch_size=8,
    embed_dim=80,
    depth=6,
    num_heads=2,
    global_blocks=(5,),
    window_size=8,
    out_channels=64,
    decoder_heads=4,
    decoder_mlp_dim=128,
    iou_hidden_dim=64,
)
"""The model that the project trains itself: 72 x 72 tokens of 8 px, no window padding."""
