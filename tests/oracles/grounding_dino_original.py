"""The original Grounding DINO package for a test: built, or a skip."""

from __future__ import annotations

from types import ModuleType

from tests.oracles.originals import skipped_where_missing
from torch import Tensor, nn

from t2s_bench.reference import grounding_dino
from t2s_bench.reference.grounding_dino import (
    CONFIGURATIONS,
    detect,
    encode_text,
    real_linspace,
)

__all__ = [
    "CONFIGURATIONS",
    "build",
    "detect",
    "encode_text",
    "load",
    "real_linspace",
    "text_masks",
]


def load() -> ModuleType:
    """The package, or a skip."""
    with skipped_where_missing():
        return grounding_dino.load()


def build(
    variant: str,
    device: str = "cpu",
    sizes: dict[str, int] | None = None,
    bert_sizes: dict[str, int] | None = None,
) -> nn.Module:
    """See `t2s_bench.reference.grounding_dino.build`."""
    with skipped_where_missing():
        return grounding_dino.build(variant, device, sizes, bert_sizes)


def text_masks(input_ids: Tensor) -> tuple[Tensor, Tensor]:
    """See `t2s_bench.reference.grounding_dino.text_masks`."""
    with skipped_where_missing():
        return grounding_dino.text_masks(input_ids)
