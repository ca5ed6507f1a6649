"""The command lines for trtexec, release by release."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from t2s_engines.build.plan import PlannedEngine
from t2s_engines.build.release import Release
from t2s_engines.build.trtexec import trtexec_arguments, trtexec_line

Planned = Callable[..., PlannedEngine]
ALWAYS = {"--onnx", "--saveEngine", "--noTF32", "--builderOptimizationLevel", "--timingCacheFile"}
SHAPES = {"--minShapes", "--optShapes", "--maxShapes"}


def flags(
    engine: PlannedEngine, release: str, layers: tuple[str, ...] | None = None
) -> dict[str, str]:
    pairs = (
        argument.partition("=")
        for argument in trtexec_arguments(engine, Release.parse(release), layers)
    )
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize(
    ("release", "precision", "extra"),
    [
        ("10.3", "fp16", {"--stronglyTyped"}),
        ("10.16", "fp32", {"--stronglyTyped"}),
        ("11.4", "fp16", set()),
        ("8.6", "fp32", set()),
        ("8.6", "fp16", {"--fp16"}),
    ],
)
def test_typing_by_release(planned: Planned, release: str, precision: str, extra: set[str]) -> None:
    found = flags(planned("clip_image", release, precision), release)
    assert found.keys() == ALWAYS | SHAPES | {"--skipInference"} | extra


def test_float32_islands_are_named_to_8_6(planned: Planned) -> None:
    found = flags(planned("clip_image", "8.6"), "8.6", ("a/Softmax", "b/ln"))
    assert found["--precisionConstraints"] == "obey"
    assert found["--layerPrecisions"] == "a/Softmax:fp32,b/ln:fp32"


def test_profiles_are_those_of_the_engine_and_leave_static_inputs_out(planned: Planned) -> None:
    engine = planned("mask_decoder")
    found = flags(engine, "10.13")
    for side, shape in (("min", "least"), ("opt", "usual"), ("max", "greatest")):
        parts = dict(part.split(":") for part in found[f"--{side}Shapes"].split(","))
        assert parts == {
            profile.name: "x".join(str(size) for size in getattr(profile, shape))
            for profile in engine.profiles
            if profile.dynamic
        }


def test_every_option_has_its_flag(planned: Planned) -> None:
    engine = planned(
        workspace=2048 << 20,
        optimization_level=5,
        hardware_compatibility="same_compute_capability",
        version_compatible=True,
        strip_weights=True,
    )
    found = flags(engine, "10.13")
    # no unit: MiB to every trtexec, and the only form that 8.6 reads
    assert found["--memPoolSize"] == "workspace:2048"
    assert found["--builderOptimizationLevel"] == "5"
    assert found["--hardwareCompatibilityLevel"] == "sameComputeCapability"
    assert {"--versionCompatible", "--stripWeights"} <= found.keys()
    engine = planned(hardware_compatibility="ampere_plus")
    assert flags(engine, "8.6")["--hardwareCompatibilityLevel"] == "ampere+"


def test_a_line_survives_a_shell(planned: Planned) -> None:
    engine = planned()
    spaced = PlannedEngine(
        dataclasses.replace(engine.entry, path=Path("/my maps/it's.onnx")),
        engine.reason,
        engine.profiles,
        engine.options,
    )
    words = shlex.split(trtexec_line(spaced, Release.parse("10.3")))
    assert words[:2] == ["trtexec", "--onnx=/my maps/it's.onnx"]
