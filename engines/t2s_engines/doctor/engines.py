"""The cache: where it lies, whether it can be written, and what engines are in it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from t2s_engines.doctor.verdicts import Verdict
from t2s_engines.doctor.versions import Version, parse_version, show_version
from t2s_rt.errors import BackendError, UsageError
from t2s_rt.plans import EngineCache, EngineFiles

__all__ = ["check_cache"]

_NAME = re.compile(r"\w+\.\w+\.[0-9a-f]{16}")
"""Of an engine's folder; timing caches and locks lie beside them."""
_LITTLE = 2 << 30
"""Bytes: engines of the official models take some of it, timing caches little."""


def check_cache(release: Version) -> Iterator[Verdict]:
    """Verdicts on the cache of engines.

    Args:
        release: of the TensorRT that would load them; empty where there is none.
    """
    try:
        cache = EngineCache()
    except UsageError as error:
        yield Verdict("warning", "cache", str(error))
        return
    yield _folder(cache.root)
    yield from _engines(cache, release)


def _folder(root: Path) -> Verdict:
    base = next(folder for folder in (root, *root.parents) if folder.exists())
    if not base.is_dir() or not os.access(base, os.W_OK | os.X_OK):
        return Verdict(
            "warning",
            "cache",
            f"{root} cannot be written",
            "name another folder with T2S_CACHE, or let its owner run t2s-rt build",
        )
    free = shutil.disk_usage(base).free
    text = f"{root}, {free / 1e9:.1f} GB free"
    if free < _LITTLE:
        return Verdict("warning", "cache", text, "free some: engines may not fit")
    return Verdict("ok", "cache", text)


def _engines(cache: EngineCache, release: Version) -> Iterator[Verdict]:
    found = sorted(cache.engines(), key=lambda engine: engine.folder.name)
    for engine in found:
        yield _engine(engine, release)
    readable = {engine.folder for engine in found}
    damaged = sorted(
        folder.name
        for folder in (cache.root.iterdir() if cache.root.is_dir() else ())
        if folder.is_dir() and _NAME.fullmatch(folder.name) and folder not in readable
    )
    for name in damaged:
        yield Verdict(
            "warning", "engine", f"{name}: its sidecar cannot be read", "t2s-rt build again"
        )
    if not found and not damaged:
        yield Verdict(
            "note" if release else "ok",
            "engines",
            "none built yet",
            "t2s-rt build, then t2s-rt verify" if release else "",
        )


def _engine(engine: EngineFiles, release: Version) -> Verdict:
    name = engine.folder.name
    built_for = parse_version(str(engine.sidecar.key.get("tensorrt", "")))
    shown = f"{name}, for TensorRT {show_version(built_for)}"
    try:
        size = engine.plan.stat().st_size
    except OSError as error:
        return Verdict(
            "warning", "engine", f"{shown}: no plan ({error.strerror})", "t2s-rt build again"
        )
    if size != engine.sidecar.plan_bytes:
        return Verdict("warning", "engine", f"{shown}: its plan is cut short", "t2s-rt build again")
    if release and len(release) >= 3 and built_for[: len(release)] != release:
        return Verdict(
            "note", "engine", f"{shown}, not {show_version(release)}", "t2s-rt build, if needed"
        )
    try:
        verdict = engine.sign_off()
    except BackendError as error:
        return Verdict("warning", "engine", f"{shown}: {error}", "t2s-rt verify again")
    if verdict is None:
        return Verdict(
            "warning", "engine", f"{shown}: not verified, so infer refuses it", "t2s-rt verify"
        )
    if verdict.verdict == "failed":
        why = "; ".join(verdict.faults) or "see its report"
        return Verdict(
            "fails",
            "engine",
            f"{shown}: failed verification ({why})",
            "build another precision, or fp32",
        )
    return Verdict("ok", "engine", f"{shown}: verified {verdict.verified[:10]}")
