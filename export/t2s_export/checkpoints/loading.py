"""From an official checkpoint file to one of our modules with its weights.

What a file is follows from the names and shapes of its tensors, not from its own name. The module
is built without memory for its parameters and takes the file's tensors as they are, mapped where
they are float32 already: the peak is about one copy of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from t2s_export.architectures.clip.checkpoint import SCALARS
from t2s_export.checkpoints.fitting import Fit, Plan, assemble, best_fit, describe, fit, plan
from t2s_export.checkpoints.reading import Checkpoint, read_checkpoint
from t2s_export.checkpoints.registry import MODELS, ModelEntry
from t2s_export.checkpoints.table import (
    Architecture,
    Family,
    FileFormat,
    FormatName,
    architectures_of,
    find_format,
    make_module,
)
from t2s_export.errors import CheckpointError
from t2s_rt.bundle import sha256_file
from t2s_rt.errors import InternalError, UsageError

__all__ = ["Family", "FormatName", "LoadedModel", "Recognised", "load_model", "recognise"]

_FIRST = 8


@dataclass(frozen=True)
class LoadedModel:
    """A module with the weights of a file.

    Attributes:
        module: ``Sam``, ``GroundingDino`` or ``Clip``; float32, in evaluation mode, frozen. Its
            weights may be mapped from the file, which must stay as it is.
        family: of the model.
        architecture: the size within the family.
        format: whose names the file uses.
        source: for ``bundle.json``: ``checkpoint`` (file name), ``sha256``, ``bytes``, ``dtype``
            as stored; ``registry``: by what the file was found there, "sha256" or "file name", with
            ``id``, ``family``, ``url`` and ``licence`` of the row, or None; for CLIP
            ``quick_gelu`` and ``quick_gelu_from``; for Grounding DINO
            ``inverse_sigmoid_epsilon``.
    """

    module: nn.Module
    family: Family
    architecture: str
    format: FormatName
    source: dict[str, Any]


@dataclass(frozen=True)
class Recognised:
    """What the names and shapes of a file say.

    Attributes:
        format: its format.
        planned: its tensors by our parameters.
        fit: the architecture that is nearest, and how far it is.
    """

    format: FileFormat
    planned: Plan
    fit: Fit


def load_model(
    path: Path,
    family: Family | None = None,
    architecture: str | None = None,
    *,
    quick_gelu: bool | None = None,
) -> LoadedModel:
    """Load a checkpoint of a known format.

    Args:
        path: the file, or a folder as transformers or open_clip saves it.
        family: what it must be; None takes any.
        architecture: what it must be; None takes any.
        quick_gelu: CLIP only: whether the weights were trained with QuickGELU; None asks the
            registry by hash and by file name, then takes True for OpenAI's files, else False.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or not such a model; the message
            names tensors that are missing, unexpected, misshapen or not finite.
        UsageError: ``quick_gelu`` is given for a model that is no CLIP.
    """
    checkpoint = read_checkpoint(path)
    found = recognise(checkpoint, family, architecture)
    row, format_row = found.fit.architecture, found.format
    if quick_gelu is not None and row.family != "clip":
        raise UsageError(
            f"{checkpoint.path}: expected quick_gelu for a CLIP only, found a checkpoint of "
            f"{row.family}; leave it out"
        )
    digest = sha256_file(checkpoint.path)
    source = _provenance(checkpoint, found.planned, digest)
    settings = dict(format_row.settings)
    name = format_row.name
    if row.family == "clip":
        if _is_openai(checkpoint, digest):
            name = "openai"
        settings["quick_gelu"], reason = _quick_gelu(checkpoint.path, digest, name, quick_gelu)
        source["quick_gelu_from"] = reason
    source.update(settings)
    state = assemble(checkpoint.path, found.planned, checkpoint.tensors)
    module = _fill(row, settings, state)
    return LoadedModel(module, row.family, row.name, name, source)


def recognise(
    checkpoint: Checkpoint, family: str | None = None, architecture: str | None = None
) -> Recognised:
    """Tell format, family and architecture by names and shapes; no weight is read.

    Raises:
        CheckpointError: they are not those of a known model, or of another than the one named.
    """
    path, tensors = checkpoint.path, checkpoint.tensors
    row = find_format(tensors)
    if row is None:
        known = "SAM, Grounding DINO or CLIP" if family is None else family
        raise CheckpointError(
            f"{path}: expected a checkpoint of {known}, found {len(tensors)} tensors of no model "
            f"that is known: {', '.join(sorted(tensors)[:_FIRST])}; see t2s-rt models list"
        )
    if family is not None and row.family != family:
        raise CheckpointError(
            f"{path}: expected a checkpoint of {family}, found one of {row.family}; "
            "name another file"
        )
    rows = architectures_of(row.family)
    planned = plan(tensors, row.place)
    best = best_fit(rows, planned, tensors)
    if architecture is not None:
        named = [one for one in rows if one.name == architecture]
        if not named:
            raise CheckpointError(
                f"{path}: expected a {row.family} of architecture {architecture}, found no such "
                f"architecture; known are {', '.join(one.name for one in rows)}"
            )
        if best.architecture.name != architecture and not best.differences:
            raise CheckpointError(
                f"{path}: expected a {row.family} of architecture {architecture}, found "
                f"{best.architecture.name}; name another file or that architecture"
            )
        nearest, best = best.architecture.name, fit(named[0], planned, tensors)
    else:
        nearest = best.architecture.name
    if best.differences:
        name = best.architecture.name
        other = "" if nearest == name else f" (nearest to it is {nearest})"
        raise CheckpointError(
            f"{path}: expected the tensors of {row.family} {name} in {row.name} names, found "
            f"{describe(best)}; this is another model{other} or a damaged file: see "
            "t2s-rt models list"
        )
    return Recognised(row, planned, best)


def _fill(
    architecture: Architecture, settings: Mapping[str, Any], state: dict[str, Tensor]
) -> nn.Module:
    """The module with these tensors as its parameters, frozen."""
    module = make_module(architecture, settings)
    # not strict: counters of training keep the value that they were built with
    module.load_state_dict(state, strict=False, assign=True)
    module.requires_grad_(False).eval()
    empty = [name for name, value in module.state_dict().items() if value.is_meta]
    if empty:
        raise InternalError(f"{architecture.name}: expected every parameter filled, found {empty}")
    return module


def _provenance(checkpoint: Checkpoint, planned: Plan, digest: str) -> dict[str, Any]:
    """What ``bundle.json`` says about the file."""
    path = checkpoint.path
    dtypes = {
        str(checkpoint.tensors[stored].dtype).removeprefix("torch.")
        for places in planned.values()
        for aliases in places.values()
        for stored in aliases
    }
    source: dict[str, Any] = {
        "checkpoint": path.name,
        "sha256": digest,
        "bytes": path.stat().st_size,
        "dtype": "+".join(sorted(dtypes)),
        "registry": None,
    }
    entry, by = _registered(path, digest)
    if entry is not None:
        source |= {
            "registry": by,
            "id": entry.id,
            "family": entry.family,
            "url": entry.url,
            "licence": entry.licence,
        }
    return source


def _registered(path: Path, digest: str) -> tuple[ModelEntry | None, str]:
    """The row that a file fits, and by what. A name says nothing where the row's hash differs."""
    for entry in MODELS:
        if entry.sha256 == digest:
            return entry, "sha256"
    for entry in MODELS:
        if entry.file == path.name and entry.sha256 is None:
            return entry, "file name"
    return None, ""


def _is_openai(checkpoint: Checkpoint, digest: str) -> bool:
    """Whether a CLIP file is one of OpenAI's, by what lies beside the weights or by its hash."""
    entry, _ = _registered(checkpoint.path, digest)
    listed = entry is not None and entry.family == "clip"
    return (
        listed or checkpoint.container == "torchscript" or bool(SCALARS & set(checkpoint.tensors))
    )


def _quick_gelu(
    path: Path, digest: str, name: FormatName, given: bool | None
) -> tuple[bool, Literal["argument", "sha256", "file name", "openai", "assumed"]]:
    """Whether a CLIP's weights were trained with QuickGELU, and what says so.

    Here a file's name counts though its hash is unknown: weights that were saved anew keep it.
    """
    if given is not None:
        return given, "argument"
    for entry in MODELS:
        if entry.quick_gelu is not None and entry.sha256 == digest:
            return entry.quick_gelu, "sha256"
    for entry in MODELS:
        if entry.quick_gelu is not None and entry.file == path.name:
            return entry.quick_gelu, "file name"
    return (True, "openai") if name == "openai" else (False, "assumed")
