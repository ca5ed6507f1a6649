"""One scene from file to files: cold, warm, by stage, with memory and energy."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from t2s_bench.machine import peak_memory_bytes
from t2s_bench.speed.device import EnergyMeter, gpu_memory_bytes
from t2s_bench.speed.samples import summary
from t2s_rt.bundle import Bundle
from t2s_rt.pipeline import Pipeline, PipelineSettings, SceneReport
from t2s_rt.prompts import PromptPack
from t2s_rt.synthetic import GENERATOR_VERSION, HELD_OUT_SEEDS, scene_spec, write_scene

__all__ = ["measure_scene"]

_SEED = HELD_OUT_SEEDS[3]


def measure_scene(
    bundle: Bundle, pack: PromptPack, settings: PipelineSettings, *, size: int, repeat: int
) -> dict[str, Any]:
    """Time ``infer`` on a synthetic scene of ``size`` x ``size`` working pixels.

    The first pass is cold (it opens the models), ``repeat`` more are warm; nothing is resampled.

    Returns:
        JSON-ready: seconds of the cold pass and of the warm ones, of each stage in the fastest
        warm pass, tiles and square kilometres a second, memory, and energy where it is told.
    """
    meter = EnergyMeter()
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / "scene.tif"
        write_scene(scene_spec(_SEED, size, bundle.gsd), scene)
        before = peak_memory_bytes()
        passes: list[tuple[float, SceneReport]] = []
        with Pipeline(bundle, settings) as pipeline:

            def run() -> None:
                start = time.perf_counter()
                report = pipeline(scene, pack, Path(folder) / "map", overwrite=True)
                passes.append((time.perf_counter() - start, report))

            run()
            with meter.running():
                for _ in range(repeat):
                    run()
            gpu = gpu_memory_bytes()
            backends = [] if pipeline.models is None else list(pipeline.models.describe())
        peak = peak_memory_bytes()
    warm = [seconds for seconds, _ in passes[1:]]
    fastest = passes[1 + int(np.argmin(warm))][1]
    figures = summary(warm)
    return {
        "size": size,
        "seed": _SEED,
        "generator_version": GENERATOR_VERSION,
        "classes": len(pack.classes),
        "tiles": fastest.tiles.total,
        "cold_s": passes[0][0],
        "warm_s": warm,
        **figures,
        "tiles_per_second": fastest.tiles.total / figures["p50_s"],
        "km2_per_second": (size * bundle.gsd / 1000) ** 2 / figures["p50_s"],
        "stages_s": dict(fastest.seconds),
        "peak_rss_bytes": peak,
        "rss_before_bytes": before,
        "gpu_memory_bytes": gpu,
        "energy_source": meter.source,
        "joules_per_scene": None if meter.joules is None else meter.joules / repeat,
        "backends": backends,
    }
