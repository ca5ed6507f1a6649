"""Reading that hides behind computing, and tiles in one call: what they save, and that the map
stays the same.

Five ways to map a scene take turns, round after round, so that what the machine does meanwhile
meets them alike:

============  =====================================================================
sequential    one tile after another with all threads; each read when it is needed
ahead         the same, but the next tile is read and prepared meanwhile
in turn       one tile after another with the threads that each has in ``overlapped``
overlapped    as ``infer`` does by default: ahead, tiles side by side
batched       as overlapped, with several tiles in each call of an encoder
============  =====================================================================

Maps are compared byte for byte where only the order of work differs: ``ahead`` with
``sequential``, ``overlapped`` and ``batched`` with ``in turn``. Other numbers of threads make
ONNX Runtime add up in another order; how many pixels that moves is counted.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from t2s_bench.inputs import default_pack
from t2s_bench.machine import describe_machine, one_line
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.errors import UsageError
from t2s_rt.pipeline import Pipeline, PipelineSettings, SceneReport
from t2s_rt.prompts import PromptPack
from t2s_rt.routes import RouteName
from t2s_rt.synthetic import GENERATOR_VERSION, HELD_OUT_SEEDS, scene_spec, write_scene

__all__ = ["differing", "measure_overlap", "overlap_table"]

_SEED = HELD_OUT_SEEDS[3]
_BASE = "sequential"
_ORDER = ("sequential", "ahead", "in turn", "overlapped", "batched")
_SAME_WORK = {"ahead": "sequential", "overlapped": "in turn", "batched": "in turn"}
"""Ways whose maps must be the same to the byte."""


@dataclass
class _Way:
    """One way to map a scene, and what it took."""

    name: str
    pipeline: Pipeline
    wall: list[float] = field(default_factory=list)
    reports: list[SceneReport] = field(default_factory=list)

    def record(self, base: _Way) -> dict[str, Any]:
        """JSON-ready: seconds of each round, ratios to the base of the same round, overlap."""
        timings = [report.timings for report in self.reports]
        ratios = [mine / its for mine, its in zip(self.wall, base.wall, strict=True)]
        return {
            "tiles_at_once": timings[0].tiles_at_once,
            "tiles_per_call": timings[0].tiles_per_call,
            "encoders_side_by_side": timings[0].encoders_side_by_side,
            "wall_s": self.wall,
            "ratio_to_sequential": {"min": min(ratios), "median": median(ratios)},
            "read_s": [timing.read_s for timing in timings],
            "read_hidden_s": [timing.read_hidden_s for timing in timings],
            "overlap": median([timing.overlap or 0.0 for timing in timings]),
        }


def measure_overlap(
    bundle_path: Path | None,
    scenes: Sequence[Path],
    *,
    route: RouteName,
    size: int,
    gsd: float,
    batch: int,
    rounds: int,
    threads: int | None = None,
) -> dict[str, Any]:
    """Map scenes in every way, ``rounds`` times in turns.

    Args:
        bundle_path: of the bundle; None takes nano.
        scenes: files; a synthetic scene is added.
        route: to map them by.
        size: edge of the synthetic scene in pixels; 0 leaves it out.
        gsd: its ground resolution, metres per pixel: finer than the bundle's, so that there is
            something to read.
        batch: tiles in a call in ``batched``.
        rounds: passes of each way.
        threads: in all; None takes one per core.

    Returns:
        A JSON-ready record; ``identical`` of each scene says whether the maps that must be the
        same are, ``pixels_unlike_sequential`` how many labels differ from ``sequential``.

    Raises:
        UsageError: nothing to measure.
    """
    if rounds < 1 or (not scenes and size < 1):
        raise UsageError("expected at least one round and one scene, found none")
    bundle = load_bundle(bundle_path)
    pack = default_pack(bundle)
    with tempfile.TemporaryDirectory() as folder:
        paths = [("file", path) for path in scenes]
        if size:
            drawn = Path(folder) / "synthetic.tif"
            write_scene(scene_spec(_SEED, size, gsd), drawn)
            paths.append(("synthetic", drawn))
        measured = []
        with ExitStack() as stack:
            pipelines = dict(_pipelines(stack, bundle, route, batch, threads))
            for pipeline in pipelines.values():  # opens the models
                pipeline.score_image(np.zeros((64, 64, 3), np.uint8), pack)
            for number, (kind, path) in enumerate(paths):
                ways = [_Way(name, pipeline) for name, pipeline in pipelines.items()]
                found = _measure_scene(path, pack, ways, rounds, Path(folder) / str(number))
                measured.append({"kind": kind, "name": path.name, **found})
    return {
        "what": "one tile after another beside reading ahead, tiles side by side and in batches",
        "bundle": bundle.name,
        "route": route,
        "classes": len(pack.classes),
        "threads": threads,
        "batch": batch,
        "rounds": rounds,
        "seed": _SEED,
        "generator_version": GENERATOR_VERSION,
        "scenes": measured,
        "machine": describe_machine(),
    }


def _pipelines(
    stack: ExitStack, bundle: Bundle, route: RouteName, batch: int, threads: int | None
) -> Iterator[tuple[str, Pipeline]]:
    size = sum(file.bytes for graph in bundle.manifest.graphs for file in graph.files)
    workers, each = PipelineSettings(threads=threads).parallel(size)
    one_tile: dict[str, Any] = {"workers": 1, "batch": 1, "side_by_side": False}
    for name, changes in (
        ("sequential", {**one_tile, "threads": threads, "read_ahead": 0}),
        ("ahead", {**one_tile, "threads": threads}),
        ("in turn", {**one_tile, "threads": each, "read_ahead": 0}),
        ("overlapped", {"workers": workers, "threads": threads}),
        ("batched", {"workers": workers, "threads": threads, "batch": batch}),
    ):
        yield name, stack.enter_context(Pipeline.from_bundle(bundle, route=route, **changes))


def _measure_scene(
    path: Path, pack: PromptPack, ways: Sequence[_Way], rounds: int, folder: Path
) -> dict[str, Any]:
    def run(way: _Way) -> tuple[float, SceneReport]:
        start = time.perf_counter()
        report = way.pipeline(path, pack, folder / way.name, stem="scene", overwrite=True)
        return time.perf_counter() - start, report

    for number in range(rounds):
        # each comes first in turn: a clock that slows down as the round goes on is nobody's own
        for shift in range(len(ways)):
            way = ways[(number + shift) % len(ways)]
            spent, report = run(way)
            way.wall.append(spent)
            way.reports.append(report)
    base = next(way for way in ways if way.name == _BASE)
    tiles = base.reports[0].tiles
    with rasterio.open(path) as source:
        shape, bands = source.shape, source.count
    return {
        "height": shape[0],
        "width": shape[1],
        "bands": bands,
        "working_gsd_m": base.reports[0].working_gsd,
        "tiles": tiles.total,
        "skipped": tiles.skipped,
        "ways": {way.name: way.record(base) for way in ways},
        "identical": {
            name: not any(differing(folder / name, folder / other, "scene"))
            for name, other in _SAME_WORK.items()
        },
        "pixels_unlike_sequential": {
            way.name: differing(folder / way.name, folder / _BASE, "scene")[0] for way in ways
        },
    }


def differing(one: Path, other: Path, stem: str) -> tuple[int, int]:
    """Pixels of the class map, and of the confidence, that differ between two runs' outputs.

    Files that differ in any byte although no pixel does count as one.
    """
    found = []
    for name in (f"{stem}.labels.tif", f"{stem}.confidence.tif"):
        pixels = int((_pixels(one / name) != _pixels(other / name)).sum())
        same = (one / name).read_bytes() == (other / name).read_bytes()
        found.append(pixels if pixels or same else 1)
    return found[0], found[1]


def _pixels(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as source:
        return np.asarray(source.read(1))


def overlap_table(record: dict[str, Any]) -> str:
    """The record as Markdown tables, one for each scene."""
    lines = []
    for scene in record["scenes"]:
        title = f"{scene['name']}, {scene['height']} × {scene['width']}, {scene['tiles']} tiles"
        lines += [
            f"| {title} | seconds, median | to sequential, median (least) | reading, s | "
            "of it hidden | map |",
            "|---|---|---|---|---|---|",
        ]
        for name in _ORDER:
            way = scene["ways"][name]
            ratio = way["ratio_to_sequential"]
            if name in _SAME_WORK:
                same = "same bytes as" if scene["identical"][name] else "DIFFERS from"
                verdict = f"{same} {_SAME_WORK[name]}"
            else:
                verdict = ""
            lines.append(
                f"| {name} | {median(way['wall_s']):.2f} | {ratio['median']:.2f} "
                f"({ratio['min']:.2f}) | {median(way['read_s']):.2f} | {way['overlap']:.0%} | "
                f"{verdict} |"
            )
        most = max(scene["pixels_unlike_sequential"].values())
        lines += [
            "",
            f"Labels that other numbers of threads moved: at most {most} of "
            f"{scene['height'] * scene['width']} pixels.",
            "",
        ]
    files = [f" {s['name']}" for s in record["scenes"] if s["kind"] == "file"]
    command = f"t2s-rt bench overlap{''.join(files)} --rounds {record['rounds']}"
    lines.append(
        f"Route {record['route']}, {record['classes']} classes, bundle {record['bundle']}, "
        f"{record['rounds']} rounds; `{command}`; {one_line(record['machine'])}."
    )
    return "\n".join(lines)
