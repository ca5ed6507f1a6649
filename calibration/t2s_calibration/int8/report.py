"""What a calibration found, as JSON and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2s_calibration.int8.role import Demands, RoleCalibration
from t2s_engines.doctor.host import processor_line
from t2s_engines.doctor.machine import Machine
from t2s_engines.verify.report import environment_of
from t2s_engines.verify.tiles import VerifyTile
from t2s_engines.verify.verification import CHAIN_ROLE, Outcome
from t2s_rt import __version__
from t2s_rt.bundle import Bundle

if TYPE_CHECKING:
    from t2s_calibration.int8.run import Calibration

__all__ = ["REPORT_VERSION", "markdown", "record_of"]

REPORT_VERSION = 1
_DIGITS = 6


def record_of(
    found: Calibration,
    demands: Demands,
    tiles: tuple[Sequence[VerifyTile], Sequence[VerifyTile]],
) -> dict[str, Any]:
    """The report as JSON values.

    Args:
        found: bundle, graphs, times, verdicts.
        demands: that the graphs were held to in the end.
        tiles: those that ranges come from, and those that were judged.
    """
    return {
        "schema_version": REPORT_VERSION,
        "bundle": found.bundle.name,
        "calibrated": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "calibrator": f"t2s-rt {__version__}",
        "environment": {
            **environment_of("onnxruntime-cpu", "int8"),
            "processor": processor_line(Machine.here()),
        },
        "tiles": {
            name: [{"name": t.name, "sha256": t.sha256, "synthetic": t.synthetic} for t in part]
            for name, part in zip(("ranges", "judged"), tiles, strict=True)
        },
        "method": demands.method,
        "smoothing": demands.smoothing,
        "budget": demands.budget,
        "graphs": [_graph(found, one) for one in found.roles],
        "together": {target: _together(o) for target, o in found.outcomes.items()},
        "labelled": found.labelled,
    }


def _graph(found: Calibration, one: RoleCalibration) -> dict[str, Any]:
    recipe, choice = one.recipe, one.choice
    target = recipe.scheme.target
    gain = found.gains.get(recipe.role) if target == "cpu" else None
    return {
        "role": recipe.role,
        "target": target,
        "weight_bits": 7 if recipe.scheme.reduced else 8,
        "int8_layers": len(choice.layers),
        "float_layers": list(recipe.notes.get("float layers", [])),
        "int8_share": round(one.share, 4),
        "smoothed": len(recipe.smoothings),
        "figures": _rounded(choice.figures),
        "figures_all_int8": _rounded(choice.everything),
        "layers_alone": _rounded(choice.harm),
        "met": choice.met,
        "trials": one.trials,
        "bytes": {
            "float": _bytes(found.bundle, recipe.role, "fp32", None),
            "int8": _bytes(found.bundle, recipe.role, "int8", target),
        },
        "milliseconds": None
        if gain is None
        else {
            "fp32": round(gain.fp32, 2),
            "int8": round(gain.int8, 2),
            "ratio": round(gain.ratio, 3),
            "disturbed": gain.disturbed,
        },
    }


def _bytes(bundle: Bundle, role: str, precision: str, target: str | None) -> int:
    """Of a graph's files; weights that others share count in full."""
    for entry in bundle.graphs:
        if (entry.role, entry.precision, entry.target) == (role, precision, target):
            return sum(file.bytes for file in entry.files)
    return 0


def _together(outcome: Outcome) -> dict[str, Any]:
    chain = next((v for v in outcome.verdicts if v.role == CHAIN_ROLE), None)
    return {
        "passed": outcome.passed,
        "figures": {} if chain is None else _rounded(chain.figures),
        "faults": list(dict.fromkeys(f for v in outcome.verdicts for f in v.faults)),
    }


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.{_DIGITS}g}") for name, value in figures.items()}


def markdown(record: Mapping[str, Any], pictures: Sequence[Path]) -> str:
    """The report for people."""
    ranges, judged = record["tiles"]["ranges"], record["tiles"]["judged"]
    kind = "synthetic tiles" if all(t["synthetic"] for t in (*ranges, *judged)) else "tiles"
    lines = [
        f"# int8 of {record['bundle']}",
        "",
        f"Calibrated {record['calibrated']} by {record['calibrator']}: ranges ({record['method']}) "
        f"from {len(ranges)} {kind}, figures on {len(judged)} others, "
        f"budget {record['budget']:g} against fp32. {record['environment']['processor']}.",
        "",
        "| graph | target | layers | multiplications | size | time of a tile | against fp32 |",
        "|---|---|---|---|---|---|---|",
        *(_row(graph) for graph in record["graphs"]),
        "",
        "Layers and multiplications: those in int8. Times are of single graphs on ONNX Runtime's "
        "CPU provider, in turn with fp32; what a graph for TensorRT gains, only the device says "
        "(t2s-rt build, verify, bench run).",
    ]
    for target, whole in record["together"].items():
        lines += ["", f"## All graphs for {target} together", ""]
        lines += [f"- {name}: {value:.4f}" for name, value in whole["figures"].items()]
        lines += [f"- **failed**: {fault}" for fault in whole["faults"]]
    if record["labelled"]:
        lines += ["", "## Labelled tiles", "", labelled_line(record["labelled"])]
        lines += [
            "",
            "By class, with pictures of the worst: [labelled/metrics.md](labelled/metrics.md).",
        ]
    floats = [graph for graph in record["graphs"] if graph["float_layers"]]
    if floats:
        lines += ["", "## Layers left in float", ""]
        lines += [
            f"- {g['role']} for {g['target']}: {', '.join(g['float_layers'])}" for g in floats
        ]
    for graph in record["graphs"]:
        if graph["layers_alone"]:
            lines += ["", *_sensitivity(graph)]
    if pictures:
        lines += ["", "## Worst tiles", ""]
        lines += [f"![{path.as_posix()}]({path.as_posix()})" for path in pictures]
    return "\n".join(lines) + "\n"


def labelled_line(labelled: Mapping[str, Any]) -> str:
    """mIoU in both precisions, as one line."""
    return (
        f"{labelled['dataset']} {labelled['split']}, {labelled['tiles']} tiles, route "
        f"{labelled['route']}: mIoU {labelled['fp32']:.4f} in fp32, {labelled['int8']:.4f} in "
        f"int8, a loss of {100 * labelled['loss']:.2f} points of {100 * labelled['allowed_loss']:g}"
        " allowed."
    )


def _row(graph: Mapping[str, Any]) -> str:
    layers = f"{graph['int8_layers']} of {graph['int8_layers'] + len(graph['float_layers'])}"
    size = f"{graph['bytes']['int8'] / 1e6:.1f} MB"
    times = graph["milliseconds"]
    shown = "not measured here"
    if times is not None:
        mark = " (disturbed)" if times["disturbed"] else ""
        shown = f"{times['fp32']:.1f} to {times['int8']:.1f} ms, {times['ratio']:.2f} x{mark}"
    figures = ", ".join(
        f"{name} {value:.4f}"
        for name, value in graph["figures"].items()
        if not name.startswith("cosine")
    )
    bits = "" if graph["weight_bits"] == 8 else ", 7-bit weights"
    return (
        f"| {graph['role']} | {graph['target']}{bits} | {layers} | "
        f"{100 * graph['int8_share']:.1f} % | {size} | {shown} | {figures} |"
    )


def _sensitivity(graph: Mapping[str, Any]) -> list[str]:
    """Layers that do most harm alone: 1 uses up the budget."""
    worst = sorted(graph["layers_alone"].items(), key=lambda item: -item[1])[:10]
    return [
        f"## What single layers cost: {graph['role']} for {graph['target']}",
        "",
        "| layer alone in int8 | share of the budget |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in worst),
    ]
