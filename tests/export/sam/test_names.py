"""Parameter names and shapes of the official presets against the original package."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.oracles import originals

from t2s_export.architectures.sam import SAM_NANO, SAM_VIT_B, SAM_VIT_H, SAM_VIT_L, Sam, SamConfig
from t2s_rt.errors import UsageError


@pytest.mark.parametrize(
    ("config", "name"), [(SAM_VIT_B, "vit_b"), (SAM_VIT_L, "vit_l"), (SAM_VIT_H, "vit_h")]
)
def test_names_and_shapes_are_the_official_ones(config: SamConfig, name: str) -> None:
    package = originals.segment_anything()
    with torch.device("meta"):
        original = package.sam_model_registry[name]().state_dict()
        ours = Sam(config).state_dict()
    assert {k: tuple(v.shape) for k, v in ours.items()} == {
        k: tuple(v.shape) for k, v in original.items()
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 100}, "image_size"),
        ({"num_heads": 7}, "num_heads"),
        ({"global_rows": 7}, "global_rows"),
        ({"decoder_heads": 24}, "decoder_heads"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(SAM_NANO, **change)
