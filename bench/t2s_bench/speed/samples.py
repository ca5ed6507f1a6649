"""Times of something that is done again and again, and ratios of two such things."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["interleaved", "latency", "ratio_interval", "summary"]

_SEED = 20261129
_DRAWS = 2000


def summary(times: Sequence[float]) -> dict[str, Any]:
    """Percentiles of seconds: ``p50_s``, ``p95_s``, ``p99_s``, the fastest, and how many.

    Of few samples the high percentiles lie between the slowest ones; ``samples`` says so.
    """
    p50, p95, p99 = np.percentile(np.asarray(times, np.float64), (50, 95, 99)).tolist()
    return {
        "p50_s": p50,
        "p95_s": p95,
        "p99_s": p99,
        "fastest_s": float(min(times)),
        "samples": len(times),
    }


def latency(run: Callable[[], object], repeat: int) -> dict[str, Any]:
    """:func:`summary` of ``repeat`` runs after a first one, which is ``first_s``."""
    first = _timed(run)
    return {"first_s": first, **summary([_timed(run) for _ in range(repeat)])}


def interleaved(
    first: Callable[[], object], second: Callable[[], object], repeat: int
) -> tuple[list[float], list[float]]:
    """Times of two things in turn, each once before, the one that begins changing by turns."""
    for run in (first, second):
        run()
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeat):
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        for which in order:
            times[which].append(_timed((first, second)[which]))
    return times


def ratio_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Median of the turns' ratios ``second / first`` with its 95 % interval (bootstrap).

    Args:
        first: seconds by turn.
        second: seconds of the same turns.

    Returns:
        ratio, lower and upper end.
    """
    ratios = np.asarray(second, np.float64) / np.asarray(first, np.float64)
    rng = np.random.default_rng(_SEED)
    draws = np.median(ratios[rng.integers(0, len(ratios), (_DRAWS, len(ratios)))], axis=1)
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    return float(np.median(ratios)), low, high


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
