"""Small models built by the original packages and saved as their publishers do.

The vocabularies are the official ones, so that everything about text is real; only the widths and
depths are not.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from click.testing import CliRunner, Result
from tests.export.sam.conftest import SMALL as SAM
from tests.oracles import grounding_dino_original, openai_clip, originals, transformers_models
from tests.oracles.weights import randomise
from torch import nn

from t2s_export.architectures.clip import Clip, ClipConfig
from t2s_export.architectures.grounding_dino import SWIN_T, GroundingDino
from t2s_export.architectures.sam import Sam
from t2s_export.checkpoints import table
from t2s_export.checkpoints.table import Architecture
from t2s_export.official.presets import Preset
from t2s_rt.cli.main import cli

CLIP = ClipConfig(
    image_size=64,
    patch_size=16,
    width=48,
    layers=3,
    heads=3,
    embed_dim=32,
    text_width=32,
    text_layers=2,
    text_heads=2,
    surgery_blocks=2,
)
DINO = dataclasses.replace(
    SWIN_T,
    encoder_layers=1,
    decoder_layers=2,
    queries=300,
    ffn_width=256,
    bert_layers=1,
    bert_width=32,
    bert_heads=2,
    bert_ffn_width=64,
)
"""The original fixes the widths of Swin-T. With few queries one tie would count as a difference."""
ROWS = (
    Architecture("sam", "small_sam", Sam, SAM),
    Architecture("grounding_dino", "small_dino", GroundingDino, DINO),
    Architecture("clip", "small_clip", Clip, CLIP),
)
PRESET = Preset("small", "small_dino", "small_sam", "small_clip", "Small ones, for tests.")
SIZES = ("--detector-size", "128", "--clip-size", "256")
"""Frames that go with the small models, on the command line."""


@contextmanager
def known() -> Iterator[None]:
    """Let the loader know the small architectures only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "ARCHITECTURES", ROWS)
        yield


def save_sam(path: Path, seed: int = 1) -> Path:
    """A ``.pth`` of segment_anything."""
    model = originals.sam_like(SAM)
    randomise(model, seed)
    torch.save(model.state_dict(), path)
    return path


def save_detector(path: Path, seed: int = 2, image_seed: int | None = None) -> Path:
    """A ``.pth`` of groundingdino, wrapped as theirs are.

    Args:
        path: where to.
        seed: of all weights.
        image_seed: of the image backbone's weights, if others are wanted.
    """
    model = grounding_dino_original.build_like(DINO)
    randomise(model, seed)
    if image_seed is not None:
        randomise(cast(nn.Module, model.backbone), image_seed)
    torch.save({"model": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
    return path


def save_transformers_sam(folder: Path, seed: int = 4) -> Path:
    """A folder as transformers saves it."""
    model = transformers_models.sam_like(SAM)
    randomise(model, seed)
    return transformers_models.save(model, folder)


def save_transformers_detector(folder: Path, seed: int = 5) -> Path:
    """A folder as transformers saves it."""
    model = transformers_models.grounding_dino_like(DINO)
    randomise(model, seed)
    return transformers_models.save(model, folder)


def open_clip_model(seed: int = 3, quick_gelu: bool = True) -> Any:
    """open_clip's model at our size, its weights exact in half precision."""
    model = originals.open_clip_like(dataclasses.replace(CLIP, quick_gelu=quick_gelu))
    randomise(model, seed)
    with torch.no_grad():
        model.logit_scale.fill_(4.6052)
    return model.half().float().requires_grad_(False)


def save_openai_clip(path: Path, seed: int = 3) -> Path:
    """A TorchScript archive in half precision, as OpenAI published."""
    return openai_clip.save(open_clip_model(seed), CLIP, path)


def save_open_clip(path: Path, seed: int = 3) -> Path:
    """A training checkpoint of open_clip."""
    model = open_clip_model(seed, quick_gelu=False)
    torch.save({"epoch": 1, "state_dict": model.state_dict()}, path)
    return path


def copy_vocabularies(folder: Path, test_data: Path) -> None:
    """Both vocabularies under the registry's names."""
    places = {
        "bert/vocab.txt": "bert-base-uncased-vocab.txt",
        "clip/bpe_simple_vocab_16e6.txt.gz": "bpe_simple_vocab_16e6.txt.gz",
    }
    for source, name in places.items():
        shutil.copy(test_data / "tokenizers" / source, folder / name)


def run(*arguments: object) -> Result:
    """``t2s-rt`` with these words."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])
