"""Engines for tests: built by the double's builder, written as ``t2s-rt build`` writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from t2s_rt.backends import BackendOptions
from t2s_rt.backends.tensorrt import Cuda, TensorRtSession, device_identity, load_library
from t2s_rt.bundle import GraphEntry
from t2s_rt.plans import BuildOptions, EngineFiles, EngineKey, Sidecar, SignOff
from t2s_rt.plans.cache import PLAN_NAME, REPORT_NAME, SIDECAR_NAME

Verdict = str | None


def build_engine(
    entry: GraphEntry,
    root: Path,
    *,
    options: BuildOptions | None = None,
    verdict: Verdict = "passed",
    graph: Path | None = None,
) -> EngineFiles:
    """Build an engine into a cache folder.

    Args:
        entry: the graph.
        root: the folder.
        options: of the build.
        verdict: "passed", "failed", or None for no verdict at all.
        graph: another file than the entry's, to build what the sidecar does not say.
    """
    chosen = options or BuildOptions()
    library = load_library()
    key = EngineKey.of(entry, library.version, device_identity(Cuda.load()), chosen)
    plan = _plan(library, key, entry, graph or entry.path, chosen)
    folder = root / f"{entry.role}.{entry.precision}.{key.digest}"
    folder.mkdir(parents=True)
    (folder / PLAN_NAME).write_bytes(plan)
    sha256 = hashlib.sha256(plan).hexdigest()
    sidecar = Sidecar(
        key=key.as_record(),
        digest=key.digest,
        plan_sha256=sha256,
        plan_bytes=len(plan),
        built="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        builder="tests",
    )
    (folder / SIDECAR_NAME).write_text(sidecar.to_json())
    if verdict is not None:
        sign(folder, sha256, verdict)
    return EngineFiles.read(folder)


def sign(folder: Path, sha256: str, verdict: str) -> None:
    """Write a verdict on a plan."""
    report = SignOff(
        verdict="passed" if verdict == "passed" else "failed",
        plan_sha256=sha256,
        verified="2026-01-02T00:00:00+00:00",
        verifier="tests",
        scenes=({"name": "empty", "sha256": "0" * 64, "synthetic": True},),
        figures={},
        floors={},
        faults=() if verdict == "passed" else ("mask IoU 0.1 below 0.9",),
    )
    (folder / REPORT_NAME).write_text(report.to_json())


def open_engine(entry: GraphEntry, root: Path, **options: Any) -> TensorRtSession:
    """Open a session on the engines of a folder."""
    return TensorRtSession(entry, BackendOptions(engines=root, **options))


def _plan(
    library: Any, key: EngineKey, entry: GraphEntry, graph: Path, options: BuildOptions
) -> bytes:
    trt = library.trt
    builder = trt.Builder(library.logger)
    typed = library.release[0] > 8
    flags = trt.NetworkDefinitionCreationFlag
    flag = flags.STRONGLY_TYPED if typed else flags.EXPLICIT_BATCH
    network = builder.create_network(1 << int(flag))
    parser = trt.OnnxParser(network, library.logger)
    assert parser.parse_from_file(str(graph)), parser.get_error(0).desc()
    config = builder.create_builder_config()
    for name, wanted in _flags(options).items():
        if wanted:
            config.set_flag(getattr(trt.BuilderFlag, name))
    if any(shapes.dynamic for shapes in key.profiles):
        profile = builder.create_optimization_profile()
        for shapes in key.profiles:
            if shapes.dynamic:
                profile.set_shape(shapes.name, shapes.least, shapes.usual, shapes.greatest)
        assert config.add_optimization_profile(profile) == 0
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, library.complaint()
    return bytes(plan)


def _flags(options: BuildOptions) -> Mapping[str, bool]:
    return {
        "VERSION_COMPATIBLE": options.version_compatible,
        "STRIP_PLAN": options.strip_weights,
        "REFIT_IDENTICAL": options.strip_weights,
    }


def renamed(entry: GraphEntry, **changes: Any) -> GraphEntry:
    """An entry with other fields."""
    return replace(entry, **changes)
