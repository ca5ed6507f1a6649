"""How fast synthetic scenes are drawn on one core."""

from __future__ import annotations

import statistics
import time
from typing import Any

import cv2

from t2s_bench.machine import describe_machine
from t2s_rt.synthetic import GENERATOR_VERSION, TRAINING_SEEDS, render, scene_spec

__all__ = ["measure_generator"]

_WARM_UP = 40
"""Scenes drawn first, uncounted: by then the tables made once per process are there."""


def measure_generator(count: int = 200, size: int = 256, passes: int = 5) -> dict[str, Any]:
    """Draw ``count`` scenes of ``size`` x ``size`` pixels on one thread, ``passes`` times over.

    A processor's clock moves by a third from minute to minute with what its other cores do, so
    the record holds every pass: the fastest says what the code takes, the spread what the machine
    was doing.

    Returns:
        A JSON-ready record; ``passes`` are scenes per second of the process's CPU time,
        ``per_second`` is the fastest and ``median`` the middle one.
    """
    rates = []
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for seed in TRAINING_SEEDS[:_WARM_UP]:
            render(scene_spec(seed, size))
        for _ in range(passes):
            start = time.process_time()
            for seed in TRAINING_SEEDS[_WARM_UP : _WARM_UP + count]:
                render(scene_spec(seed, size))
            rates.append(count / (time.process_time() - start))
    finally:
        cv2.setNumThreads(threads)
    return {
        "what": "synthetic scenes drawn on one core",
        "generator_version": GENERATOR_VERSION,
        "count": count,
        "size": size,
        "passes": rates,
        "per_second": max(rates),
        "median": statistics.median(rates),
        "machine": describe_machine(),
    }
