"""Tensors out of a checkpoint file, whatever its format, without running anything that is in it.

A ``.pth`` or ``.pt`` is a pickle, and a pickle is a program. Three ways in are safe and the only
ones used: torch's restricted unpickler (``weights_only``), ``safetensors``, and for TorchScript
archives a reader of our own that takes the tensors and leaves the code (see `torchscript`). The
format is told by the content; names lie.

Tensors are mapped from the file, but for torch's format of before 1.6: reading their names and
shapes costs next to nothing, and the file must stay as it is while they are in use.
"""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from t2s_export.checkpoints.torchscript import is_torchscript, read_torchscript
from t2s_export.errors import CheckpointError

__all__ = ["Checkpoint", "checkpoint_file", "read_checkpoint"]

Container = Literal["torch", "torchscript", "safetensors"]

_WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Where training scripts put the weights beside optimiser and epoch; Grounding DINO uses the
first, open_clip the second."""
_PREFIX = "module."
"""What torch's distributed training puts before every name."""
_IN_FOLDER = ("model.safetensors", "open_clip_model.safetensors")
"""As transformers and open_clip save it."""
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_HEADER_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""The format's own limit of a safetensors header."""
_HARMLESS: list[Any] = [argparse.Namespace]
"""Classes that may lie beside the weights: the arguments of training, which Grounding DINO's
scripts save. Making one calls nothing but its own constructor, which stores what it is given."""
_TORCH_ADVICE = ("Weights only load failed", "Please file an issue")
"""How lines of torch begin that advise to load the file unsafely: not ours to pass on."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one file.

    Attributes:
        path: the file.
        container: its format.
        tensors: by stored name without ``module.``, on the CPU, in their stored types.
    """

    path: Path
    container: Container
    tensors: dict[str, Tensor]


def checkpoint_file(path: Path) -> Path:
    """The file itself, or the one in a folder as transformers or open_clip saves it."""
    if path.is_dir():
        for name in _IN_FOLDER:
            if (path / name).is_file():
                return path / name
        return path / _IN_FOLDER[0]
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Read all tensors of a file.

    Args:
        path: a ``.pth``, ``.pt``, ``.bin``, ``.safetensors`` file; or a folder with
            ``model.safetensors``, as transformers saves it.

    Raises:
        CheckpointError: the file is missing, truncated, of another format, or wants to run code.
    """
    path = checkpoint_file(path)
    container = _container(path)
    try:
        if container == "safetensors":
            stored: Any = load_file(path)
        elif container == "torchscript":
            stored = read_torchscript(path)
        else:
            stored = _load_torch(path)
    except pickle.UnpicklingError as cause:
        raise CheckpointError(
            f"{path}: expected a checkpoint of plain tensors, found objects that the safe "
            f"loader refuses ({_reason(cause)}); unpickling them could run any program, so "
            "convert the file to safetensors where you trust it"
        ) from cause
    except Exception as cause:  # on damaged files these parsers raise whatever comes
        raise CheckpointError(
            f"{path}: expected a whole {container} file, found one that cannot be read "
            f"({_reason(cause)}); download it again, then `t2s-rt models verify`"
        ) from cause
    return Checkpoint(path, container, _tensors(path, stored))


def _load_torch(path: Path) -> Any:
    """What a torch file holds, by the restricted unpickler."""
    with path.open("rb") as file:
        # the older format cannot be mapped
        mapped = file.read(len(_ZIP)) == _ZIP
    with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on protocols and storages of older torch
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


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
        try:
            return "torchscript" if is_torchscript(path) else "torch"
        except (zipfile.BadZipFile, OSError, ValueError) as cause:
            raise CheckpointError(
                f"{path}: expected a whole torch file, found one whose end is missing ({cause}); "
                "download it again, then `t2s-rt models verify`"
            ) from cause
    length = int.from_bytes(head[:_HEADER_BYTES], "little")
    if head[_HEADER_BYTES:] == b"{" and length <= _LONGEST_HEADER:
        return "safetensors"
    if head.startswith(_PICKLE):
        return "torch"  # torch's format of before 1.6
    raise CheckpointError(
        f"{path}: expected a torch, TorchScript or safetensors file, found "
        + (f"one that begins with {head[:_HEADER_BYTES]!r}" if head else "an empty one")
        + "; a page or a Git LFS pointer saved in its place is the usual reason: download the "
        "file itself"
    )


def _tensors(path: Path, stored: Any) -> dict[str, Tensor]:
    """The state dict in a file, taken out of what training scripts wrap around it."""
    state = stored
    for name in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    tensors: dict[str, Tensor] = {}
    for name, value in state.items() if isinstance(state, Mapping) else ():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            continue
        short = name.removeprefix(_PREFIX)
        if short in tensors:
            raise CheckpointError(
                f"{path}: expected each tensor once, found {short!r} with and without the prefix "
                f"{_PREFIX!r}; save the weights of one model only"
            )
        tensors[short] = value
    if not tensors:
        found = sorted(map(str, stored))[:8] if isinstance(stored, Mapping) else type(stored)
        raise CheckpointError(
            f"{path}: expected tensors by name, alone or under {', '.join(_WRAPPERS)}, found "
            f"{found}; this is no checkpoint of a model"
        )
    return tensors


def _reason(cause: BaseException) -> str:
    """What an error says first that a reader can use."""
    for line in str(cause).strip().splitlines():
        if line.strip() and not line.strip().startswith(_TORCH_ADVICE):
            return line.strip()[:200]
    return type(cause).__name__
