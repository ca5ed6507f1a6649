"""Which file in a folder of checkpoints holds a wanted model or vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from t2s_export.checkpoints.files import file_path
from t2s_export.checkpoints.loading import recognise
from t2s_export.checkpoints.reading import read_checkpoint
from t2s_export.checkpoints.registry import MODELS, ModelEntry, find_model
from t2s_export.errors import CheckpointError
from t2s_rt.bundle import sha256_file

__all__ = ["find_checkpoint", "find_vocabulary"]

_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
_FAMILIES = {
    "sam": ("sam", "mobile_sam"),
    "grounding_dino": ("grounding_dino",),
    "clip": ("clip", "laion_clip", "remote_clip", "georsclip"),
}
"""The registry's families, which name publishers too, by those of `load_model`."""
_OPTIONS = {"sam": "--sam", "grounding_dino": "--detector", "clip": "--clip"}
"""Of ``t2s-rt export``, which names a file by what it is for."""
_VOCABULARIES = {
    "bert": ("bert-base-uncased-vocab", "vocab.txt"),
    "clip": ("bpe_simple_vocab_16e6", "bpe_simple_vocab_16e6.txt.gz"),
}
"""Row of the registry, and the name that the file has where it was published."""


def find_checkpoint(folder: Path, family: str, architectures: Sequence[str]) -> Path:
    """The one file in a folder that holds a model.

    Files by the registry's names come first, whatever they hold: `load_model` says what is wrong
    with one. Else every file there and one folder below is looked at by its tensors' names and
    shapes; their values are not read, but for files of torch before 1.6.

    Args:
        folder: of checkpoints.
        family: "sam", "grounding_dino" or "clip".
        architectures: those that will do.

    Raises:
        CheckpointError: there is none, or there are several.
    """
    _check_folder(folder)
    rows = [row for row in MODELS if _is_wanted(row, family, architectures)]
    named = [file_path(folder, row) for row in rows]
    found = [path for path in named if path.is_file()]
    unread: list[str] = []
    if not found:
        for path in _candidates(folder):
            try:
                fit = recognise(read_checkpoint(path), family).fit
            except CheckpointError as error:
                unread.append(str(error))
                continue
            if fit.architecture.name in architectures:
                found.append(path)
    what = f"{family} {' or '.join(architectures)}"
    if len(found) > 1:
        raise CheckpointError(
            f"{folder}: expected one checkpoint of {what}, found "
            f"{', '.join(str(path.relative_to(folder)) for path in found)}; name the one to use "
            f"with {_OPTIONS[family]}"
        )
    if not found:
        looked = ", ".join(path.name for path in named)
        why = f" (looked at, and not it: {'; '.join(unread)})" if unread else ""
        cure = " or ".join(f"t2s-rt models pull {row.id}" for row in rows)
        raise CheckpointError(
            f"{folder}: expected a checkpoint of {what}, by the name {looked} or another, found "
            f"none{why}; get one with: {cure}"
        )
    return found[0]


def find_vocabulary(folder: Path, name: Literal["bert", "clip"]) -> Path:
    """The file of a tokenizer's vocabulary, checked by its hash.

    Args:
        folder: of checkpoints; a folder below is looked into too.
        name: whose vocabulary: "bert" is that of bert-base-uncased for Grounding DINO.

    Raises:
        CheckpointError: it is missing, or all that there is has another hash.
    """
    _check_folder(folder)
    row_id, plain = _VOCABULARIES[name]
    row = find_model(row_id)
    wrong: list[str] = []
    for path in (file_path(folder, row), folder / plain, *sorted(folder.glob(f"*/{plain}"))):
        if not path.is_file():
            continue
        try:
            digest = sha256_file(path)
        except OSError as error:
            wrong.append(f"{path.name} cannot be read ({error.strerror or error})")
            continue
        if digest == row.sha256:
            return path
        wrong.append(f"{path.relative_to(folder)} with {digest}")
    raise CheckpointError(
        f"{folder}: expected the vocabulary {row.file} or {plain} with SHA-256 {row.sha256}, "
        f"found {', '.join(wrong) or 'none'}; get it with: t2s-rt models pull {row.id}"
    )


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: expected a folder of checkpoints, found none; name it with --checkpoints, "
            "and fill it with: t2s-rt models pull ID"
        )


def _is_wanted(row: ModelEntry, family: str, architectures: Sequence[str]) -> bool:
    """Whether a row of the registry is such a model; it says "336px" where all others say 336."""
    return row.family in _FAMILIES[family] and row.architecture.removesuffix("px") in architectures


def _candidates(folder: Path) -> Iterator[Path]:
    """Files that could be checkpoints, here and one folder below, by name."""
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if path.suffix in _SUFFIXES and path.is_file():
            yield path
