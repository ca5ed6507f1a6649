"""A small CLIP in the original's form and in ours, with the same random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tests.oracles import originals
from tests.oracles.weights import randomise

from t2s_export.architectures.clip import Clip, ClipConfig


@dataclass(frozen=True)
class Pair:
    """One set of random weights in both forms."""

    original: Any
    ours: Clip


def small(quick_gelu: bool) -> ClipConfig:
    """4 x 4 patches, five image blocks of which CLIP Surgery follows the last three."""
    return ClipConfig(
        image_size=32,
        patch_size=8,
        width=48,
        layers=5,
        heads=3,
        embed_dim=20,
        text_width=32,
        text_layers=2,
        text_heads=2,
        context_length=12,
        vocab_size=60,
        quick_gelu=quick_gelu,
        surgery_blocks=3,
    )


@pytest.fixture(scope="module", params=[True, False], ids=["quick_gelu", "gelu"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """open_clip's model and ours."""
    config = small(request.param)
    original = originals.open_clip_like(config)
    randomise(original, seed=21)
    ours = Clip(config).eval()
    ours.load_state_dict(original.state_dict())
    original.requires_grad_(False)
    ours.requires_grad_(False)
    return Pair(original, ours)
