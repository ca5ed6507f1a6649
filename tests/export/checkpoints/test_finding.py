"""Which file of a folder is taken."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save_file
from tests.export.checkpoints.small import CLIP, ROWS, known, save
from tests.export.sam.conftest import LARGER, SMALL

from t2s_export.architectures.clip import Clip
from t2s_export.architectures.sam import Sam
from t2s_export.checkpoints.finding import find_checkpoint, find_vocabulary
from t2s_export.errors import CheckpointError


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with known(*ROWS):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two SAMs and a CLIP by names of their owners, and things that are no checkpoints."""
    save({"state_dict": Sam(SMALL).state_dict()}, tmp_path / "fine tuned.pth")
    (tmp_path / "from the hub").mkdir()
    save_file(Sam(LARGER).state_dict(), tmp_path / "from the hub" / "model.safetensors")
    save(Clip(CLIP).state_dict(), tmp_path / "ours.bin", _use_new_zipfile_serialization=False)
    (tmp_path / "notes.txt").write_text("sam")
    (tmp_path / "page.pth").write_text("<html>")
    (tmp_path / "folder.pth").mkdir()
    return tmp_path


def test_files_are_found_by_what_they_hold(folder: Path) -> None:
    assert find_checkpoint(folder, "sam", ["small"]) == folder / "fine tuned.pth"
    hub = folder / "from the hub" / "model.safetensors"
    assert find_checkpoint(folder, "sam", ["larger", "vit_b"]) == hub
    assert find_checkpoint(folder, "clip", ["small"]) == folder / "ours.bin"


def test_the_registrys_names_come_first(folder: Path) -> None:
    path = folder / "sam_vit_b_01ec64.pth"
    path.write_bytes(b"whatever it is, loading it will tell")
    assert find_checkpoint(folder, "sam", ["small", "vit_b"]) == path
    assert find_checkpoint(folder, "sam", ["small"]) == folder / "fine tuned.pth"


@pytest.mark.parametrize(
    ("family", "architecture", "file"),
    [
        ("sam", "tiny_vit", "mobile_sam.pt"),
        ("sam", "vit_h", "sam-vit-huge.safetensors"),
        ("grounding_dino", "swin_b", "grounding-dino-base.safetensors"),
        ("clip", "ViT-B-16", "CLIP-ViT-B-16-laion2B-s34B-b88K.bin"),
        ("clip", "ViT-L-14-336", "ViT-L-14-336px.pt"),
        ("clip", "ViT-B-32", "RemoteCLIP-ViT-B-32.pt"),
        ("clip", "ViT-L-14", "RS5M_ViT-L-14.pt"),
    ],
)
def test_every_publishers_names_are_known(
    family: str, architecture: str, file: str, tmp_path: Path
) -> None:
    (tmp_path / file).touch()
    assert find_checkpoint(tmp_path, family, [architecture]) == tmp_path / file


def test_several_are_named(folder: Path) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"one checkpoint of sam small or larger, found fine tuned.pth, from the hub/"
        r"model.safetensors; name the one to use with --sam$",
    ):
        find_checkpoint(folder, "sam", ["small", "larger"])
    for name in ("ViT-B-16.pt", "CLIP-ViT-B-16-laion2B-s34B-b88K.bin"):
        (folder / name).touch()
    with pytest.raises(CheckpointError, match=r"ViT-B-16.pt, CLIP-ViT-B-16-laion.*--clip"):
        find_checkpoint(folder, "clip", ["ViT-B-16"])


def test_none_says_what_was_looked_for_and_what_helps(folder: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(folder, "grounding_dino", ["swin_t"])
    message = str(caught.value)
    assert "groundingdino_swint_ogc.pth, grounding-dino-tiny.safetensors or another" in message
    assert "t2s-rt models pull groundingdino_swint_ogc or t2s-rt models pull" in message
    assert "page.pth: expected a torch" in message and "notes.txt" not in message


def test_no_folder(tmp_path: Path) -> None:
    message = "expected a folder of checkpoints, found none"
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(tmp_path / "none", "sam", ["vit_b"])
    with pytest.raises(CheckpointError, match=message):
        find_vocabulary(tmp_path / "none", "bert")


@pytest.fixture
def vocabularies(test_data: Path) -> dict[str, Path]:
    """The two official files."""
    folder = test_data / "tokenizers"
    return {
        "bert": folder / "bert" / "vocab.txt",
        "clip": folder / "clip" / "bpe_simple_vocab_16e6.txt.gz",
    }


def test_vocabularies(vocabularies: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"found none; get it with.*pull bert-base-uncased"):
        find_vocabulary(tmp_path, "bert")
    (tmp_path / "grounding-dino-tiny").mkdir()
    below = tmp_path / "grounding-dino-tiny" / "vocab.txt"
    shutil.copy(vocabularies["bert"], below)
    assert find_vocabulary(tmp_path, "bert") == below
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    assert find_vocabulary(tmp_path, "bert") == below
    shutil.copy(vocabularies["bert"], tmp_path / "bert-base-uncased-vocab.txt")
    assert find_vocabulary(tmp_path, "bert") == tmp_path / "bert-base-uncased-vocab.txt"
    shutil.copy(vocabularies["clip"], tmp_path)
    assert find_vocabulary(tmp_path, "clip") == tmp_path / "bpe_simple_vocab_16e6.txt.gz"


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(
        CheckpointError, match=r"SHA-256 07eced.*found vocab.txt with [0-9a-f]{64};"
    ):
        find_vocabulary(tmp_path, "bert")
