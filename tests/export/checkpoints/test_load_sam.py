"""Segment Anything from official and transformers' files, against the models that wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.export.checkpoints.small import ROWS, known, save
from tests.export.sam.conftest import SMALL, Pair
from tests.export.sam.test_decoder import original_masks
from tests.export.sam.test_encoder import images
from tests.oracles import originals, transformers_models
from tests.oracles.compare import assert_same_numbers
from tests.oracles.weights import randomise
from torch import Tensor

from t2s_export.architectures.sam import Sam
from t2s_export.architectures.sam.config import PIXEL_MEAN, PIXEL_STD
from t2s_export.checkpoints.loading import LoadedModel, load_model


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with known(*ROWS):
        yield


@pytest.fixture(scope="module")
def original() -> Any:
    model = originals.sam_like(SMALL)
    randomise(model, seed=31)
    return model.requires_grad_(False)


def corners(seed: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((3, 2, 2), generator=generator) * SMALL.image_size


def box_labels() -> Tensor:
    return torch.tensor([[2.0, 3.0]]).expand(3, -1)


def sam_of(loaded: LoadedModel) -> Sam:
    assert isinstance(loaded.module, Sam)
    return loaded.module


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_file(original: Any, tmp_path: Path, zipped: bool, prefix: str) -> None:
    state = {prefix + name: value for name, value in original.state_dict().items()}
    path = save(state, tmp_path / "any name.bin", _use_new_zipfile_serialization=zipped)
    loaded = load_model(path, "sam", "small")
    assert (loaded.family, loaded.architecture, loaded.format) == ("sam", "small", "official")
    image = images(SMALL.image_size, 1)
    module = sam_of(loaded)
    expected = original.image_encoder(original.preprocess(image.permute(0, 3, 1, 2).float()))
    assert_same_numbers(module.encode(image), expected)
    masks, scores = module.decode(expected, corners(), box_labels())
    pair = Pair(original, module)
    each = [original_masks(pair, expected, boxes=box.view(1, 4)) for box in corners()]
    assert_same_numbers(masks, torch.cat([one[0] for one in each]))
    assert_same_numbers(scores, torch.cat([one[1] for one in each]))


def test_what_comes_back_is_ready_for_export(original: Any, tmp_path: Path) -> None:
    path = save({"model": original.state_dict()}, tmp_path / "mine.pth")
    module = load_model(path).module
    assert not module.training
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        assert value.device.type == "cpu" and not value.requires_grad, name
        assert value.dtype == torch.float32 and value.is_contiguous(), name


def test_transformers_file(tmp_path: Path) -> None:
    theirs = transformers_models.sam_like(SMALL)
    randomise(theirs, seed=32)
    path = transformers_models.save(theirs, tmp_path)
    for source in (path, tmp_path):
        loaded = load_model(source, "sam")
        assert (loaded.architecture, loaded.format) == ("small", "transformers")
    image = images(SMALL.image_size, 1)
    planes = ((image.float() - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)).permute(
        0, 3, 1, 2
    )
    module = sam_of(loaded)
    with torch.inference_mode():
        expected = theirs.get_image_embeddings(planes)
        assert_same_numbers(module.encode(image), expected)
        boxes = corners().view(1, 3, 4)
        several, one = (
            theirs(image_embeddings=expected, input_boxes=boxes, multimask_output=multiple)
            for multiple in (True, False)
        )
        masks, scores = module.decode(expected, corners(), box_labels())
    assert_same_numbers(masks, torch.cat([one.pred_masks, several.pred_masks], 2)[0])
    assert_same_numbers(scores, torch.cat([one.iou_scores, several.iou_scores], 2)[0])
