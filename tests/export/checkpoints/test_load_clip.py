"""CLIP from the files of OpenAI and open_clip, against open_clip's model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.export.checkpoints.small import CLIP, ROWS, known, save
from tests.export.clip.test_parity import images, texts
from tests.oracles import openai_clip, originals
from tests.oracles.compare import assert_same_numbers
from tests.oracles.weights import randomise
from torch import Tensor

from t2s_export.architectures.clip import Clip
from t2s_export.architectures.clip.config import PIXEL_MEAN, PIXEL_STD
from t2s_export.checkpoints.loading import LoadedModel, load_model
from t2s_rt.errors import UsageError


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with known(*ROWS):
        yield


def original(quick_gelu: bool, seed: int = 41) -> Any:
    """open_clip's model with random weights that half precision holds exactly."""
    model = originals.open_clip_like(dataclasses.replace(CLIP, quick_gelu=quick_gelu))
    randomise(model, seed)
    return model.half().float().requires_grad_(False)


def planes(image: Tensor) -> Tensor:
    normalised = (image.float() - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
    return normalised.permute(0, 3, 1, 2)


def assert_same_model(loaded: LoadedModel, theirs: Any) -> None:
    module, image, ids = loaded.module, images(32), texts()
    assert isinstance(module, Clip)
    assert_same_numbers(
        module.encode_image(image), theirs.encode_image(planes(image), normalize=True)
    )
    assert_same_numbers(module.encode_text(ids), theirs.encode_text(ids, normalize=True))


@pytest.mark.parametrize("half", [True, False])
def test_openai_archive(tmp_path: Path, half: bool) -> None:
    theirs = original(quick_gelu=True)
    path = openai_clip.save(original(quick_gelu=True), CLIP, tmp_path / "any.pt", half)
    loaded = load_model(path, "clip", "small")
    assert loaded.format == "openai"
    assert loaded.source["dtype"] == ("float16" if half else "float32")
    assert loaded.source["quick_gelu"] is True and loaded.source["quick_gelu_from"] == "openai"
    assert_same_model(loaded, theirs)


@pytest.mark.parametrize("wrapped", [True, False])
def test_openai_state_dict(tmp_path: Path, wrapped: bool) -> None:
    theirs = original(quick_gelu=True)
    state = openai_clip.Archived(original(quick_gelu=True), CLIP).half().state_dict()
    path = save({"state_dict": state} if wrapped else state, tmp_path / "any.pt")
    loaded = load_model(path)
    assert (loaded.format, loaded.source["quick_gelu_from"]) == ("openai", "openai")
    assert_same_model(loaded, theirs)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_open_clip_file(tmp_path: Path, prefix: str, wrapped: bool) -> None:
    theirs = original(quick_gelu=False)
    state = {prefix + name: value for name, value in theirs.state_dict().items()}
    content = {"epoch": 3, "name": "run", "state_dict": state} if wrapped else state
    loaded = load_model(save(content, tmp_path / "epoch_3.pt"), "clip")
    assert (loaded.architecture, loaded.format) == ("small", "open_clip")
    assert loaded.source["quick_gelu"] is False and loaded.source["quick_gelu_from"] == "assumed"
    assert_same_model(loaded, theirs)


def test_open_clip_folder_with_extras(tmp_path: Path) -> None:
    theirs = original(quick_gelu=False)
    extras = {"logit_bias": torch.tensor(-10.0), "attn_mask": torch.zeros(12, 12)}
    save_file({**theirs.state_dict(), **extras}, tmp_path / "open_clip_model.safetensors")
    assert_same_model(load_model(tmp_path), theirs)


def test_the_file_name_tells_the_activation(tmp_path: Path) -> None:
    for name, quick in (("RS5M_ViT-B-32.pt", True), ("RemoteCLIP-ViT-B-32.pt", False)):
        theirs = original(quick_gelu=quick)
        loaded = load_model(save(theirs.state_dict(), tmp_path / name))
        assert loaded.source["quick_gelu"] is quick
        assert loaded.source["quick_gelu_from"] == "file name"
        assert_same_model(loaded, theirs)


@pytest.mark.parametrize("quick", [True, False])
def test_the_argument_wins(tmp_path: Path, quick: bool) -> None:
    theirs = original(quick_gelu=quick)
    path = save(theirs.state_dict(), tmp_path / "RS5M_ViT-B-32.pt")
    loaded = load_model(path, quick_gelu=quick)
    assert loaded.source["quick_gelu_from"] == "argument"
    assert_same_model(loaded, theirs)


def test_the_activation_is_of_clip_only(tmp_path: Path) -> None:
    from tests.export.sam.conftest import SMALL

    from t2s_export.architectures.sam import Sam

    path = save(Sam(SMALL).state_dict(), tmp_path / "sam.pth")
    with pytest.raises(UsageError, match="quick_gelu for a CLIP only, found a checkpoint of sam"):
        load_model(path, quick_gelu=True)
