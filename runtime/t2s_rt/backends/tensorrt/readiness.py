"""Whether TensorRT could run some graphs, by the engines' files alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from t2s_rt.bundle import GraphEntry
from t2s_rt.errors import T2SError
from t2s_rt.plans import EngineCache, EngineFiles

__all__ = ["engines_missing"]


def engines_missing(
    graphs: Callable[[str], Sequence[GraphEntry]] | None, folder: Path | None = None
) -> str | None:
    """Why ``auto`` passes TensorRT by, in a few words, or None.

    Imports nothing. Whether an engine fits this device and this TensorRT shows when it is opened:
    an engine that was built and verified here but fits no more is an error to be told, and no
    reason to fly on a backend that is many times slower.

    Args:
        graphs: from a device to the graphs that would be opened; None where nobody knows yet.
        folder: of the engines; None takes the cache's.
    """
    if graphs is None:
        return "it runs engines of t2s-rt build, so it must be asked for"
    try:
        engines = EngineCache(folder).engines()
        for entry in graphs("gpu"):
            mine = [engine for engine in engines if _of(engine, entry)]
            if not mine:
                return f"no engine of {entry.role} {entry.precision} is built"
            if not any(_passed(engine) for engine in mine):
                return f"no engine of {entry.role} {entry.precision} is verified"
    except T2SError as error:
        return str(error)
    return None


def _of(engine: EngineFiles, entry: GraphEntry) -> bool:
    key = engine.sidecar.key
    return all(
        key.get(name) == value
        for name, value in (
            ("role", entry.role),
            ("precision", entry.precision),
            ("graph", entry.content_sha256),
        )
    )


def _passed(engine: EngineFiles) -> bool:
    report = engine.sign_off()
    return report is not None and report.verdict == "passed"
