"""The original packages for a test.

They are pinned in ``requirements.txt`` beside this file and installed with
``pip install --no-deps -r tests/oracles/requirements.txt``; a test that needs one is skipped with
that command as the reason where it is missing, and fails where ``CI`` is set: what CI does not
run proves nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

from tests.needs import unmet
from torch import nn

from t2s_bench.reference import packages
from t2s_bench.reference.packages import INSTALL
from t2s_export.architectures.clip import ClipConfig
from t2s_export.architectures.sam import SamConfig

__all__ = [
    "INSTALL",
    "open_clip",
    "open_clip_like",
    "sam_like",
    "segment_anything",
    "skipped_where_missing",
    "tiny_vit",
]


@contextlib.contextmanager
def skipped_where_missing() -> Iterator[None]:
    """Skip the test where an original package is missing; fail it in CI."""
    try:
        yield
    except packages.MissingOriginalError as missing:
        unmet(str(missing))


def segment_anything() -> ModuleType:
    """The package segment_anything, or a skip."""
    with skipped_where_missing():
        return packages.segment_anything()


def open_clip() -> ModuleType:
    """The package open_clip, or a skip."""
    with skipped_where_missing():
        return packages.open_clip()


def tiny_vit() -> ModuleType:
    """The module timm.models.tiny_vit, or a skip."""
    with skipped_where_missing():
        return packages.tiny_vit()


def sam_like(config: SamConfig) -> Any:
    """The original SAM at our sizes, built as segment_anything.build_sam does."""
    modeling = segment_anything().modeling
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
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
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


def open_clip_like(config: ClipConfig) -> Any:
    """open_clip's model at our sizes, with our activation."""
    package = open_clip()
    model = package.CLIP(
        embed_dim=config.embed_dim,
        vision_cfg=package.CLIPVisionCfg(
            layers=config.layers,
            width=config.width,
            head_width=config.width // config.heads,
            patch_size=config.patch_size,
            image_size=config.image_size,
        ),
        text_cfg=package.CLIPTextCfg(
            context_length=config.context_length,
            vocab_size=config.vocab_size,
            width=config.text_width,
            heads=config.text_heads,
            layers=config.text_layers,
        ),
        quick_gelu=config.quick_gelu,
    )
    return model.eval()
