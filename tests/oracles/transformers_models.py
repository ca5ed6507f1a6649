"""Models of transformers, built from configurations; nothing is fetched."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from tests.oracles import torchvision_shim
from tests.oracles.originals import INSTALL
from torch import Tensor

__all__ = ["grounding_dino", "recorded_selection", "sam", "save"]


def _load() -> Any:
    for name in ("torchvision", "timm", "transformers"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"the oracle {name} is not installed; run: {INSTALL}")
    torchvision_shim.install()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's deprecations are not ours to fix
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
