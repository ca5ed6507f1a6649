"""Two ways to compute the same, timed in turn, without the samples that others disturbed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

__all__ = ["Timing", "interleave"]

_FOREIGN = 0.06
"""Share of the machine that other processes may take during a sample that counts."""
_PATIENCE = 2
"""Rounds at most, as a multiple of the samples wanted."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one candidate.

    Attributes:
        fastest: the least.
        median: the middle.
        samples: how many counted.
        disturbed: no sample was clean, so that all of them count.
    """

    fastest: float
    median: float
    samples: int
    disturbed: bool


def _busy_seconds() -> float | None:
    """CPU seconds that all processes together have used; None where the system does not say."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    fields = [int(x) for x in path.read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _sample(run: Callable[[], object]) -> tuple[float, bool]:
    """Seconds of one run, and whether other processes left it alone."""
    busy, own, start = _busy_seconds(), time.process_time(), time.perf_counter()
    run()
    wall, own = time.perf_counter() - start, time.process_time() - own
    after = _busy_seconds()
    if busy is None or after is None:
        return wall, True
    foreign = max(0.0, after - busy - own) / (wall * (os.cpu_count() or 1))
    return wall, foreign < _FOREIGN


def interleave(
    candidates: Mapping[str, Callable[[], object]], repeat: int, *, warm: bool = True
) -> dict[str, Timing]:
    """Time candidates in turn, so that what happens to the machine happens to all of them.

    Args:
        candidates: what to run, by name.
        repeat: clean samples wanted of each.
        warm: run each once unmeasured first; False where the caller has.
    """
    for run in candidates.values() if warm else ():
        run()
    samples: dict[str, list[tuple[float, bool]]] = {name: [] for name in candidates}
    for _ in range(_PATIENCE * repeat):
        for name, run in candidates.items():
            samples[name].append(_sample(run))
        if all(sum(clean for _, clean in taken) >= repeat for taken in samples.values()):
            break
    return {name: _summary(taken) for name, taken in samples.items()}


def _summary(taken: list[tuple[float, bool]]) -> Timing:
    clean = [seconds for seconds, alone in taken if alone]
    counted = clean or [seconds for seconds, _ in taken]
    return Timing(min(counted), median(counted), len(counted), not clean)
