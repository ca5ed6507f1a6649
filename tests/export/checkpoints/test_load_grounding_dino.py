"""Grounding DINO from official and transformers' files, against the models that wrote them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.export.checkpoints.small import DINO, ROWS, known, save
from tests.oracles import grounding_dino_original, transformers_models
from tests.oracles.compare import assert_same_numbers
from tests.oracles.weights import randomise
from torch import Tensor

from t2s_export.architectures.grounding_dino import SWIN_T, GroundingDino
from t2s_export.architectures.grounding_dino.decoder import BoxRefinement
from t2s_export.checkpoints.loading import LoadedModel, load_model
from t2s_export.checkpoints.table import Architecture
from t2s_export.errors import CheckpointError

# "a . b c ." in the special tokens of bert-base-uncased
CAPTION = torch.tensor([[101, 311, 1012, 417, 345, 1012, 102]])
TOLERANCE = 2e-4
"""Of the largest value: each decoder layer samples where the one before it points."""


def image(height: int = 96, width: int = 128) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    shape = (1, height, width, 3)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def planes(pixels: Tensor) -> Tensor:
    mean, std = torch.tensor(DINO.pixel_mean), torch.tensor(DINO.pixel_std)
    return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)


def detector(loaded: LoadedModel) -> GroundingDino:
    assert isinstance(loaded.module, GroundingDino)
    return loaded.module


def epsilon_in_use(module: GroundingDino) -> float:
    found = {one.epsilon for one in module.modules() if isinstance(one, BoxRefinement)}
    assert len(found) == 1
    return found.pop()


# The official package fixes the backbone and the width; all else is small.
OFFICIAL = dataclasses.replace(
    SWIN_T,
    ffn_width=128,
    encoder_layers=1,
    decoder_layers=2,
    queries=50,
    vocabulary_size=1100,
    bert_width=32,
    bert_layers=1,
    bert_heads=2,
    bert_ffn_width=48,
)


@pytest.fixture(scope="module")
def original() -> Any:
    model = grounding_dino_original.build_like(OFFICIAL)
    randomise(model, seed=51)
    return model.requires_grad_(False)


def test_official_file(original: Any, tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in original.state_dict().items()}
    path = save({"model": state, "epoch": 1}, tmp_path / "any.pth")
    with known(Architecture("grounding_dino", "swin_t", GroundingDino, OFFICIAL)):
        loaded = load_model(path, "grounding_dino", "swin_t")
    assert loaded.format == "official"
    assert loaded.source["inverse_sigmoid_epsilon"] == 1e-3
    module = detector(loaded)
    assert epsilon_in_use(module) == 1e-3
    mask, positions = grounding_dino_original.text_masks(CAPTION)
    real = torch.ones_like(CAPTION, dtype=torch.bool)
    with torch.inference_mode():
        features = grounding_dino_original.encode_text(original, CAPTION, mask, positions)
        assert_same_numbers(module.encode_text(CAPTION, positions, mask), features)
        expected = grounding_dino_original.detect(
            original, planes(image()), features, real, mask, positions
        )
        found = module.detect(image(), features, real, mask, positions, expected["selected"])
    length = CAPTION.shape[1]
    assert_same_numbers(found.logits, expected["logits"][..., :length], tolerance=TOLERANCE)
    assert_same_numbers(found.boxes, expected["boxes"], tolerance=TOLERANCE)


def small_transformers() -> Any:
    model = transformers_models.grounding_dino_like(DINO)
    randomise(model, seed=52)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def theirs() -> Any:
    return small_transformers()


@pytest.fixture
def _small() -> Iterator[None]:
    with known(*ROWS):
        yield


@pytest.fixture
def published(theirs: Any, tmp_path: Path) -> Path:
    return transformers_models.save(theirs, tmp_path)


def assert_same_detections(module: GroundingDino, theirs: Any) -> None:
    texts: list[Tensor] = []
    hook = theirs.model.text_projection.register_forward_hook(
        lambda layer, inputs, output: texts.append(output)
    )
    with torch.inference_mode(), transformers_models.recorded_selection() as selected:
        expected = theirs(
            pixel_values=planes(image()),
            input_ids=CAPTION,
            attention_mask=torch.ones_like(CAPTION),
            token_type_ids=torch.zeros_like(CAPTION),
        )
    hook.remove()
    mask, positions = grounding_dino_original.text_masks(CAPTION)
    real = torch.ones_like(CAPTION, dtype=torch.bool)
    length = CAPTION.shape[1]
    with torch.inference_mode():
        assert_same_numbers(module.encode_text(CAPTION, positions, mask), texts[0][:, :length])
        found = module.detect(image(), texts[0][:, :length], real, mask, positions, selected[0])
    assert_same_numbers(found.logits, expected.logits[..., :length], tolerance=TOLERANCE)
    assert_same_numbers(found.boxes, expected.pred_boxes, tolerance=TOLERANCE)


@pytest.mark.usefixtures("_small")
def test_transformers_file(published: Path, theirs: Any) -> None:
    names = set(load_file(published))
    # as published, and unlike the names of the model in memory
    assert any(".attention.self.query." in name for name in names)
    loaded = load_model(published, "grounding_dino", "small")
    assert loaded.format == "transformers"
    assert loaded.source["inverse_sigmoid_epsilon"] == 1e-5
    assert epsilon_in_use(detector(loaded)) == 1e-5
    assert_same_detections(detector(loaded), theirs)


@pytest.mark.usefixtures("_small")
def test_names_of_transformers_5_in_memory(theirs: Any, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in theirs.state_dict().items()}
    assert any(".attention.q_proj." in name for name in state)
    save_file(state, tmp_path / "model.safetensors")
    assert_same_detections(detector(load_model(tmp_path)), theirs)


@pytest.mark.usefixtures("_small")
def test_constants_that_older_releases_stored_are_dropped(published: Path) -> None:
    block = "model.backbone.conv_encoder.model.encoder.layers.0.blocks.0.attention.self"
    extra = {
        f"{block}.relative_position_index": torch.zeros(16, 16, dtype=torch.int64),
        "model.text_backbone.embeddings.position_ids": torch.arange(64)[None],
        "model.text_backbone.pooler.dense.bias": torch.zeros(32),
    }
    save_file({**load_file(published), **extra}, published)
    assert load_model(published).architecture == "small"


@pytest.mark.usefixtures("_small")
def test_box_heads_that_differ_are_refused(published: Path) -> None:
    state = load_file(published)
    name = "bbox_embed.0.layers.2.bias"
    state["model.decoder.bbox_embed.1.layers.2.bias"] = state[name] + 1
    save_file(state, published)
    with pytest.raises(CheckpointError, match=r"to be one shared tensor.*different values"):
        load_model(published)


@pytest.mark.usefixtures("_small")
def test_a_missing_part_is_named(published: Path) -> None:
    state = load_file(published)
    stored = "model.encoder.layers.1.text_enhancer_layer.self_attn.key.bias"
    del state[stored]
    save_file(state, published)
    part = r"1 missing: transformer\.encoder\.text_layers\.1\.self_attn\.in_proj_bias"
    with pytest.raises(CheckpointError, match=part + r" \(part 2 of 3\)"):
        load_model(published)
