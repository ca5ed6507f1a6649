"""Sizes of a Segment Anything model; everything else derives from them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import TypeAlias

from t2s_export.architectures.stem import check_stem
from t2s_rt.errors import UsageError

__all__ = [
    "MOBILE_SAM",
    "SAM_NANO",
    "SAM_VIT_B",
    "SAM_VIT_H",
    "SAM_VIT_L",
    "AnySamConfig",
    "DecoderConfig",
    "MobileSamConfig",
    "SamConfig",
]

PIXEL_MEAN = (123.675, 116.28, 103.53)
"""Mean of each RGB channel in 0..255, as segment_anything.build_sam sets it."""
PIXEL_STD = (58.395, 57.12, 57.375)
"""Standard deviation of each RGB channel in 0..255, from the same place."""


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the frame, the prompt encoder and the mask decoder, whatever the image encoder.

    Attributes:
        image_size: side of the square model frame, pixels.
        patch_size: pixels a side of an image token; the token grid is
            ``image_size / patch_size`` square.
        out_channels: C, channels of the image embedding and width of the decoder.
        mask_in_channels: hidden channels of the mask prompt's convolutions (weights only).
        decoder_depth: two-way layers of the decoder.
        decoder_heads: attention heads of the decoder.
        decoder_mlp_dim: hidden width of the decoder layers' MLPs.
        attention_downsample: C over the inner width of the decoder's cross attentions.
        iou_hidden_dim: hidden width of the IoU head.

    Raises:
        UsageError: sizes that do not divide.
    """

    image_size: int
    patch_size: int
    _: KW_ONLY
    out_channels: int = 256
    mask_in_channels: int = 16
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    attention_downsample: int = 2
    iou_hidden_dim: int = 256

    def __post_init__(self) -> None:
        """Refuse sizes that do not divide."""
        inner = self.decoder_heads * self.attention_downsample
        self._check_multiple("image_size", self.image_size, "patch_size", self.patch_size)
        self._check_multiple(
            "out_channels", self.out_channels, "decoder_heads * attention_downsample", inner
        )
        self._check_multiple("out_channels", self.out_channels, "8 (mask upscaling)", 8)

    def _check_multiple(self, name: str, value: int, divisor_name: str, divisor: int) -> None:
        if value % divisor:
            raise UsageError(
                f"{type(self).__name__}: expected {name} to be a multiple of {divisor_name} = "
                f"{divisor}, found {value}; change one of the two"
            )

    @property
    def grid(self) -> int:
        """Side of the token grid."""
        return self.image_size // self.patch_size

    def decoder_at(self, image_size: int) -> DecoderConfig:
        """The decoder's sizes alone, for another frame."""
        own = {field.name: getattr(self, field.name) for field in fields(DecoderConfig)}
        return DecoderConfig(**{**own, "image_size": image_size})


@dataclass(frozen=True)
class SamConfig(DecoderConfig):
    """A Segment Anything whose image encoder is a ViT.

    Attributes:
        embed_dim: width of the image encoder.
        depth: number of encoder blocks.
        num_heads: attention heads of the encoder.
        global_blocks: indices of the blocks that attend over the whole grid.
        window_size: side of the attention windows of all other blocks, tokens.
        mlp_ratio: hidden width of the encoder's MLPs over ``embed_dim``.
        global_rows: rows of queries that a global block treats at a time in the exported graph,
            so that the block of scores stays in cache; must divide the grid.
        stem: widths of a convolutional stem before the tokens, as ``ClipConfig`` has it, and a norm
            after their positions; empty for one convolution, as all published models have.
        stem_blocks: residual convolutions at each of the stem's strides but the first.

    Raises:
        UsageError: sizes that do not divide.
    """

    embed_dim: int
    depth: int
    num_heads: int
    global_blocks: tuple[int, ...]
    window_size: int
    mlp_ratio: int = 4
    global_rows: int = 4
    stem: tuple[int, ...] = ()
    stem_blocks: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that do not divide."""
        super().__post_init__()
        self._check_multiple("embed_dim", self.embed_dim, "num_heads", self.num_heads)
        self._check_multiple("grid", self.grid, "global_rows", self.global_rows)
        check_stem(self.stem, self.patch_size)


@dataclass(frozen=True)
class MobileSamConfig(DecoderConfig):
    """MobileSAM: Segment Anything with a TinyViT as image encoder.

    The first stage is convolutional, the others attend within windows. Stages halve the grid
    between them, all but the last two, which share one.

    Attributes:
        embed_dims: width of each stage.
        depths: blocks of each stage.
        num_heads: attention heads of each stage; the first is not used.
        window_sizes: side of each stage's attention windows, tokens; the first is not used.
        mlp_ratio: hidden width of the MLPs over the stage's width.
        expand_ratio: hidden channels of the first stage's blocks over its width.

    Raises:
        UsageError: sizes that do not divide, or that the strides do not fit.
    """

    embed_dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    num_heads: tuple[int, int, int, int]
    window_sizes: tuple[int, int, int, int]
    mlp_ratio: int = 4
    expand_ratio: int = 4

    def __post_init__(self) -> None:
        """Refuse sizes that do not divide."""
        super().__post_init__()
        if self.patch_size != _TINY_VIT_STRIDE:
            raise UsageError(
                f"MobileSamConfig: expected patch_size to be {_TINY_VIT_STRIDE}, which the strides "
                f"of TinyViT come to, found {self.patch_size}"
            )
        for stage in range(1, len(self.embed_dims)):
            dim, heads = self.embed_dims[stage], self.num_heads[stage]
            self._check_multiple(f"embed_dims[{stage}]", dim, f"num_heads[{stage}]", heads)

    @property
    def grids(self) -> tuple[int, int, int, int]:
        """Side of each stage's grid."""
        return 4 * self.grid, 2 * self.grid, self.grid, self.grid


AnySamConfig: TypeAlias = SamConfig | MobileSamConfig
"""Either image encoder."""
_TINY_VIT_STRIDE = 16
"""Two convolutions of stride 2, and two of the three steps between stages."""

SAM_VIT_B = SamConfig(1024, 16, 768, 12, 12, (2, 5, 8, 11), 14, global_rows=8)
"""sam_vit_b_01ec64."""
SAM_VIT_L = SamConfig(1024, 16, 1024, 24, 16, (5, 11, 17, 23), 14, global_rows=8)
"""sam_vit_l_0b3195."""
SAM_VIT_H = SamConfig(1024, 16, 1280, 32, 16, (7, 15, 23, 31), 14, global_rows=8)
"""sam_vit_h_4b8939."""
SAM_NANO = SamConfig(
    image_size=576,
    patch_size=8,
    embed_dim=128,
    depth=4,
    num_heads=4,
    global_blocks=(),
    window_size=24,
    out_channels=128,
    decoder_heads=4,
    decoder_mlp_dim=256,
    iou_hidden_dim=64,
    stem=(32, 64),
    stem_blocks=2,
)
"""The model that the project trains itself: 72 x 72 tokens of 8 px, no window padding.

Its windows and widths are those of nano's CLIP, from whose trunk it starts: what ends where is
learnt far sooner by an encoder that knows what is there. No block attends over the whole grid:
objects are small, the decoder looks at everything, and one such block was half the encoder's time.
"""
MOBILE_SAM = MobileSamConfig(
    1024,
    16,
    embed_dims=(64, 128, 160, 320),
    depths=(2, 2, 6, 2),
    num_heads=(2, 4, 5, 10),
    window_sizes=(7, 7, 14, 7),
)
"""mobile_sam.pt."""
