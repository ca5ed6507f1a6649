"""Every architecture in every format at its official size: names and shapes, without memory."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.oracles import grounding_dino_original, originals, transformers_models
from tests.oracles.grounding_dino_original import real_linspace

from t2s_export.checkpoints.loading import recognise
from t2s_export.checkpoints.reading import Checkpoint


def assert_recognised(state: Any, family: str, format_name: str, architecture: str) -> None:
    found = recognise(Checkpoint(Path("official"), "torch", dict(state)))
    assert found.format.family == family and found.format.name == format_name
    assert found.fit.architecture.name == architecture and found.fit.differences == 0


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_sam_official(name: str) -> None:
    package = originals.segment_anything()
    with torch.device("meta"):
        state = package.sam_model_registry[name]().state_dict()
    assert_recognised(state, "sam", "official", name)


@pytest.mark.parametrize(
    ("name", "width", "depth", "heads", "whole"),
    [
        ("vit_b", 768, 12, 12, [2, 5, 8, 11]),
        ("vit_l", 1024, 24, 16, [5, 11, 17, 23]),
        ("vit_h", 1280, 32, 16, [7, 15, 23, 31]),
    ],
)
def test_sam_of_transformers(
    name: str, width: int, depth: int, heads: int, whole: list[int]
) -> None:
    vision = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "global_attn_indexes": whole,
        "mlp_dim": 4 * width,
    }
    with torch.device("meta"):
        state = transformers_models.sam(vision, {}, {}).state_dict()
    assert_recognised(state, "sam", "transformers", name)


@pytest.mark.parametrize("name", ["swin_t", "swin_b"])
def test_grounding_dino_official(name: str) -> None:
    state = grounding_dino_original.build(name, device="meta").state_dict()
    assert_recognised(state, "grounding_dino", "official", name)


@pytest.mark.parametrize(
    ("name", "width", "depths", "heads", "window"),
    [
        ("swin_t", 96, [2, 2, 6, 2], [3, 6, 12, 24], 7),
        ("swin_b", 128, [2, 2, 18, 2], [4, 8, 16, 32], 12),
    ],
)
def test_grounding_dino_of_transformers(
    name: str, width: int, depths: list[int], heads: list[int], window: int
) -> None:
    swin = {"embed_dim": width, "depths": depths, "num_heads": heads, "window_size": window}
    with torch.device("meta"), real_linspace():
        model = transformers_models.grounding_dino(swin, {})
    assert_recognised(model.state_dict(), "grounding_dino", "transformers", name)


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336"])
def test_clip(name: str, caplog: pytest.LogCaptureFixture) -> None:
    package = originals.open_clip()
    with torch.device("meta"), caplog.at_level(logging.ERROR), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = package.create_model(f"{name}-quickgelu", pretrained=None, device="meta")
    assert_recognised(model.state_dict(), "clip", "open_clip", name)
