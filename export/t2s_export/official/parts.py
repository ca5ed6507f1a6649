"""The files of one export: which they are, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

from t2s_export.architectures.clip import ClipConfig
from t2s_export.architectures.grounding_dino import GroundingDinoConfig
from t2s_export.architectures.sam import SamConfig
from t2s_export.checkpoints.finding import find_checkpoint, find_vocabulary
from t2s_export.checkpoints.loading import LoadedModel, load_model
from t2s_export.checkpoints.table import Family
from t2s_export.official.presets import Preset

__all__ = ["KINDS", "Facts", "Kind", "ModelFiles", "Part", "find_files", "load_part", "read_facts"]

Kind = Literal["detector", "sam", "clip"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Config: TypeAlias = ClipConfig | GroundingDinoConfig | SamConfig
_FAMILIES: Final[Mapping[Kind, Family]] = MappingProxyType(
    {"detector": "grounding_dino", "sam": "sam", "clip": "clip"}
)


@dataclass(frozen=True)
class Part:
    """One checkpoint of an export.

    Attributes:
        kind: what it is for.
        path: the file.
        architecture: what it must be; None takes what it is.
    """

    kind: Kind
    path: Path
    architecture: str | None = None


@dataclass(frozen=True)
class ModelFiles:
    """Everything that an export reads.

    Attributes:
        parts: checkpoints by kind.
        bert: vocabulary of the detector's text encoder.
        merges: vocabulary of CLIP.
    """

    parts: Mapping[Kind, Part]
    bert: Path
    merges: Path


@dataclass(frozen=True)
class Facts:
    """What a checkpoint turned out to be, without its weights.

    Attributes:
        kind: what it is for.
        architecture: in the words of the loader.
        format: whose names its tensors have.
        source: for the record: file, SHA-256, and what the registry knows.
        config: sizes.
        parameters: their number.
        logit_scale: CLIP's, before the exponential; None for the others.
    """

    kind: Kind
    architecture: str
    format: str
    source: Mapping[str, Any]
    config: Config
    parameters: int
    logit_scale: float | None


def find_files(preset: Preset, folder: Path, chosen: Mapping[Kind, Path]) -> ModelFiles:
    """The files of a preset.

    Args:
        preset: which models.
        folder: where they lie, and the vocabularies.
        chosen: files to take instead, of any architecture of their family.

    Raises:
        CheckpointError: one is missing; the message says how to get it.
    """
    parts: dict[Kind, Part] = {}
    for kind in KINDS:
        if kind in chosen:
            parts[kind] = Part(kind, chosen[kind])
            continue
        architecture: str = getattr(preset, kind)
        path = find_checkpoint(folder, _FAMILIES[kind], (architecture,))
        parts[kind] = Part(kind, path, architecture)
    return ModelFiles(parts, find_vocabulary(folder, "bert"), find_vocabulary(folder, "clip"))


def load_part(part: Part, quick_gelu: bool | None = None) -> LoadedModel:
    """Load one checkpoint.

    Args:
        part: which.
        quick_gelu: CLIP's activation, if the file does not tell; ignored for the others.

    Raises:
        CheckpointError: it is broken, unsafe, or of another family or architecture.
    """
    return load_model(
        part.path,
        _FAMILIES[part.kind],
        part.architecture,
        quick_gelu=quick_gelu if part.kind == "clip" else None,
    )


def read_facts(
    files: ModelFiles,
    quick_gelu: bool | None = None,
    telling: Callable[[Part], None] | None = None,
) -> dict[Kind, Facts]:
    """Load every checkpoint once, one at a time, so that a bad one is refused before any work.

    Args:
        files: of the export.
        quick_gelu: as for :func:`load_part`.
        telling: told of each part before it is read.

    Raises:
        CheckpointError: as :func:`load_part`.
    """
    facts: dict[Kind, Facts] = {}
    for kind, part in files.parts.items():
        if telling is not None:
            telling(part)
        loaded = load_part(part, quick_gelu)
        module: Any = loaded.module
        scale = float(module.logit_scale.detach()) if kind == "clip" else None
        facts[kind] = Facts(
            kind=kind,
            architecture=loaded.architecture,
            format=loaded.format,
            source=dict(loaded.source),
            config=module.config,
            parameters=sum(p.numel() for p in module.parameters()),
            logit_scale=scale,
        )
        del loaded, module  # the next one needs the memory
    return facts
