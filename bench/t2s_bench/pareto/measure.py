"""mIoU and seconds of every route in every precision, scene by scene, the precisions in turn."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from rich.progress import track

from t2s_bench.card import checkpoints_of
from t2s_bench.inputs import default_pack
from t2s_bench.machine import describe_machine
from t2s_bench.nano.maps import to_truth
from t2s_bench.pareto.bundles import rounding_bundle, with_int8
from t2s_bench.speed.samples import ratio_interval
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.evaluation import ConfusionMatrix
from t2s_rt.pipeline import Pipeline, PipelineSettings
from t2s_rt.prompts import PromptPack
from t2s_rt.routes import RouteName
from t2s_rt.synthetic import CLASSES, GENERATOR_VERSION, HELD_OUT_SEEDS, render, scene_spec

__all__ = ["measure_pareto"]

SCHEMA_VERSION = 1
_BACKEND = "onnxruntime-cpu"
_TIMED = ("fp32", "int8")
"""A processor gains nothing from float16: its time is a GPU's to tell."""


def measure_pareto(
    bundle_path: Path | None,
    routes: Sequence[RouteName],
    limit: int,
    size: int = 512,
    threads: int | None = None,
) -> dict[str, Any]:
    """Compare precisions on the last held-out scenes; calibration takes the first.

    Args:
        bundle_path: of a bundle; None is nano. Without int8 graphs it is calibrated first.
        routes: words to masks by which ways.
        limit: number of scenes.
        size: side of a scene in pixels.
        threads: of ONNX Runtime; None takes one per core.

    Returns:
        JSON-ready: by route and precision mIoU and median seconds of a scene.

    Raises:
        BundleError, BackendError: graphs are missing or cannot be run.
    """
    loaded = load_bundle(bundle_path)
    pack = default_pack(loaded)
    with tempfile.TemporaryDirectory(prefix="t2s-pareto-") as name:
        folder = Path(name)
        calibrated = with_int8(loaded, pack, folder)
        bundles = {
            "fp32": (calibrated, "fp32"),
            "fp16": (rounding_bundle(loaded, folder / "fp16"), "fp32"),
            "int8": (calibrated, "int8"),
        }
        found = {route: _route(bundles, pack, route, limit, size, threads) for route in routes}
        weight_bits = {
            graph.islands.get("weight_bits")
            for graph in calibrated.manifest.graphs
            if graph.target == "cpu"
        }
    return {
        "kind": "pareto",
        "schema_version": SCHEMA_VERSION,
        "bundle": loaded.name,
        "generator_version": GENERATOR_VERSION,
        "scenes": limit,
        "size": size,
        "weight_bits": sorted(b for b in weight_bits if b is not None),
        "checkpoints": checkpoints_of(loaded),
        "machine": describe_machine(),
        "routes": found,
    }


def _route(
    bundles: Mapping[str, tuple[Bundle, str]],
    pack: PromptPack,
    route: RouteName,
    limit: int,
    size: int,
    threads: int | None,
) -> dict[str, Any]:
    names = [entry.name for entry in CLASSES]
    means = to_truth(pack)
    matrices = {precision: ConfusionMatrix(names) for precision in bundles}
    seconds: dict[str, list[float]] = {precision: [] for precision in bundles}
    with ExitStack() as stack:
        pipelines = {}
        for precision, (bundle, graphs) in bundles.items():
            settings = PipelineSettings(
                route=route, precision=graphs, backend=_BACKEND, threads=threads
            )
            pipelines[precision] = stack.enter_context(Pipeline(bundle, settings))
        warm = render(scene_spec(HELD_OUT_SEEDS[0], size))
        for pipeline in pipelines.values():
            pipeline.score_image(warm.image, pack, None)
        for number, seed in enumerate(track(HELD_OUT_SEEDS[-limit:], route, transient=True)):
            spec = scene_spec(seed, size)
            scene = render(spec)
            # whoever comes first finds colder caches: they take turns
            order = list(pipelines)[:: 1 if number % 2 else -1]
            for precision in order:
                start = time.perf_counter()
                labels = pipelines[precision].score_image(scene.image, pack, spec.gsd).labels
                seconds[precision].append(time.perf_counter() - start)
                matrices[precision].add(scene.classes, means[labels])
    ratio, low, high = ratio_interval(seconds["fp32"], seconds["int8"])
    return {
        "precisions": {
            precision: {
                "miou": matrices[precision].miou(range(1, len(names))),
                "seconds": median(seconds[precision]) if precision in _TIMED else None,
            }
            for precision in bundles
        },
        "int8_time": {"ratio": ratio, "low": low, "high": high},
    }
