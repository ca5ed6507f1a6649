"""``t2s-rt build --dry-run``: the plan, printed. Needs neither TensorRT, nor a GPU, nor onnx."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import click

from t2s_engines.build.plan import BuildPlan, PlannedEngine
from t2s_engines.build.trtexec import trtexec_line
from t2s_engines.build.verdicts import Verdict, graph_float_types, preflight_verdict
from t2s_rt.cli._tables import megabytes, show_facts, show_table
from t2s_rt.limits import TILES_PER_CALL
from t2s_rt.plans import DeviceIdentity, EngineCache, InputProfile

__all__ = [
    "UNKNOWN_DEVICE",
    "UNKNOWN_DIGEST",
    "UNKNOWN_VERSION",
    "Here",
    "plan_record",
    "show_plan",
]

UNKNOWN_DEVICE = "<the GPU's identity, which only the device tells>"
UNKNOWN_VERSION = "<TensorRT's full version, which only the device tells>"
UNKNOWN_DIGEST = "<digest>"
_TRTEXEC = {
    8: "8.6",
    10: "10.3 and later (11 is strongly typed without --stronglyTyped)",
    11: "11",
}


@dataclass(frozen=True)
class Here:
    """What this machine says of itself; None where it cannot.

    Attributes:
        tensorrt: full version of the TensorRT that is installed.
        device: its GPU.
        reason: why one of them is unknown.
    """

    tensorrt: str | None = None
    device: DeviceIdentity | None = None
    reason: str = ""


def plan_record(plan: BuildPlan, cache: EngineCache, here: Here) -> dict[str, Any]:
    """The plan as JSON values."""
    return {
        "bundle": {"name": plan.bundle.name, "folder": str(plan.bundle.root)},
        "tensorrt": {
            "release": plan.release.name,
            "version": here.tensorrt,
            "strongly_typed": plan.release.strongly_typed,
        },
        "device": None if here.device is None else asdict(here.device),
        "unknown": here.reason,
        "options": asdict(plan.options),
        "cache": str(cache.root),
        "engines": [_engine_record(engine, plan, cache, here) for engine in plan.engines],
    }


def _engine_record(
    engine: PlannedEngine, plan: BuildPlan, cache: EngineCache, here: Here
) -> dict[str, Any]:
    verdict = preflight_verdict(engine, plan.release)
    record, digest = key_record(engine, here)
    command, remark = _trtexec(engine, plan)
    return {
        "role": engine.entry.role,
        "precision": engine.entry.precision,
        "reason": engine.reason,
        "graph": str(engine.entry.path),
        "opset": engine.entry.opset,
        "bytes": sum(file.bytes for file in engine.entry.files),
        "profiles": [asdict(profile) for profile in engine.profiles],
        "key": record,
        "digest": digest,
        "folder": str(cache.root / f"{engine.entry.role}.{engine.entry.precision}.{digest}"),
        "preflight": asdict(verdict),
        "trtexec": command,
        "trtexec_remark": remark,
    }


def key_record(engine: PlannedEngine, here: Here) -> tuple[dict[str, Any], str]:
    """The cache key with what is known, placeholders for the rest, and its digest."""
    if here.tensorrt is not None and here.device is not None:
        key = engine.key(here.tensorrt, here.device)
        return key.as_record(), key.digest
    # the parts that no device decides, taken from a key so that there is one way to make it
    stand_in = DeviceIdentity("", (0, 0), 0, 0, False)
    record = engine.key(here.tensorrt or UNKNOWN_VERSION, stand_in).as_record()
    record["device"] = UNKNOWN_DEVICE if here.device is None else asdict(here.device)
    return record, UNKNOWN_DIGEST


def show_plan(plan: BuildPlan, cache: EngineCache, here: Here) -> None:
    """Print the plan for people: tables on a terminal, plain lines in a pipe."""
    record = plan_record(plan, cache, here)
    click.echo("The plan of t2s-rt build; nothing was built.")
    show_facts(_facts(plan, cache, here))
    show_table(
        "engine",
        ("role", "precision", "why", "opset", "graph and weights"),
        [_engine_row(item) for item in record["engines"]],
    )
    show_table(
        "profile",
        ("engine", "input", "least", "usual", "greatest"),
        [
            (engine.label, *_profile_row(profile))
            for engine in plan.engines
            for profile in engine.profiles
        ],
    )
    show_table(
        "cache key",
        ("engine", "folder", "graph SHA-256", "TensorRT", "device"),
        [_key_row(item) for item in record["engines"]],
    )
    verdicts = [Verdict(**item["preflight"]) for item in record["engines"]]
    show_table(
        "preflight",
        ("engine", "verdict"),
        [
            (engine.label, line)
            for engine, verdict in zip(plan.engines, verdicts, strict=True)
            for line in (verdict.text, *verdict.problems, *verdict.warnings)
        ],
    )
    trtexec = _TRTEXEC.get(plan.release.number[0], "that release")
    click.echo(f"The same by hand with trtexec of {trtexec}; it writes no sidecar: not for infer.")
    for item in record["engines"]:
        if item["trtexec_remark"]:
            click.echo(f"# {item['trtexec_remark']}")
        click.echo(item["trtexec"])


def _facts(plan: BuildPlan, cache: EngineCache, here: Here) -> list[tuple[str, str]]:
    options = plan.options
    typing = (
        "strongly typed: every type is the graph's own, no builder flag asks for a precision"
        if plan.release.strongly_typed
        else "weakly typed, for 8.6 is not strongly typed: float16 is allowed by flag, layers that "
        "are float32 in the graph are pinned (OBEY_PRECISION_CONSTRAINTS)"
    )
    workspace = (
        "all that is free" if options.workspace is None else f"{options.workspace >> 20} MiB"
    )
    weights = "stripped, refitted from the graph at load" if options.strip_weights else "inside"
    return [
        ("bundle", f"{plan.bundle.name} in {plan.bundle.root}"),
        ("TensorRT", here.tensorrt or f"planned for {plan.release.name}; --target names another"),
        ("device", UNKNOWN_DEVICE if here.device is None else here.device.name),
        *([("unknown", here.reason)] if here.reason else []),
        ("network", typing),
        ("TF32", "off: what a graph keeps in float32 is computed in float32"),
        ("workspace", workspace),
        ("optimisation level", str(options.optimization_level)),
        ("hardware compatible", options.hardware_compatibility),
        ("version compatible", "yes" if options.version_compatible else "no"),
        ("most tiles in one call", str(options.batch or TILES_PER_CALL)),
        ("weights", weights),
        ("cache", str(cache.root)),
    ]


def _engine_row(item: dict[str, Any]) -> tuple[str, ...]:
    size = megabytes(item["bytes"])
    return item["role"], item["precision"], item["reason"], str(item["opset"]), size


def _profile_row(profile: InputProfile) -> tuple[str, ...]:
    if not profile.dynamic:
        return profile.name, "static", _sizes(profile.usual), "static"
    return profile.name, _sizes(profile.least), _sizes(profile.usual), _sizes(profile.greatest)


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _key_row(item: dict[str, Any]) -> tuple[str, ...]:
    key = item["key"]
    name = f"{item['role']}.{item['precision']}"
    device = key["device"]
    shown = device if isinstance(device, str) else device["name"]
    return name, f"{name}.{item['digest']}", key["graph"], key["tensorrt"], shown


def _trtexec(engine: PlannedEngine, plan: BuildPlan) -> tuple[str, str]:
    """The command line, and what it does not say."""
    if plan.release.strongly_typed:
        return trtexec_line(engine, plan.release), ""
    types = graph_float_types(engine)
    if types is None:
        remark = (
            f"{engine.label}: trtexec 8.6 must also be told what stays float32 in a graph that "
            "holds float16, be it weights only (--fp16 --precisionConstraints=obey "
            "--layerPrecisions=...); with onnx installed that is listed here, and t2s-rt build "
            "sees to it by itself"
        )
        return trtexec_line(engine, plan.release), remark
    layers = types.float32_nodes if types.float16 else None
    return trtexec_line(engine, plan.release, layers), ""
