"""The ``trtexec`` command lines that build the same engines, for those who build by hand.

Flags were read in the help texts of trtexec 8.6 and 10.x (NVIDIA/TensorRT, samples/common/
sampleOptions.cpp); trtexec 11 has no precision flags left, and is strongly typed always.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from t2s_engines.build.plan import PlannedEngine
from t2s_engines.build.release import Release

__all__ = ["trtexec_arguments", "trtexec_line"]

_HARDWARE = {"ampere_plus": "ampere+", "same_compute_capability": "sameComputeCapability"}


def trtexec_line(
    engine: PlannedEngine, release: Release, float32_layers: Sequence[str] | None = None
) -> str:
    """One command line for a shell, see :func:`trtexec_arguments`."""
    return shlex.join(("trtexec", *trtexec_arguments(engine, release, float32_layers)))


def trtexec_arguments(
    engine: PlannedEngine, release: Release, float32_layers: Sequence[str] | None = None
) -> list[str]:
    """What ``trtexec`` of a release is to be given for an engine.

    Args:
        engine: that is planned.
        release: of trtexec.
        float32_layers: for 8.6 and a graph that holds float16: the layers that must stay
            float32; None for a graph that holds none, or where that is not known. Later releases
            read it from the graph.
    """
    entry, options = engine.entry, engine.options
    arguments = [
        f"--onnx={entry.path}",
        f"--saveEngine={entry.role}.{entry.precision}.plan",
        *_typing(entry.precision, release, float32_layers),
        "--noTF32",
        *_shapes(engine),
        f"--builderOptimizationLevel={options.optimization_level}",
    ]
    if options.workspace is not None:
        # a number without a unit is MiB in every release; 8.6 knows no units
        arguments.append(f"--memPoolSize=workspace:{options.workspace >> 20}")
    if options.hardware_compatibility != "none":
        arguments.append(
            f"--hardwareCompatibilityLevel={_HARDWARE[options.hardware_compatibility]}"
        )
    if options.version_compatible:
        arguments.append("--versionCompatible")
    if options.strip_weights:
        arguments.append("--stripWeights")  # by itself it means refit with identical weights
    return [*arguments, "--timingCacheFile=timing.cache", "--skipInference"]


def _typing(precision: str, release: Release, float32_layers: Sequence[str] | None) -> list[str]:
    if release.typing_is_asked:
        return ["--stronglyTyped"]
    if release.strongly_typed or (precision == "fp32" and float32_layers is None):
        return []
    flags = ["--fp16", *(["--int8"] if precision == "int8" else [])]
    if float32_layers:
        spec = ",".join(f"{name}:fp32" for name in float32_layers)
        flags += ["--precisionConstraints=obey", f"--layerPrecisions={spec}"]
    return flags


def _shapes(engine: PlannedEngine) -> list[str]:
    """Profiles of dynamic inputs; trtexec refuses shapes of a graph that has none."""
    profiles = engine.dynamic
    if not profiles:
        return []
    sides = {
        "min": [(profile.name, profile.least) for profile in profiles],
        "opt": [(profile.name, profile.usual) for profile in profiles],
        "max": [(profile.name, profile.greatest) for profile in profiles],
    }
    return [
        f"--{side}Shapes=" + ",".join(f"{name}:{'x'.join(map(str, sizes))}" for name, sizes in both)
        for side, both in sides.items()
    ]
