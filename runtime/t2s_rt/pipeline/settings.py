"""What a pipeline is told once, for all of its scenes."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from t2s_rt.backends import BackendOptions
from t2s_rt.errors import UsageError
from t2s_rt.limits import SMALL_MODEL_BYTES, TILES_PER_CALL
from t2s_rt.routes import DEFAULT_ROUTE, ROUTES, RouteName, RouteSettings

__all__ = ["MAX_TILE", "MIN_TILE", "PipelineSettings"]

MIN_TILE, MAX_TILE = 64, 4096
"""Sides of tiles in working pixels that ``tile`` may ask for."""
MAX_AHEAD = 64
"""Tiles that may be read ahead: they wait in memory."""

_OVERLAP_SHARE = 8
_WORKERS = 2
"""More tiles at once would cost memory in proportion and gain little."""


@dataclass(frozen=True)
class PipelineSettings:
    """Settings of a pipeline.

    Attributes:
        route: words to masks by which way.
        precision: ``auto``, ``fp32``, ``fp16`` or ``int8``.
        backend: ``auto`` or a backend's name.
        gsd: working resolution in metres per pixel; None takes the bundle's.
        tile: side of a tile in working pixels; None takes the bundle's. Another side than the
            bundle's is resized to the models' frames.
        overlap: of neighbouring tiles in working pixels; None takes an eighth of the tile.
        threads: that compute in all; None takes one per core.
        workers: tiles computed side by side, sharing the threads; None takes 2 where there are
            2 threads and the models are small: these use cores better by tiles than within one.
        batch: tiles that meet an image encoder in one call, up to ``limits.TILES_PER_CALL``;
            None (``auto``) takes one on a CPU, which gains nothing from more, and as many as a
            call may hold on a GPU where the models are small. Where a call proves too large the
            run goes on with one.
        side_by_side: whether the encoders of a tile run at once; None: where the backend has
            streams. On a CPU they would only fight for its cores.
        read_ahead: tiles read and prepared while earlier ones are computed; None takes as many
            as one call. 0 reads a tile only when a worker is free for it.
        routes: the routes' own numbers.
        options: how the backend should run; its ``threads`` give way to those above.
    """

    route: RouteName = DEFAULT_ROUTE
    precision: str = "auto"
    backend: str = "auto"
    gsd: float | None = None
    tile: int | None = None
    overlap: int | None = None
    threads: int | None = None
    workers: int | None = None
    batch: int | None = None
    side_by_side: bool | None = None
    read_ahead: int | None = None
    routes: RouteSettings = field(default_factory=RouteSettings)
    options: BackendOptions = field(default_factory=BackendOptions)

    def __post_init__(self) -> None:
        """Refuse what no run could use."""
        if self.route not in ROUTES:
            raise UsageError(f"expected a route out of {', '.join(ROUTES)}, found {self.route!r}")
        if self.gsd is not None and not 0.0 < self.gsd < float("inf"):
            raise UsageError(f"expected a working resolution above 0 m/pixel, found {self.gsd}")
        if self.tile is not None and not MIN_TILE <= self.tile <= MAX_TILE:
            raise UsageError(
                f"expected a tile of {MIN_TILE} to {MAX_TILE} pixels, found {self.tile}"
            )
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"expected at least 1 tile at once, found {self.workers}")
        if self.batch is not None and not 1 <= self.batch <= TILES_PER_CALL:
            raise UsageError(f"expected 1 to {TILES_PER_CALL} tiles in a call, found {self.batch}")
        if self.read_ahead is not None and not 0 <= self.read_ahead <= MAX_AHEAD:
            raise UsageError(f"expected 0 to {MAX_AHEAD} tiles read ahead, found {self.read_ahead}")
        if self.overlap is not None and self.overlap < 0:
            raise UsageError(f"expected an overlap of 0 or more pixels, found {self.overlap}")

    def as_record(self) -> dict[str, Any]:
        """As JSON values, for the report."""
        record = asdict(self)
        engines = self.options.engines
        record["options"]["engines"] = None if engines is None else str(engines)
        return record

    def parallel(self, model_bytes: int) -> tuple[int, int]:
        """Tiles at once, and threads of the backend for each of them.

        Args:
            model_bytes: size of the bundle's graphs.
        """
        threads = self.threads or _cores()
        at_once = _WORKERS if model_bytes <= SMALL_MODEL_BYTES else 1
        workers = min(at_once, threads) if self.workers is None else self.workers
        return workers, max(1, threads // workers)

    def tile_for(self, bundle_tile: int) -> tuple[int, int]:
        """Side and overlap of tiles, in working pixels, with a bundle of this tile size."""
        side = bundle_tile if self.tile is None else self.tile
        overlap = side // _OVERLAP_SHARE if self.overlap is None else self.overlap
        if overlap >= side:
            raise UsageError(f"expected an overlap below the tile's {side} pixels, found {overlap}")
        return side, overlap


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
