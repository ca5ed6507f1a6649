"""What stays: the verdict beside each engine, and the report for people and machines."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from t2s_engines.verify.reference import CHAIN, REFERENCE_BACKEND
from t2s_engines.verify.verification import CHAIN_ROLE, Outcome, Verdict
from t2s_rt import __version__
from t2s_rt.errors import OutputError
from t2s_rt.plans import SignOff
from t2s_rt.plans.cache import REPORT_NAME

__all__ = [
    "REPORT_VERSION",
    "environment_of",
    "key_figures",
    "markdown",
    "record_of",
    "sign_engines",
    "write_text",
]

REPORT_VERSION = 1
_DIGITS = 7
_LONGEST = 2000


def sign_engines(outcome: Outcome, environment: Mapping[str, Any]) -> list[Path]:
    """Write ``verified.json`` beside every engine, passed or failed.

    A verdict holds the figures of its graph and, under ``chain``, those of all graphs together.

    Raises:
        OutputError: a folder that cannot be written.
    """
    chain = next((v for v in outcome.verdicts if v.role == CHAIN_ROLE), None)
    written = []
    for verdict in outcome.verdicts:
        if verdict.engine is None:
            continue
        path = verdict.engine.folder / REPORT_NAME
        write_text(path, _sign_off(verdict, chain, outcome, environment).to_json())
        written.append(path)
    return written


def _sign_off(
    verdict: Verdict, chain: Verdict | None, outcome: Outcome, environment: Mapping[str, Any]
) -> SignOff:
    if verdict.engine is None:
        raise ValueError("expected the verdict on an engine")
    return SignOff(
        "passed" if verdict.passed else "failed",
        verdict.engine.sidecar.plan_sha256,
        _now(),
        f"t2s-rt {__version__}",
        tuple(
            {"name": _line(tile.name), "sha256": tile.sha256, "synthetic": tile.synthetic}
            for tile in outcome.tiles
        ),
        {**verdict.figures, **_of_chain(None if chain is None else chain.figures)},
        {**verdict.floors, **_of_chain(None if chain is None else chain.floors)},
        tuple(_line(fault) for fault in verdict.faults),
        {**environment, "session": verdict.session, "notes": list(verdict.notes)},
        {**verdict.ceilings, **_of_chain(None if chain is None else chain.ceilings)},
    )


def _of_chain(values: Mapping[str, float] | None) -> dict[str, float]:
    return {f"{CHAIN_ROLE} {name}": value for name, value in (values or {}).items()}


def record_of(outcome: Outcome, environment: Mapping[str, Any]) -> dict[str, Any]:
    """The report as JSON values."""
    return {
        "schema_version": REPORT_VERSION,
        "verdict": "passed" if outcome.passed else "failed",
        "bundle": outcome.bundle,
        "verified": _now(),
        "verifier": f"t2s-rt {__version__}",
        "reference": f"fp32 on {REFERENCE_BACKEND}",
        "synthetic": outcome.synthetic,
        "tiles": [
            {
                "name": tile.name,
                "sha256": tile.sha256,
                "synthetic": tile.synthetic,
                "empty": tile.empty,
            }
            for tile in outcome.tiles
        ],
        "graphs": [_record(verdict, outcome) for verdict in outcome.verdicts],
        "environment": dict(environment),
    }


def _record(verdict: Verdict, outcome: Outcome) -> dict[str, Any]:
    def rounded(values: Mapping[str, float]) -> dict[str, float]:
        return {name: float(f"{value:.{_DIGITS}g}") for name, value in values.items()}

    return {
        "role": verdict.role,
        "precision": verdict.precision,
        "verdict": "passed" if verdict.passed else "failed",
        "session": verdict.session,
        "engine": None if verdict.engine is None else str(verdict.engine.folder),
        "figures": rounded(verdict.figures),
        "floors": rounded(verdict.floors),
        "ceilings": rounded(verdict.ceilings),
        "worst": {name: outcome.tiles[index].name for name, index in verdict.worst.items()},
        "faults": list(verdict.faults),
        "notes": list(verdict.notes),
    }


def environment_of(outcome_backend: str, precision: str) -> dict[str, Any]:
    """Where the verification ran, for the record."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "cuda-python"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "backend": outcome_backend,
        "precision": precision,
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
    }


def key_figures(verdict: Verdict) -> str:
    """The figures of a table's line: those that say most of a role."""
    figures = verdict.figures
    names = ["recall", "box IoU mean", "hallucinated boxes", "mask IoU mean", "mask IoU worst"]
    names += ["label agreement mean", "label agreement worst", "hallucinated pixels"]
    parts = [f"{name} {_short(figures[name])}" for name in names if name in figures]
    cosines = [value for name, value in figures.items() if name.startswith("cosine")]
    if not parts and cosines:
        parts.append(f"cosine {min(cosines):.6f}")
    if broken := sum(v for name, v in figures.items() if name.startswith("non-finite")):
        parts.append(f"non-finite values {broken:.0f}")
    return ", ".join(parts) or "not judged"


def _short(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and value != 1 else f"{value:.4f}"


def markdown(outcome: Outcome, environment: Mapping[str, Any], pictures: Sequence[Path]) -> str:
    """The report for people."""
    kind = "synthetic scenes only" if outcome.synthetic else "scenes"
    tiles = ", ".join(tile.name for tile in outcome.tiles)
    lines = [
        f"# {outcome.bundle} on {environment['backend']}: "
        + ("passed" if outcome.passed else "failed"),
        "",
        f"Verified {_now()} by t2s-rt {__version__} against fp32 on {REFERENCE_BACKEND}, "
        f"{environment['system']}.",
        "",
        f"Shown ({kind}): {tiles}.",
        "",
        "| graph | precision | verdict | figures |",
        "|---|---|---|---|",
    ]
    for verdict in outcome.verdicts:
        word = "passed" if verdict.passed else "**failed**"
        name = f"route {CHAIN}" if verdict.role == CHAIN_ROLE else verdict.role
        lines.append(f"| {name} | {verdict.precision} | {word} | {key_figures(verdict)} |")
    faults = dict.fromkeys(fault for verdict in outcome.verdicts for fault in verdict.faults)
    if faults:
        lines += ["", "## What is wrong", "", *(f"- {fault}" for fault in faults)]
    for verdict in outcome.verdicts:
        lines += ["", f"## {verdict.role} {verdict.precision}", "", f"{verdict.session}", ""]
        lines += [*(f"Note: {note}." for note in verdict.notes), ""] if verdict.notes else []
        lines += ["| figure | found | limit | worst on |", "|---|---|---|---|"]
        lines += [_row(verdict, name, outcome) for name in verdict.figures]
    if pictures:
        lines += ["", "## Pictures", ""]
        lines += [f"![{path.stem}]({path.name})" for path in pictures]
    return "\n".join(lines) + "\n"


def _row(verdict: Verdict, name: str, outcome: Outcome) -> str:
    limit = ""
    if name in verdict.floors:
        limit = f"at least {verdict.floors[name]:g}"
    elif name in verdict.ceilings:
        limit = f"at most {verdict.ceilings[name]:g}"
    tile = outcome.tiles[verdict.worst[name]].name if name in verdict.worst else ""
    return f"| {name} | {verdict.figures[name]:.7g} | {limit} | {tile} |"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "free some space, or see who owns the folder"
        ) from error


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _line(text: str) -> str:
    """As the JSON of a verdict may hold it: one line, printable, not endless."""
    flat = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in flat)[:_LONGEST]
