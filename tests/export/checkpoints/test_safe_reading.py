"""Files that want to run something, and files that are not what they seem."""

from __future__ import annotations

import argparse
import gzip
import os
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tests.export.checkpoints.small import save
from torch import Tensor

from t2s_export.checkpoints.reading import read_checkpoint
from t2s_export.errors import CheckpointError

WEIGHTS = {"a.weight": torch.arange(64.0).view(8, 8), "a.bias": torch.full((8,), 0.5)}


class Payload:
    """Unpickling this makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def hostile_zip(mark: Path, path: Path) -> None:
    torch.save({"model": WEIGHTS, "note": Payload(mark)}, path)


def hostile_weight(mark: Path, path: Path) -> None:
    torch.save({**WEIGHTS, "a.weight": Payload(mark)}, path)


def hostile_legacy(mark: Path, path: Path) -> None:
    torch.save({"note": Payload(mark)}, path, _use_new_zipfile_serialization=False)


def hostile_pickle(mark: Path, path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(mark)))


def hostile_text_pickle(mark: Path, path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(mark), protocol=0))


def hostile_tar(mark: Path, path: Path) -> None:
    """torch's format of before 0.1.10: a tar of pickles."""
    inner = path.with_suffix(".inner")
    inner.write_bytes(pickle.dumps(Payload(mark)))
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.add(inner, name)


def hostile_gzip(mark: Path, path: Path) -> None:
    path.write_bytes(gzip.compress(pickle.dumps(Payload(mark))))


def hostile_archive(mark: Path, path: Path) -> None:
    """A TorchScript archive whose description of the module is such a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("any/data.pkl", pickle.dumps(Payload(mark)))
        archive.writestr("any/constants.pkl", pickle.dumps(Payload(mark)))
        archive.writestr("any/version", "3\n")


HOSTILE = [
    hostile_zip,
    hostile_weight,
    hostile_legacy,
    hostile_pickle,
    hostile_text_pickle,
    hostile_tar,
    hostile_gzip,
    hostile_archive,
]


@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize("name", ["sam.pth", "model.safetensors"])
def test_no_payload_runs(make: Callable[[Path, Path], None], name: str, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    make(mark, tmp_path / name)
    with pytest.raises(CheckpointError, match=name):
        read_checkpoint(tmp_path / name)
    assert not mark.exists()


def test_the_payload_does_run_where_pickles_are_trusted(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    for index, make in enumerate((hostile_zip, hostile_weight, hostile_legacy)):
        mark = tmp_path / f"mark {index}"
        make(mark, tmp_path / "file.pth")
        torch.load(tmp_path / "file.pth", weights_only=False)
        assert mark.is_dir()


class Restoring(torch.nn.Module):
    """A module of which TorchScript itself runs code when it is loaded."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self.mark = mark
        self.weight = torch.nn.Parameter(torch.ones(3))

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool, str]:
        return (self.weight, self.training, self.mark)

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool, str]) -> None:
        self.weight = state[0]  # type: ignore[assignment]
        self.training = state[1]
        self.mark = state[2]
        torch.save(state[0], self.mark)

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, self.mark)
        return x * self.weight


class Writing(torch.nn.Module):
    """A module whose forward writes a file."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self.mark = mark
        self.inner = torch.nn.Linear(2, 3)
        self.register_buffer("count", torch.tensor(7))

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, self.mark)
        return x


def script(module: torch.nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        scripted: Any = torch.jit.script(module)
        scripted.save(str(path))
    return path


def test_no_code_of_an_archive_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = script(Restoring(str(mark)), tmp_path / "restoring.pt")
    with pytest.raises(CheckpointError, match="expected tensors by name"):
        read_checkpoint(path)
    assert not mark.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    assert mark.exists()  # which is why it is not used


def test_tensors_of_an_archive_are_those_of_its_state_dict(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    module = Writing(str(mark))
    found = read_checkpoint(script(module, tmp_path / "writing.pt"))
    assert found.container == "torchscript"
    assert found.tensors.keys() == module.state_dict().keys()
    for name, value in module.state_dict().items():
        assert torch.equal(found.tensors[name], value) and found.tensors[name].dtype == value.dtype
    assert not mark.exists()


def test_views_in_an_archive_keep_their_strides(tmp_path: Path) -> None:
    module = torch.nn.Module()
    base = torch.arange(24.0).view(4, 6)
    for name, value in (("turned", base.t()), ("part", base[1:3, 2:5]), ("small", base.half())):
        module.register_buffer(name, value)
    module.register_buffer("nothing", torch.empty(0, 3))
    found = read_checkpoint(script(module, tmp_path / "views.pt")).tensors
    assert torch.equal(found["turned"], base.t()) and torch.equal(found["part"], base[1:3, 2:5])
    assert torch.equal(found["small"], base.half()) and found["nothing"].shape == (0, 3)


def crafted_archive(path: Path, storage: bytes, layout: bytes) -> Path:
    """An archive of one tensor "w" over four floats, described as the attacker likes.

    Args:
        path: of the archive.
        storage: pickle opcodes that push the storage's type.
        layout: those that push offset, size and stride.
    """
    reference = (
        b"(X\x07\x00\x00\x00storage" + storage + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    )
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + reference + layout + b"I00\n}tR"
    module = b"\x80\x02c__torch__\nM\n)\x81}X\x01\x00\x00\x00w" + tensor + b"sb."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", module)
        archive.writestr("a/constants.pkl", b"\x80\x02).")
        archive.writestr("a/data/0", torch.arange(4.0).numpy().tobytes())
    return path


FLOATS = b"ctorch\nFloatStorage\n"


def test_a_crafted_archive_is_one(tmp_path: Path) -> None:
    path = crafted_archive(tmp_path / "a.pt", FLOATS, b"K\x01(K\x03t(K\x01t")
    assert read_checkpoint(path).tensors["w"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("storage", "layout"),
    [
        (FLOATS, b"K\x01(K\x04t(K\x01t"),
        (FLOATS, b"J\xff\xff\xff\xff(K\x03t(K\x01t"),
        (FLOATS, b"K\x00(K\x03t(J\xff\xff\xff\xfft"),
        (FLOATS, b"K\x00(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft(K\x01K\x01t"),
        (b"ctorch\nDoubleStorage\n", b"K\x00(K\x04t(K\x01t"),
        (b"ctorch\nQInt8Storage\n", b"K\x00(K\x04t(K\x01t"),
        (b"cos\nsystem\n", b"K\x00(K\x04t(K\x01t"),
    ],
    ids=["beyond", "before", "backwards", "endless", "wide", "quantised", "no type"],
)
def test_a_tensor_cannot_leave_its_storage(storage: bytes, layout: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a.pt: expected a"):
        read_checkpoint(crafted_archive(tmp_path / "a.pt", storage, layout))


def write_torch(path: Path) -> None:
    save(WEIGHTS, path)


def write_legacy(path: Path) -> None:
    save(WEIGHTS, path, _use_new_zipfile_serialization=False)


def write_safetensors(path: Path) -> None:
    save_file(WEIGHTS, path)


def write_archive(path: Path) -> None:
    script(torch.nn.Linear(8, 8), path)


WRITERS = [write_torch, write_legacy, write_safetensors, write_archive]
same_folder = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("write", WRITERS)
@same_folder
@given(share=st.floats(0, 1, exclude_max=True))
def test_cut_files_are_refused(write: Callable[[Path], None], share: float, tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="file: expected a"):
        read_checkpoint(path)


@pytest.mark.parametrize("write", WRITERS)
@same_folder
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_damaged_byte_ends_in_tensors_or_in_our_error(
    write: Callable[[Path], None], place: float, bits: int, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    write(path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= bits
    path.write_bytes(content)
    try:
        found = read_checkpoint(path).tensors
    except CheckpointError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(value, Tensor) for value in found.values())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found an empty one"),
        (b"<!DOCTYPE html><title>Sign in</title>", "begins with b'<!DOCTYP'.*a page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04 and then something else", "whose end is missing"),
        (b"\xff" * 64, "begins with"),
    ],
)
def test_other_files_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "sam_vit_b_01ec64.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"(?s)sam_vit_b_01ec64.pth.*{words}"):
        read_checkpoint(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(CheckpointError, match="expected a checkpoint, found none.*pull"):
            read_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {}}, torch.ones(2)])
def test_files_without_weights_are_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected tensors by name"):
        read_checkpoint(save(content, tmp_path / "a.pth"))


def test_the_arguments_of_training_may_lie_beside_the_weights(tmp_path: Path) -> None:
    content = {"model": WEIGHTS, "args": argparse.Namespace(lr=1e-4), "epoch": 11}
    found = read_checkpoint(save(content, tmp_path / "a.pth"))
    assert found.tensors.keys() == WEIGHTS.keys()


def test_two_models_in_one_file_are_refused(tmp_path: Path) -> None:
    content = {"module.a": torch.ones(1), "a": torch.ones(1)}
    with pytest.raises(CheckpointError, match="'a' with and without the prefix 'module.'"):
        read_checkpoint(save(content, tmp_path / "a.pth"))
