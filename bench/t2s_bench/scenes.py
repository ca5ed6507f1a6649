"""How fast synthetic scenes are drawn on one core."""

from __future__ import annotations

import time
from typing import Any

import cv2

from t2s_bench.machine import describe_machine
from t2s_rt.synthetic import GENERATOR_VERSION, TRAINING_SEEDS, render, scene_spec

__all__ = ["measure_generator"]

_WARM_UP = 8


def measure_generator(count: int = 200, size: int = 256) -> dict[str, Any]:
    """Draw ``count`` scenes of ``size`` x ``size`` pixels on one thread.

    Returns:
        A JSON-ready record; ``per_second`` is scenes per second of the process's CPU time, which
        other work on the machine disturbs least; ``wall_s`` is what the clock said.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for seed in TRAINING_SEEDS[:_WARM_UP]:
            render(scene_spec(seed, size))
        wall, cpu = time.perf_counter(), time.process_time()
        for seed in TRAINING_SEEDS[_WARM_UP : _WARM_UP + count]:
            render(scene_spec(seed, size))
        cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    finally:
        cv2.setNumThreads(threads)
    return {
        "what": "synthetic scenes drawn on one core",
        "generator_version": GENERATOR_VERSION,
        "count": count,
        "size": size,
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "per_second": count / cpu_s,
        "machine": describe_machine(),
    }
