"""A detector of nano's shape on a small frame, and captions for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from tests.oracles.weights import randomise
from torch import Tensor

from t2s_export.architectures.grounding_dino import GDINO_NANO, GroundingDino

SMALL = dataclasses.replace(GDINO_NANO, queries=40)
"""Nano on frames of 128 pixels, whose 336 proposals are fewer than nano's queries allow for."""


class Caption(NamedTuple):
    """What the detector is told besides the image, in the order of its arguments."""

    features: Tensor
    token_mask: Tensor
    self_attention_mask: Tensor
    position_ids: Tensor


CaptionMaker = Callable[..., Caption]


@pytest.fixture
def caption() -> CaptionMaker:
    """Make captions of phrases of three tokens, the last ``padding`` tokens of which are none."""

    def make(length: int, batch: int = 1, padding: int = 0, seed: int = 0) -> Caption:
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn(batch, length + padding, SMALL.d_model, generator=generator)
        places = torch.arange(length + padding)
        real = places < length
        together = (places[:, None] // 3 == places[None] // 3) & real[:, None] & real[None]
        together |= torch.eye(length + padding, dtype=torch.bool)
        positions = torch.where(real, places % 3, 0).to(torch.int32)
        return Caption(
            features,
            real.expand(batch, -1),
            together.expand(batch, -1, -1),
            positions.expand(batch, -1),
        )

    return make


@pytest.fixture
def images() -> Tensor:
    """Two images of 128 x 128 pixels."""
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (2, 128, 128, 3), generator=generator, dtype=torch.uint8)


@pytest.fixture
def small() -> GroundingDino:
    """A small detector in which every parameter has a value that matters."""
    model = GroundingDino(SMALL)
    randomise(model, seed=3)
    return model
