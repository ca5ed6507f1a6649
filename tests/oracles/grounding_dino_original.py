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
from t2s_export.architectures.grounding_dino import GroundingDinoConfig

__all__ = [
    "CONFIGURATIONS",
    "build",
    "build_like",
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


def build_like(config: GroundingDinoConfig) -> nn.Module:
    """The original at our sizes; the package fixes Swin-T and its widths, all else may differ."""
    return build(
        "swin_t",
        sizes={
            "enc_layers": config.encoder_layers,
            "dec_layers": config.decoder_layers,
            "num_queries": config.queries,
            "dim_feedforward": config.ffn_width,
        },
        bert_sizes={
            "num_hidden_layers": config.bert_layers,
            "hidden_size": config.bert_width,
            "num_attention_heads": config.bert_heads,
            "intermediate_size": config.bert_ffn_width,
            "vocab_size": config.vocabulary_size,
            "max_position_embeddings": config.bert_positions,
        },
    )


def text_masks(input_ids: Tensor) -> tuple[Tensor, Tensor]:
    """See `t2s_bench.reference.grounding_dino.text_masks`."""
    with skipped_where_missing():
        return grounding_dino.text_masks(input_ids)
