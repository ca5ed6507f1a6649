"""Whether the tensors of a file are those of an architecture, and putting them into its module."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from t2s_export.architectures.naming import Place, Translation
from t2s_export.checkpoints.table import Architecture, expected_shapes
from t2s_export.errors import CheckpointError

__all__ = ["Fit", "Plan", "assemble", "best_fit", "describe", "fit", "plan"]

_SHOWN = 8
"""Names of each kind that a message lists."""

Plan = dict[str, dict[Place, list[str]]]
"""Per parameter of ours the stored names of each of its parts; several names are aliases."""


@dataclass(frozen=True)
class Fit:
    """How the tensors of a file differ from those of an architecture.

    Attributes:
        architecture: which one.
        missing: what the file lacks, by our names, which are the official ones.
        unexpected: what the architecture lacks, by stored names.
        misshapen: stored names with both shapes.
    """

    architecture: Architecture
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def differences(self) -> int:
        """How many tensors are wrong."""
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)


def plan(names: Collection[str], place: Translation) -> Plan:
    """Sort stored names by the parameters that they belong to; drops what no forward reads."""
    result: Plan = {}
    for stored in names:
        target = place(stored)
        if target is not None:
            result.setdefault(target.name, {}).setdefault(target, []).append(stored)
    return result


def fit(architecture: Architecture, planned: Plan, tensors: Mapping[str, Tensor]) -> Fit:
    """Compare names and shapes; no value is read."""
    expected = expected_shapes(architecture)
    missing, misshapen = [], []
    for name, shape in expected.items():
        places = planned.get(name)
        if places is None:
            missing.append(name)
            continue
        parts = next(iter(places)).parts
        absent = set(range(parts)) - {place.part for place in places}
        missing += [f"{name} (part {part + 1} of {parts})" for part in sorted(absent)]
        wanted = shape if parts == 1 else torch.Size((shape[0] // parts, *shape[1:]))
        misshapen += [
            f"{stored} (expected {tuple(wanted)}, found {tuple(tensors[stored].shape)})"
            for aliases in places.values()
            for stored in aliases
            if tensors[stored].shape != wanted
        ]
    unexpected = [
        stored
        for name, places in planned.items()
        if name not in expected
        for aliases in places.values()
        for stored in aliases
    ]
    return Fit(architecture, tuple(missing), tuple(unexpected), tuple(misshapen))


def best_fit(
    architectures: Sequence[Architecture], planned: Plan, tensors: Mapping[str, Tensor]
) -> Fit:
    """The architecture with the fewest differences."""
    fits = [fit(row, planned, tensors) for row in architectures]
    return min(fits, key=lambda one: one.differences)


def describe(found: Fit) -> str:
    """The differences in words."""
    kinds = (
        ("missing", found.missing),
        ("unexpected", found.unexpected),
        ("misshapen", found.misshapen),
    )
    return "; ".join(
        f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds if len(names)
    )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def assemble(path: Path, planned: Plan, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a file that fits: float32, contiguous, every value finite.

    Tensors that are so already stay mapped from the file.

    Raises:
        CheckpointError: a tensor is not a plain one or not finite, or aliases differ.
    """
    _check_plain(path, planned, tensors)
    state: dict[str, Tensor] = {}
    broken: list[str] = []
    for name, places in planned.items():
        parts = []
        for place in sorted(places, key=lambda one: one.part):
            first, *aliases = places[place]
            value = tensors[first].detach().to(torch.float32)
            for alias in aliases:
                if not torch.equal(tensors[first], tensors[alias]):
                    raise CheckpointError(
                        f"{path}: expected {first} and {alias} to be one shared tensor, found "
                        "different values; this is no released checkpoint"
                    )
            if not torch.isfinite(value).all():
                broken.append(first)
            parts.append(value)
        state[name] = (parts[0] if len(parts) == 1 else torch.cat(parts)).contiguous()
    if broken:
        raise CheckpointError(
            f"{path}: expected finite weights, found NaN or infinity in {_listed(broken)}; "
            "the file is damaged or its training diverged: take another"
        )
    return state


def _check_plain(path: Path, planned: Plan, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not arrays of real numbers in memory."""
    strange = [
        f"{stored} ({tensors[stored].dtype}, {tensors[stored].layout}, {tensors[stored].device})"
        for places in planned.values()
        for aliases in places.values()
        for stored in aliases
        if tensors[stored].layout != torch.strided
        or tensors[stored].device.type != "cpu"
        or tensors[stored].is_quantized
        or tensors[stored].is_complex()
    ]
    if strange:
        raise CheckpointError(
            f"{path}: expected dense tensors of real numbers, found {_listed(strange)}; "
            "convert the checkpoint, or take the official one"
        )
