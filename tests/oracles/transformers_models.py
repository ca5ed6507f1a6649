"""Models of transformers, built from configurations; nothing is fetched."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from tests.oracles.originals import skipped_where_missing
from torch import Tensor

from t2s_bench.reference.packages import quiet, require
from t2s_export.architectures.grounding_dino import GroundingDinoConfig
from t2s_export.architectures.sam import SamConfig

__all__ = [
    "grounding_dino",
    "grounding_dino_like",
    "recorded_selection",
    "sam",
    "sam_like",
    "save",
]


def _load() -> Any:
    with skipped_where_missing():
        require(("torchvision", "timm", "transformers"))
    with quiet():
        return importlib.import_module("transformers")


def sam(vision: dict[str, Any], prompts: dict[str, Any], decoder: dict[str, Any]) -> Any:
    """``SamModel`` with random weights; arguments are changes of the base model's configuration."""
    transformers = _load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = transformers.SamConfig(
            vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
        )
        return transformers.SamModel(config).eval()


def sam_like(config: SamConfig) -> Any:
    """``SamModel`` at our sizes."""
    sizes = {"hidden_size": config.out_channels}
    frame = {"image_size": config.image_size, "patch_size": config.patch_size}
    return sam(
        {
            **frame,
            "hidden_size": config.embed_dim,
            "output_channels": config.out_channels,
            "num_hidden_layers": config.depth,
            "num_attention_heads": config.num_heads,
            "window_size": config.window_size,
            "global_attn_indexes": list(config.global_blocks),
            "num_pos_feats": config.out_channels // 2,
            "mlp_dim": config.mlp_ratio * config.embed_dim,
        },
        {**sizes, **frame},
        {
            **sizes,
            "mlp_dim": config.decoder_mlp_dim,
            "num_attention_heads": config.decoder_heads,
            "iou_head_hidden_dim": config.iou_hidden_dim,
            # the original's, with which the weights were trained; transformers' own is 1e-6
            "layer_norm_eps": 1e-5,
        },
    )


def grounding_dino(swin: dict[str, Any], bert: dict[str, Any], **sizes: Any) -> Any:
    """``GroundingDinoForObjectDetection``; arguments are changes of the tiny model's."""
    transformers = _load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backbone = transformers.SwinConfig(**{"out_indices": [2, 3, 4], **swin})
        config = transformers.GroundingDinoConfig(
            backbone_config=backbone, text_config={"model_type": "bert", **bert}, **sizes
        )
        return transformers.GroundingDinoForObjectDetection(config).eval()


def grounding_dino_like(config: GroundingDinoConfig) -> Any:
    """``GroundingDinoForObjectDetection`` at our sizes."""
    return grounding_dino(
        {
            "embed_dim": config.swin_width,
            "depths": list(config.swin_depths),
            "num_heads": list(config.swin_heads),
            "window_size": config.swin_window,
        },
        {
            "hidden_size": config.bert_width,
            "num_hidden_layers": config.bert_layers,
            "num_attention_heads": config.bert_heads,
            "intermediate_size": config.bert_ffn_width,
            "vocab_size": config.vocabulary_size,
            "max_position_embeddings": config.bert_positions,
        },
        d_model=config.d_model,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        encoder_attention_heads=config.heads,
        decoder_attention_heads=config.heads,
        encoder_ffn_dim=config.ffn_width,
        decoder_ffn_dim=config.ffn_width,
        num_queries=config.queries,
        encoder_n_points=config.encoder_points,
        decoder_n_points=config.decoder_points,
    )


def save(model: Any, folder: Path) -> Path:
    """Save as the published files were saved; returns the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    return folder / "model.safetensors"


@contextmanager
def recorded_selection() -> Iterator[list[Tensor]]:
    """Note what the model's query selection keeps, int64 ``[B, Q]``."""
    original = torch.topk
    seen: list[Tensor] = []

    def recording(scores: Tensor, *arguments: Any, **keywords: Any) -> Any:
        result = original(scores, *arguments, **keywords)
        seen.append(result[1])
        return result

    with mock.patch.object(torch, "topk", recording):
        yield seen
