"""Parameter names and shapes of the official presets against open_clip."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.oracles import originals

from t2s_export.architectures.clip import (
    CLIP_NANO,
    VIT_B_16,
    VIT_B_32,
    VIT_L_14,
    VIT_L_14_336,
    Clip,
    ClipConfig,
)
from t2s_rt.errors import UsageError


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (VIT_B_32, "ViT-B-32-quickgelu"),
        (VIT_B_16, "ViT-B-16-quickgelu"),
        (VIT_L_14, "ViT-L-14-quickgelu"),
        (VIT_L_14_336, "ViT-L-14-336-quickgelu"),
    ],
)
def test_names_and_shapes_are_the_official_ones(
    config: ClipConfig, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    package = originals.open_clip()
    with torch.device("meta"), caplog.at_level(logging.ERROR):
        original = package.create_model(name, pretrained=None, device="meta").state_dict()
        ours = Clip(config).state_dict()
    assert {k: tuple(v.shape) for k, v in ours.items()} == {
        k: tuple(v.shape) for k, v in original.items()
    }


@pytest.mark.parametrize("config", [VIT_B_32, VIT_B_16, VIT_L_14, VIT_L_14_336])
def test_official_weights_use_quick_gelu(config: ClipConfig) -> None:
    assert config.quick_gelu
    assert config.surgery_blocks == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 30}, "image_size"),
        ({"heads": 5}, "heads"),
        ({"text_heads": 3}, "text_heads"),
        ({"surgery_blocks": 7}, "surgery_blocks"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(CLIP_NANO, **change)
