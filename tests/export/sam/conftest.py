"""A small Segment Anything with window padding, in the original's form and in ours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.oracles import originals
from tests.oracles.weights import randomise

from t2s_export.architectures.sam import Sam, SamConfig

SMALL = SamConfig(
    image_size=96,
    patch_size=8,
    embed_dim=32,
    depth=4,
    num_heads=4,
    global_blocks=(1, 3),
    window_size=5,
    out_channels=32,
    decoder_heads=4,
    decoder_mlp_dim=48,
    iou_hidden_dim=24,
    global_rows=4,
)
"""12 x 12 tokens in windows of 5: three windows a side with three rows of padding."""
LARGER = SamConfig(
    image_size=160,
    patch_size=8,
    embed_dim=24,
    depth=2,
    num_heads=2,
    global_blocks=(1,),
    window_size=8,
    out_channels=48,
    decoder_heads=3,
    decoder_mlp_dim=32,
    iou_hidden_dim=8,
    global_rows=5,
)
"""20 x 20 tokens: large enough that training attends globally in chunks."""


@dataclass(frozen=True)
class Pair:
    """One set of random weights in both forms."""

    original: Any
    ours: Sam

    @property
    def size(self) -> int:
        return self.ours.config.image_size


def build_original(package: ModuleType, config: SamConfig) -> Any:
    """The original model at our sizes, built as segment_anything.build_sam does."""
    modeling = package.modeling
    grid, channels = config.grid, config.out_channels
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.embed_dim,
            depth=config.depth,
            num_heads=config.num_heads,
            mlp_ratio=config.mlp_ratio,
            out_chans=channels,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=config.window_size,
            global_attn_indexes=config.global_blocks,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(grid, grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=config.mask_in_channels,
        ),
        mask_decoder=modeling.MaskDecoder(
            transformer_dim=channels,
            transformer=modeling.TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=channels,
                num_heads=config.decoder_heads,
                mlp_dim=config.decoder_mlp_dim,
            ),
            iou_head_hidden_dim=config.iou_hidden_dim,
        ),
    ).eval()


@pytest.fixture(scope="module", params=[SMALL, LARGER], ids=["grid12", "grid20"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """The original and ours with the same random weights."""
    package = originals.segment_anything()
    original = build_original(package, request.param)
    randomise(original, seed=11)
    ours = Sam(request.param).eval()
    ours.load_state_dict(original.state_dict())
    ours.requires_grad_(False)
    original.requires_grad_(False)
    return Pair(original, ours)
