"""All speeds of a bundle on this device, as one record."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from t2s_bench.every_route import roles_of
from t2s_bench.inputs import default_pack
from t2s_bench.machine import describe_machine
from t2s_bench.speed import PARTS
from t2s_bench.speed.device import device_state
from t2s_bench.speed.graphs import measure_decoder, measure_graphs
from t2s_bench.speed.routes import class_packs, measure_routes
from t2s_bench.speed.scene import measure_scene
from t2s_engines.verify.tiles import synthetic_tiles
from t2s_rt.bundle import load_bundle
from t2s_rt.errors import UsageError
from t2s_rt.models import Models
from t2s_rt.pipeline import PipelineSettings
from t2s_rt.routes import RouteName, RouteSettings

__all__ = ["SCHEMA_VERSION", "measure_speed"]

SCHEMA_VERSION = 1


def measure_speed(
    bundle_path: Path | None = None,
    *,
    routes: Sequence[RouteName],
    size: int = 1024,
    repeat: int = 10,
    precision: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
    parts: Collection[str] = PARTS,
) -> dict[str, Any]:
    """Time single graphs, routes on one tile, and the whole of ``infer``.

    Args:
        bundle_path: of the bundle; the embedded one by default.
        routes: timed on one tile; the first one also from file to files.
        size: of the scene in working pixels, square.
        repeat: warm samples of everything.
        precision: ``auto``, ``fp32``, ``fp16`` or ``int8``.
        backend: ``auto`` or a backend's name.
        threads: in all; None takes one per core.
        parts: which of :data:`t2s_bench.speed.PARTS`.

    Returns:
        A JSON-ready record, ``kind`` ``speed``, with the machine and the device's state.

    Raises:
        UsageError: the bundle has no default pack, an unknown part, nothing to repeat.
        BundleError, BackendError: the models cannot be opened or run.
    """
    if unknown := set(parts) - set(PARTS):
        raise UsageError(
            f"expected parts out of {', '.join(PARTS)}, found {', '.join(sorted(unknown))}"
        )
    if repeat < 1 or not routes:
        raise UsageError(f"expected a route and at least one warm run, found {routes}, {repeat}")
    bundle = load_bundle(bundle_path)
    pack = default_pack(bundle)
    tile = synthetic_tiles(bundle, 1)[0]
    record: dict[str, Any] = {
        "what": "latency and throughput on this device",
        "kind": "speed",
        "schema_version": SCHEMA_VERSION,
        "bundle": bundle.name,
        "route": routes[0],
        "precision": precision,
        "backend": backend,
        "threads": threads,
        "tile": bundle.tile_size,
        "gsd": bundle.gsd,
        "machine": describe_machine(),
        "device": device_state(),
    }
    with Progress(transient=True) as progress:
        task = progress.add_task("speed", total=len(parts))
        if "scene" in parts:  # first, so that its peak of memory is its own
            settings = PipelineSettings(
                route=routes[0], precision=precision, backend=backend, threads=threads
            )
            record["scene"] = measure_scene(bundle, pack, settings, size=size, repeat=repeat)
            progress.advance(task)
        if "graphs" in parts:
            record["graphs"] = measure_graphs(
                bundle, pack, tile,
                precision=precision, backend=backend, threads=threads, repeat=repeat,
            )  # fmt: skip
            progress.advance(task)
        if "routes" in parts:
            needed = roles_of(routes, RouteSettings())
            with Models.open(bundle, precision, backend, needed, threads=threads) as models:
                record["routes"] = measure_routes(models, class_packs(bundle), routes, tile, repeat)
                if models.segmenter is not None:
                    record["decoder_boxes"] = measure_decoder(models, tile, repeat)
            progress.advance(task)
    return record
