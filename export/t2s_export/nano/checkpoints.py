"""The committed checkpoints of nano: fp16 safetensors with their configuration and history."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from t2s_export.checkout import source_checkout
from t2s_export.nano.auxiliary import PREFIX
from t2s_export.nano.models import build_model, config_of
from t2s_rt.errors import BundleError

__all__ = [
    "CHECKPOINT_DIR",
    "STAGES",
    "CheckpointInfo",
    "StageName",
    "checkpoint_path",
    "load",
    "load_into",
    "read_info",
    "save",
]

StageName = Literal["detector", "clip", "sam"]
STAGES: tuple[StageName, ...] = get_args(StageName)
"""In the order of training: SAM's encoder starts from CLIP's."""
CHECKPOINT_DIR = source_checkout() / "export" / "checkpoints" / "nano"
"""``export/checkpoints/nano`` of a source checkout; not part of the wheel."""
_FORMAT = "t2s-nano-1"


@dataclasses.dataclass(frozen=True)
class CheckpointInfo:
    """Metadata of a checkpoint.

    Attributes:
        stage: which model it is.
        generator_version: version of the synthetic scenes that it saw last.
        config: sizes of the model, as plain JSON.
        history: one entry per training run, oldest first: minutes, steps, images, device,
            generator version, seed and validation figures.
    """

    stage: StageName
    generator_version: str
    config: dict[str, Any]
    history: tuple[dict[str, Any], ...]


def checkpoint_path(stage: StageName, folder: Path | None = None) -> Path:
    """Where the checkpoint of a stage lies."""
    return (folder or CHECKPOINT_DIR) / f"{stage}.safetensors"


def save(model: nn.Module, info: CheckpointInfo, folder: Path | None = None) -> Path:
    """Write a model's weights as fp16 with ``info``; the file appears whole or not at all."""
    path = checkpoint_path(info.stage, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    seen: dict[int, str] = {}
    for name, tensor in model.state_dict().items():
        if name.startswith(PREFIX):
            continue
        # tied weights are stored once; loading fills the other names through the module
        if tensor.data_ptr() in seen and tensor.numel() > 0:
            continue
        seen[tensor.data_ptr()] = name
        value = tensor.detach().cpu()
        tensors[name] = (value.half() if value.is_floating_point() else value).contiguous()
    metadata = {
        "format": _FORMAT,
        "stage": info.stage,
        "generator_version": info.generator_version,
        "config": json.dumps(info.config, sort_keys=True),
        "history": json.dumps(list(info.history)),
    }
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata)
    os.replace(partial, path)
    return path


def read_info(stage: StageName, folder: Path | None = None) -> CheckpointInfo:
    """Metadata of a checkpoint.

    Raises:
        BundleError: no such file, or a file of another format or stage.
    """
    path = checkpoint_path(stage, folder)
    if not path.is_file():
        raise BundleError(
            f"expected the nano checkpoint {path}, found none; run in a source checkout, or train "
            f"it with: python -m t2s_export.nano.train --stage {stage}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = cast(Mapping[str, str], file.metadata() or {})
    except SafetensorError as error:
        raise BundleError(
            f"{path}: expected a safetensors file, found {error}; restore it from the repository"
        ) from error
    if metadata.get("format") != _FORMAT or metadata.get("stage") != stage:
        raise BundleError(
            f"{path}: expected format {_FORMAT} and stage {stage}, found "
            f"{metadata.get('format')} and {metadata.get('stage')}; restore it from the repository"
        )
    return CheckpointInfo(
        stage,
        metadata["generator_version"],
        json.loads(metadata["config"]),
        tuple(json.loads(metadata["history"])),
    )


def load_into(model: nn.Module, stage: StageName, folder: Path | None = None) -> None:
    """Fill ``model`` with the weights of a checkpoint, in float32.

    Raises:
        BundleError: the checkpoint lacks parameters of the model or holds others.
    """
    read_info(stage, folder)
    path = checkpoint_path(stage, folder)
    own = {n: v for n, v in model.state_dict().items() if not n.startswith(PREFIX)}
    names_of: dict[int, list[str]] = {}
    for name, tensor in own.items():
        names_of.setdefault(tensor.data_ptr() or id(tensor), []).append(name)
    filled: set[str] = set()
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - a safetensors handle is no mapping
            value = file.get_tensor(name)
            if name not in own or own[name].shape != value.shape:
                found = tuple(value.shape)
                expected = tuple(own[name].shape) if name in own else "no such parameter"
                raise BundleError(
                    f"{path}: parameter {name}: expected {expected}, found {found}; train again "
                    f"or restore the file"
                )
            with torch.no_grad():
                own[name].copy_(value)
            filled.update(names_of[own[name].data_ptr() or id(own[name])])
    if missing := sorted(set(own) - filled):
        raise BundleError(
            f"{path}: expected every parameter of {stage}, found none for {missing[:5]}; train "
            "again or restore the file"
        )


def load(stage: StageName, folder: Path | None = None) -> nn.Module:
    """The module of a stage with its committed weights, in float32 and evaluation mode.

    Raises:
        BundleError: the checkpoint is missing or does not fit.
    """
    info = read_info(stage, folder)
    try:
        config = config_of(stage, info.config)
    except TypeError as error:
        raise BundleError(
            f"{checkpoint_path(stage, folder)}: expected the sizes of a {stage} of this version, "
            f"found {error}; train again or restore the file"
        ) from error
    model = build_model(stage, config)
    load_into(model, stage, folder)
    return model.eval()
