"""Two records of ``bench run`` against each other: what became slower or larger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from t2s_rt.errors import UsageError

__all__ = ["Change", "changes", "differences", "load_record"]

_LATENCIES = ("graphs", "decoder_boxes")
_MEMORY = ("peak_rss_bytes", "gpu_memory_bytes", "joules_per_scene")
_LEAST_S = 2e-4
"""Seconds: faster things than this are told, but a change of theirs is no regression."""
_SAME = ("bundle", "route", "precision", "backend", "threads", "tile")


@dataclass(frozen=True)
class Change:
    """One figure in both records.

    Attributes:
        name: ``part / graph`` or the like.
        unit: ``s``, ``bytes`` or ``J``.
        old: earlier value.
        new: later value.
        tolerance: share by which it may grow.
    """

    name: str
    unit: str
    old: float
    new: float
    tolerance: float

    @property
    def ratio(self) -> float:
        """New to old."""
        return self.new / self.old if self.old else float("inf")

    @property
    def regressed(self) -> bool:
        """Whether it grew by more than may be."""
        small = self.unit == "s" and max(self.old, self.new) < _LEAST_S
        return self.ratio > 1 + self.tolerance and not small


def load_record(path: Path) -> dict[str, Any]:
    """A record of ``bench run``.

    Raises:
        UsageError: the file is none.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: expected a record of t2s-rt bench run ({error})") from error
    if not isinstance(record, dict) or record.get("kind") != "speed":
        raise UsageError(f"{path}: expected a record of t2s-rt bench run, found something else")
    version = record.get("schema_version")
    if version != 1:
        raise UsageError(f"{path}: expected schema_version 1, found {version}; measure it again")
    return record


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Why the two may not compare: other settings, another machine, other versions."""
    found = [
        f"{key}: {old.get(key)} then, {new.get(key)} now"
        for key in _SAME
        if old.get(key) != new.get(key)
    ]
    then, now = old.get("machine", {}), new.get("machine", {})
    for key in ("cpu", "cores", "cpu_flags", "system", "python", "versions"):
        if then.get(key) != now.get(key):
            found.append(f"{key}: {then.get(key)} then, {now.get(key)} now")
    if old.get("device", {}).get("power_mode") != new.get("device", {}).get("power_mode"):
        found.append("the power mode of the device changed")
    sizes = [record.get("scene", {}).get("size") for record in (old, new)]
    if sizes[0] != sizes[1]:
        found.append(f"scene of {sizes[0]} pixels then, {sizes[1]} now")
    return found


def changes(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float = 0.1) -> list[Change]:
    """Every figure that both records have, in the order of the new one.

    Args:
        old: earlier record.
        new: later record.
        tolerance: share by which a figure may grow; a scene whose warm passes scatter more than
            that may grow by as much as they scatter.

    Raises:
        UsageError: the records have nothing in common.
    """
    found = list(_changes(old, new, tolerance))
    if not found:
        raise UsageError("expected records with a figure in common, found none; see --parts")
    return found


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float) -> Iterator[Change]:
    then, now = old.get("scene"), new.get("scene")
    if then and now and then["size"] == now["size"]:
        scatter = max(tolerance, _scatter(then["warm_s"]), _scatter(now["warm_s"]))
        yield Change("scene, cold", "s", then["cold_s"], now["cold_s"], max(scatter, 0.25))
        yield Change("scene, warm", "s", then["p50_s"], now["p50_s"], scatter)
        for key in _MEMORY:
            if then.get(key) and now.get(key):
                unit = "J" if key.startswith("joules") else "bytes"
                yield Change(f"scene, {key}", unit, then[key], now[key], tolerance)
    for part in _LATENCIES:
        for name, figures in (new.get(part) or {}).items():
            before = (old.get(part) or {}).get(name)
            if before:
                yield _latency(f"{part} / {name}", before, figures, tolerance)
    for route, counts in (new.get("routes") or {}).items():
        for count, figures in counts.items():
            before = (old.get("routes") or {}).get(route, {}).get(count)
            if before:
                yield _latency(f"route {route}, {count} classes", before, figures, tolerance)


def _latency(name: str, old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float) -> Change:
    return Change(name, "s", old["p50_s"], new["p50_s"], tolerance)


def _scatter(times: Sequence[float]) -> float:
    """Spread of the middle half of the times, as a share of their median."""
    low, middle, high = np.percentile(np.asarray(times, np.float64), (25, 50, 75)).tolist()
    return float((high - low) / middle) if middle else 0.0
