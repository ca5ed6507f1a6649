"""What the loader says of files that it can read and will not take, and of those that it takes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.export.checkpoints.small import CLIP, ROWS, known, save
from tests.export.sam.conftest import SMALL
from tests.oracles.weights import randomise
from torch import Tensor

from t2s_export.architectures.clip import Clip
from t2s_export.architectures.sam import Sam
from t2s_export.checkpoints import loading
from t2s_export.checkpoints.loading import load_model
from t2s_export.checkpoints.registry import MODELS, ModelEntry
from t2s_export.errors import CheckpointError

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with known(*ROWS):
        yield


@pytest.fixture
def state() -> State:
    model = Sam(SMALL)
    randomise(model, seed=61)
    return dict(model.state_dict())


def refused(content: Any, folder: Path, *arguments: Any) -> str:
    path = save(content, folder / "file.pth")
    with pytest.raises(CheckpointError) as caught:
        load_model(path, *arguments)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    assert "found" in message
    return message


def test_missing_tensors_are_named_and_counted(state: State, tmp_path: Path) -> None:
    gone = [name for name in state if name.startswith("image_encoder.blocks.2.")][:10]
    kept = {name: value for name, value in state.items() if name not in gone}
    message = refused(kept, tmp_path)
    assert f"10 missing: {', '.join(gone[:8])} and 2 more" in message
    assert "sam small" in message and gone[9] not in message


def test_unexpected_tensors_are_named_as_stored(state: State, tmp_path: Path) -> None:
    extra = {f"module.image_encoder.extra.{index}": torch.ones(1) for index in range(3)}
    message = refused({**state, **extra}, tmp_path)
    names = ", ".join(f"image_encoder.extra.{index}" for index in range(3))
    assert f"found 3 unexpected: {names};" in message


def test_misshapen_tensors_are_named_with_both_shapes(state: State, tmp_path: Path) -> None:
    state["mask_decoder.iou_token.weight"] = torch.ones(2, 32)
    state["image_encoder.pos_embed"] = torch.ones(1, 6, 6, 32)
    message = refused(state, tmp_path)
    assert "2 misshapen: " in message
    assert "image_encoder.pos_embed (expected (1, 12, 12, 32), found (1, 6, 6, 32))" in message
    assert "mask_decoder.iou_token.weight (expected (1, 32), found (2, 32))" in message


def test_the_size_of_a_claim_is_not_believed(state: State, tmp_path: Path) -> None:
    state["image_encoder.pos_embed"] = torch.ones(1).expand(1 << 20, 1 << 20)
    assert "found (1048576, 1048576)" in refused(state, tmp_path)


def test_another_family_than_the_one_named(state: State, tmp_path: Path) -> None:
    assert "expected a checkpoint of clip, found one of sam" in refused(state, tmp_path, "clip")


def test_another_architecture_than_the_one_named(state: State, tmp_path: Path) -> None:
    message = refused(state, tmp_path, "sam", "larger")
    assert "expected a sam of architecture larger, found small" in message
    message = refused(state, tmp_path, None, "vit_b")
    assert "architecture vit_b, found no such architecture; known are small, larger" in message


def test_a_damaged_file_of_another_architecture_than_the_one_named(
    state: State, tmp_path: Path
) -> None:
    del state["image_encoder.pos_embed"]
    message = refused(state, tmp_path, "sam", "larger")
    assert "sam larger in official names" in message and "nearest to it is small" in message


def test_models_of_no_known_family(tmp_path: Path) -> None:
    message = refused({"conv1.weight": torch.ones(3), "fc.bias": torch.ones(3)}, tmp_path)
    assert "SAM, Grounding DINO or CLIP" in message and "conv1.weight, fc.bias" in message
    assert "expected a checkpoint of sam" in refused({"a": torch.ones(3)}, tmp_path, "sam")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite(value: float, state: State, tmp_path: Path) -> None:
    state["mask_decoder.iou_token.weight"][0, 5] = value
    message = refused(state, tmp_path)
    assert "NaN or infinity in mask_decoder.iou_token.weight;" in message


def test_values_beyond_float32(state: State, tmp_path: Path) -> None:
    state["mask_decoder.iou_token.weight"] = torch.full((1, 32), 1e300, dtype=torch.float64)
    assert "NaN or infinity in mask_decoder.iou_token.weight;" in refused(state, tmp_path)


@pytest.mark.parametrize(
    "change",
    [Tensor.to_sparse, lambda value: value.to(torch.complex64), lambda value: value.to("meta")],
    ids=["sparse", "complex", "meta"],
)
def test_tensors_that_hold_no_plain_numbers(
    change: Callable[[Tensor], Tensor], state: State, tmp_path: Path
) -> None:
    state["mask_decoder.iou_token.weight"] = change(state["mask_decoder.iou_token.weight"])
    message = refused(state, tmp_path)
    assert "dense tensors of real numbers, found mask_decoder.iou_token.weight (torch." in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_every_stored_type_becomes_float32(
    dtype: torch.dtype, state: State, tmp_path: Path
) -> None:
    stored = {name: (4 * value).to(dtype) for name, value in state.items()}
    loaded = load_model(save(stored, tmp_path / "file.pth"))
    assert loaded.source["dtype"] == str(dtype).removeprefix("torch.")
    for name, value in loaded.module.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, stored[name].float()), name


def test_mixed_types_are_recorded(state: State, tmp_path: Path) -> None:
    name = "mask_decoder.iou_token.weight"
    loaded = load_model(save({**state, name: state[name].half()}, tmp_path / "file.pth"))
    assert loaded.source["dtype"] == "float16+float32"


def test_what_no_forward_reads_is_dropped(state: State, tmp_path: Path) -> None:
    extra = {
        "pixel_mean": torch.ones(3, 1, 1),
        "image_encoder.norm_head.weight": torch.ones(4),
        "image_encoder.head.bias": torch.ones(4),
        "image_encoder.layers.0.bn.num_batches_tracked": torch.tensor(3),
    }
    assert load_model(save({**state, **extra}, tmp_path / "file.pth")).architecture == "small"


def addresses(path: Path) -> list[range]:
    """Where in memory a file is mapped."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux tells what is mapped")
    lines = [line.split(maxsplit=5) for line in maps.read_text().splitlines()]
    spans = [line[0].split("-") for line in lines if line[-1] == str(path)]
    return [range(int(first, 16), int(last, 16)) for first, last in spans]


@pytest.mark.parametrize("write", [save, save_file])
def test_weights_are_mapped_and_changing_them_leaves_the_file_alone(
    write: Callable[[State, Path], Any], state: State, tmp_path: Path
) -> None:
    path = tmp_path / "file.any"
    write(state, path)
    before = path.read_bytes()
    module = load_model(path).module
    mapped = addresses(path)
    for value in module.parameters():
        assert any(value.data_ptr() in one for one in mapped)
        value.add_(1.0)
    assert path.read_bytes() == before
    for name, value in module.state_dict().items():
        if name.endswith("weight"):
            assert torch.equal(value, state[name] + 1.0)


def test_buffers_that_no_file_holds_are_real(state: State, tmp_path: Path) -> None:
    loaded = load_model(save(state, tmp_path / "sam.pth")).module
    expected = dict(Sam(SMALL).named_buffers())
    for name, value in loaded.named_buffers():
        assert not value.is_meta
        if name not in state:
            assert torch.equal(value, expected[name]), name


def entry(file: str, sha256: str | None) -> ModelEntry:
    url = "https://example.org/file"
    return ModelEntry("the-id", "sam", "vit_b", "torch", file, url, "MIT", sha256)


def test_the_source_is_that_of_the_registry(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(state, tmp_path / "file.pth")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = {
        "checkpoint": "file.pth",
        "sha256": digest,
        "bytes": path.stat().st_size,
        "dtype": "float32",
    }
    row = {"id": "the-id", "family": "sam", "url": "https://example.org/file", "licence": "MIT"}
    for registered, expected in (
        (entry("other.pth", digest), {"registry": "sha256", **row}),
        (entry("file.pth", None), {"registry": "file name", **row}),
        (entry("file.pth", "0" * 64), {"registry": None}),  # altered since
        (entry("other.pth", None), {"registry": None}),
    ):
        monkeypatch.setattr(loading, "MODELS", (registered,))
        assert load_model(path).source == {**facts, **expected}


def test_the_activation_by_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(Clip(CLIP).state_dict(), tmp_path / "RS5M_ViT-B-32.pt")
    row = replace(entry("x", hashlib.sha256(path.read_bytes()).hexdigest()), family="remote_clip")
    monkeypatch.setattr(loading, "MODELS", (replace(row, quick_gelu=False), *MODELS))
    source = load_model(path).source
    assert (source["quick_gelu"], source["quick_gelu_from"]) == (False, "sha256")


def test_messages_fit_a_screen(state: State, tmp_path: Path) -> None:
    nonsense = {f"image_encoder.{index}": torch.ones(1) for index in range(500)}
    message = refused({**nonsense, "mask_decoder.x": torch.ones(1)}, tmp_path)
    assert re.search(r"\d+ missing: .* and \d+ more; 501 unexpected: .* and 493 more;", message)
    assert len(message) < 2000
