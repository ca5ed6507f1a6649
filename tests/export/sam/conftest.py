"""A small Segment Anything with window padding, in the original's form and in ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
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


@pytest.fixture(scope="module", params=[SMALL, LARGER], ids=["grid12", "grid20"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """The original and ours with the same random weights."""
    original = originals.sam_like(request.param)
    randomise(original, seed=11)
    ours = Sam(request.param).eval()
    ours.load_state_dict(original.state_dict())
    ours.requires_grad_(False)
    original.requires_grad_(False)
    return Pair(original, ours)
