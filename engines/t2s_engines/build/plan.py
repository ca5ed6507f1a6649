"""What ``t2s-rt build`` will build: graphs, precisions, profiles and keys. Pure, no TensorRT."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from t2s_engines.build.release import Release
from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.contracts import Role
from t2s_rt.errors import BackendError, UsageError
from t2s_rt.models import IMAGE_ROLES, choose_graph
from t2s_rt.plans import BuildOptions, DeviceIdentity, EngineKey, InputProfile, input_profiles

__all__ = ["BuildPlan", "PlannedEngine", "make_plan"]

_BATCHED: tuple[Role, ...] = ("detector", "mask_encoder")
"""Roles whose batch the option ``batch`` bounds: no other engine depends on it."""


@dataclass(frozen=True)
class PlannedEngine:
    """One engine to build.

    Attributes:
        entry: its graph.
        reason: why this precision, in a few words.
        profiles: of its inputs.
        options: of its build.
    """

    entry: GraphEntry
    reason: str
    profiles: tuple[InputProfile, ...]
    options: BuildOptions

    @property
    def label(self) -> str:
        """For people: role and precision."""
        return f"{self.entry.role} {self.entry.precision}"

    @property
    def dynamic(self) -> tuple[InputProfile, ...]:
        """The profiles that TensorRT has to be told; static inputs have their shapes already."""
        return tuple(profile for profile in self.profiles if profile.dynamic)

    def key(self, tensorrt: str, device: DeviceIdentity) -> EngineKey:
        """The engine's key on a device."""
        return EngineKey.of(self.entry, tensorrt, device, self.options)


@dataclass(frozen=True)
class BuildPlan:
    """Everything that one call builds.

    Attributes:
        bundle: whose graphs.
        release: of TensorRT that builds.
        engines: in the order in which they are built.
        options: as they were asked for.
    """

    bundle: Bundle
    release: Release
    engines: tuple[PlannedEngine, ...]
    options: BuildOptions


def make_plan(
    bundle: Bundle,
    release: Release,
    options: BuildOptions,
    precision: str = "auto",
    roles: Collection[str] | None = None,
) -> BuildPlan:
    """Choose graphs and check that the release can build them with these options.

    Args:
        bundle: whose graphs.
        release: of TensorRT that builds.
        options: of the build.
        precision: ``auto`` takes fp16 where the bundle has it, else fp32.
        roles: which graphs; None takes every one that sees pixels. Text encoders are never built:
            they run on the ground, on a CPU.

    Raises:
        UsageError: an unknown role or precision, or options that the release does not have.
        BundleError: the bundle lacks a role in that precision.
        BackendError: the release cannot import a graph.
    """
    _check_options(options, release)
    engines = []
    for role in _wanted(bundle, roles):
        entry, reason = choose_graph(bundle, role, precision, "gpu")
        _check_graph(entry, release)
        mine = options if role in _BATCHED else replace(options, batch=None)
        profiles = input_profiles(entry, mine.batch)
        engines.append(PlannedEngine(entry, reason, profiles, mine))
    return BuildPlan(bundle, release, tuple(engines), options)


def _wanted(bundle: Bundle, roles: Collection[str] | None) -> Sequence[Role]:
    present = [role for role in IMAGE_ROLES if role in bundle.roles]
    if roles is None:
        return present
    unknown = [role for role in roles if role not in present]
    if unknown or not roles:
        raise UsageError(
            f"bundle {bundle.name}: expected roles out of {', '.join(present)}, found "
            f"{', '.join(unknown) or 'none'}; text encoders run on the CPU and are never built"
        )
    return [role for role in present if role in roles]


def _check_options(options: BuildOptions, release: Release) -> None:
    if options.strip_weights and not release.strips_weights:
        raise UsageError(
            f"--strip-weights needs TensorRT 10 or later, found {release.name}; leave it out"
        )
    level = options.hardware_compatibility
    if level == "same_compute_capability" and not release.same_compute_capability:
        raise UsageError(
            f"--hardware-compatible {level} needs TensorRT 10.9 or later, found {release.name}; "
            "take none or ampere_plus"
        )


def _check_graph(entry: GraphEntry, release: Release) -> None:
    if entry.opset > release.opset:
        raise BackendError(
            f"{entry.role} {entry.precision}: expected a graph of opset {release.opset} or lower "
            f"for TensorRT {release.name}, found opset {entry.opset}; choose another --precision, "
            "or a newer TensorRT"
        )
