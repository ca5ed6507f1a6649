"""The original packages for a test.

They are pinned in ``requirements.txt`` beside this file and installed with
``pip install --no-deps -r tests/oracles/requirements.txt``; a test that needs one is skipped with
that command as the reason where it is missing, and fails where ``CI`` is set: what CI does not
run proves nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from tests.needs import unmet

from t2s_bench.reference import packages, sam
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
    """See `t2s_bench.reference.sam.sam_like`."""
    with skipped_where_missing():
        return sam.sam_like(config)


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
