"""Tensors out of a checkpoint file, whatever its format, without running anything that is in it.

A ``.pth`` or ``.pt`` is a pickle, and a pickle is a program. Three ways in are safe and the only
ones used: torch's restricted unpickler (``weights_only``), ``safetensors``, and ``torch.jit.load``
for TorchScript archives, of which only the tensors are taken. The format is told by the content;
names lie.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from t2s_export.errors import CheckpointError

__all__ = ["Checkpoint", "read_checkpoint"]

Container = Literal["torch", "torchscript", "safetensors"]

_WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Where training scripts put the weights beside optimiser and epoch; Grounding DINO uses the
first, open_clip the second."""
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_HEADER_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""The format's own limit of a safetensors header."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one file.

    Attributes:
        path: the file.
        container: its format.
        tensors: by stored name, on the CPU, in their stored types.
    """

    path: Path
    container: Container
    tensors: dict[str, Tensor]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read all tensors of a file.

    Args:
        path: a ``.pth``, ``.pt``, ``.bin``, ``.safetensors`` file; or a folder with
            ``model.safetensors``, as transformers saves it.

    Raises:
        CheckpointError: the file is missing, truncated, of another format, or wants to run code.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    container = _container(path)
    try:
        if container == "safetensors":
            stored: Any = load_file(path)
        elif container == "torchscript":
            # the compiled program is parsed but never called: only its tensors are taken
            archive: Any = torch.jit
            stored = archive.load(str(path), map_location="cpu").state_dict()
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as cause:
        raise CheckpointError(
            f"{path}: expected a checkpoint of plain tensors, found objects that torch's safe "
            f"loader refuses ({_first_line(cause)}); unpickling them could run any program, so "
            "convert the file to safetensors where you trust it"
        ) from cause
    except (safetensors.SafetensorError, RuntimeError, OSError, EOFError, ValueError) as cause:
        raise CheckpointError(
            f"{path}: expected a whole {container} file, found one that cannot be read "
            f"({_first_line(cause)}); download it again, then `t2s-rt models verify`"
        ) from cause
    return Checkpoint(path, container, _tensors(path, stored))


def _container(path: Path) -> Container:
    """The format, from the first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES + 1)
    except OSError as cause:
        raise CheckpointError(
            f"{path}: expected a checkpoint, found none ({cause.strerror or cause}); "
            "`t2s-rt models pull` fetches it"
        ) from cause
    if head.startswith(_ZIP):
        return "torchscript" if _is_torchscript(path) else "torch"
    length = int.from_bytes(head[:_HEADER_BYTES], "little")
    if head[_HEADER_BYTES:] == b"{" and length <= _LONGEST_HEADER:
        return "safetensors"
    if head.startswith(_PICKLE):
        return "torch"  # torch's format of before 1.6
    raise CheckpointError(
        f"{path}: expected a torch, TorchScript or safetensors file, found one that begins with "
        f"{head[:_HEADER_BYTES]!r}; a page or a Git LFS pointer saved in its place is the usual "
        "reason: download the file itself"
    )


def _is_zip(path: Path) -> bool:
    """Whether the tensors can be mapped from the file instead of being copied."""
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def _is_torchscript(path: Path) -> bool:
    """TorchScript archives hold code and constants beside the pickle."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile as cause:
        raise CheckpointError(
            f"{path}: expected a whole torch file, found one whose end is missing ({cause}); "
            "download it again, then `t2s-rt models verify`"
        ) from cause


def _tensors(path: Path, stored: Any) -> dict[str, Tensor]:
    """The state dict in a file, taken out of what training scripts wrap around it."""
    state = stored
    for name in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    tensors = (
        {
            name: value
            for name, value in state.items()
            if isinstance(name, str) and isinstance(value, Tensor)
        }
        if isinstance(state, Mapping)
        else {}
    )
    if not tensors:
        found = sorted(map(str, stored))[:8] if isinstance(stored, Mapping) else type(stored)
        raise CheckpointError(
            f"{path}: expected tensors by name, alone or under {', '.join(_WRAPPERS)}, found "
            f"{found}; this is no checkpoint of a model"
        )
    return tensors


def _first_line(cause: BaseException) -> str:
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
