"""Two settings in turn on one tile: the ratio of their times with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from t2s_bench.every_route import roles_of
from t2s_bench.inputs import default_pack
from t2s_bench.machine import describe_machine
from t2s_bench.speed.device import device_state
from t2s_bench.speed.routes import run_route
from t2s_bench.speed.samples import interleaved, ratio_interval, summary
from t2s_engines.verify.tiles import synthetic_tiles
from t2s_rt.bundle import load_bundle
from t2s_rt.errors import UsageError
from t2s_rt.models import Models
from t2s_rt.routes import RouteName, RouteSettings

__all__ = ["KEYS", "measure_versus", "parse_side"]

KEYS = ("bundle", "precision", "backend", "threads")


def parse_side(text: str) -> dict[str, str]:
    """Settings of one side, ``precision=fp16,threads=1``; an empty text takes the defaults.

    Raises:
        UsageError: no such setting.
    """
    found: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, value = part.partition("=")
        if key not in KEYS or not equals or not value:
            raise UsageError(
                f"expected settings out of {', '.join(KEYS)} as in precision=fp16,threads=1, "
                f"found {part!r}"
            )
        found[key] = value
    threads = found.get("threads")
    if threads is not None and (not threads.isdigit() or int(threads) < 1):
        raise UsageError(f"expected threads=1 or more, found {threads!r}")
    return found


def measure_versus(
    first: Mapping[str, str], second: Mapping[str, str], *, route: RouteName, repeat: int
) -> dict[str, Any]:
    """Run a route on one tile with both settings, in turns.

    Both sides see the same pixels: they need one tile size.

    Returns:
        JSON-ready: seconds of both by turn, and the ratio second / first with its 95 % interval.

    Raises:
        UsageError: bundles without a default pack or of different tile sizes.
        BundleError, BackendError: the models cannot be opened or run.
    """
    if repeat < 3:
        raise UsageError(f"expected at least 3 turns for an interval, found {repeat}")
    paths = [side.get("bundle") for side in (first, second)]
    bundles = [load_bundle(None if path is None else Path(path)) for path in paths]
    if bundles[0].tile_size != bundles[1].tile_size:
        raise UsageError(
            f"expected bundles of one tile size, found {bundles[0].tile_size} and "
            f"{bundles[1].tile_size} pixels; their times do not compare"
        )
    tile = synthetic_tiles(bundles[0], 1)[0]
    roles = roles_of((route,), RouteSettings())
    with ExitStack() as stack:
        runs = []
        for side, bundle in zip((first, second), bundles, strict=True):
            threads = side.get("threads")
            models = stack.enter_context(
                Models.open(
                    bundle,
                    side.get("precision", "auto"),
                    side.get("backend", "auto"),
                    roles,
                    threads=None if threads is None else int(threads),
                )
            )
            runs.append(partial(run_route, models, default_pack(bundle), route, tile))
        times = interleaved(runs[0], runs[1], repeat)
    ratio, low, high = ratio_interval(*times)
    return {
        "what": "two settings in turn, one tile",
        "kind": "versus",
        "route": route,
        "first": {"settings": dict(first), "times_s": times[0], **summary(times[0])},
        "second": {"settings": dict(second), "times_s": times[1], **summary(times[1])},
        "ratio": ratio,
        "ratio_95": [low, high],
        "machine": describe_machine(),
        "device": device_state(),
    }
