"""One scene from file to files: cold, warm, by stage, with the peak memory of the process."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from t2s_bench.machine import describe_machine, one_line, peak_memory_bytes, write_record
from t2s_rt.bundle import load_bundle
from t2s_rt.errors import UsageError
from t2s_rt.pipeline import Pipeline, SceneReport
from t2s_rt.prompts import load_pack
from t2s_rt.routes import RouteName
from t2s_rt.synthetic import GENERATOR_VERSION, HELD_OUT_SEEDS, scene_spec, write_scene

__all__ = ["measure_scene", "print_record"]

_SEED = HELD_OUT_SEEDS[3]


def measure_scene(
    bundle_path: Path | None,
    *,
    route: RouteName,
    size: int,
    repeat: int,
    threads: int | None = None,
) -> dict[str, Any]:
    """Time ``infer`` on a synthetic scene of ``size`` x ``size`` working pixels.

    The first pass is cold (it opens the models), ``repeat`` more are warm.

    Returns:
        A JSON-ready record: seconds of the cold and of each warm pass, of each stage (of the
        fastest warm pass), tiles, peak resident memory, machine.
    """
    if repeat < 1:
        raise UsageError(f"expected at least one warm run, found --repeat {repeat}")
    bundle = load_bundle(bundle_path)
    if bundle.default_pack is None:
        raise UsageError(f"bundle {bundle.name} has no default pack, which names what to look for")
    pack = load_pack(bundle.default_pack, bundle)
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / "scene.tif"
        write_scene(scene_spec(_SEED, size, bundle.gsd), scene)
        before = peak_memory_bytes()
        passes: list[tuple[float, SceneReport]] = []
        with Pipeline.from_bundle(bundle, route=route, threads=threads) as pipeline:
            for _ in range(1 + repeat):
                start = time.perf_counter()
                report = pipeline(scene, pack, Path(folder) / "map", overwrite=True)
                passes.append((time.perf_counter() - start, report))
        peak = peak_memory_bytes()
    warm = [seconds for seconds, _ in passes[1:]]
    fastest = passes[1 + int(np.argmin(warm))][1]
    return {
        "what": "one synthetic scene from file to files",
        "bundle": bundle.name,
        "route": route,
        "classes": len(pack.classes),
        "size": size,
        "seed": _SEED,
        "generator_version": GENERATOR_VERSION,
        "tiles": fastest.tiles.total,
        "cold_s": passes[0][0],
        "warm_s": warm,
        "stages_s": dict(fastest.seconds),
        "peak_rss_bytes": peak,
        "rss_before_bytes": before,
        "threads": threads,
        "machine": describe_machine(),
    }


def print_record(record: dict[str, Any], output: Path | None) -> None:
    """Print the record as a Markdown table; write it as JSON if a path is given."""
    warm = record["warm_s"]
    print(
        f"route {record['route']}, {record['classes']} classes, {record['size']} x "
        f"{record['size']} pixels in {record['tiles']} tiles, bundle {record['bundle']}; "
        f"{one_line(record['machine'])}\n"
    )
    print("| | seconds |\n|---|---|")
    print(f"| cold, models opened | {record['cold_s']:.2f} |")
    print(f"| warm, median of {len(warm)} | {np.median(warm):.2f} |")
    print(f"| warm, fastest | {min(warm):.2f} |")
    for stage, seconds in record["stages_s"].items():
        print(f"| of which {stage} | {seconds:.2f} |")
    print(
        f"\npeak memory {record['peak_rss_bytes'] / 1e9:.2f} GB "
        f"({record['rss_before_bytes'] / 1e9:.2f} GB before the models were opened)"
    )
    if output is not None:
        write_record(record, output)
        print(f"\nwritten: {output}")
