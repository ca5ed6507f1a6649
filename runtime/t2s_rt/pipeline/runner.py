"""Runs a scene's tiles and composes its bands, so that nothing is lost when it is cut short."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import BackendError, SceneError
from t2s_rt.pipeline.blend import Region
from t2s_rt.pipeline.compose import compose_block
from t2s_rt.pipeline.journal import Journal, TileRecord
from t2s_rt.pipeline.layout import Layout
from t2s_rt.pipeline.progress import Progress
from t2s_rt.pipeline.source import SceneReader
from t2s_rt.pipeline.store import DiskStore
from t2s_rt.pipeline.tiles import TilePixels, TileScorer
from t2s_rt.routes.decision import MapRule
from t2s_rt.scene import MapWriter, TileWindow, Window

__all__ = ["SceneRunner"]

Scored = tuple[NDArray[np.uint8], dict[str, float]]
Outcome = Scored | TilePixels | SceneError | BackendError
"""Scores and timings; pixels without data; or why there are none."""


class SceneRunner:
    """Tiles in, composed blocks out.

    Args:
        layout: of the scene.
        journal: open; tells what is done already.
        store: of tile scores.
        writer: of the map; keeps what an interrupted run wrote.
        rule: by which blended scores become a map.
        reader: of the scene.
        progress: who watches.

    The reader is called in one thread of its own, so that the next tile is read while others
    are computed and the scene never meets two threads at once. Tiles may be computed side by
    side; they are finished in order, in the caller's thread.
    """

    def __init__(
        self,
        layout: Layout,
        journal: Journal,
        store: DiskStore,
        writer: MapWriter,
        rule: MapRule,
        reader: SceneReader,
        progress: Progress,
    ) -> None:
        self._layout, self._journal, self._store, self._writer = layout, journal, store, writer
        self._rule, self._reader, self._progress = rule, reader, progress
        self._failures: list[SceneError | BackendError] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._dropped = 0
        done = journal.bands if writer.resumed else set()
        self.bands = [band for band in range(layout.bands) if band not in done]
        self.pending = [tile for tile in layout.tiles if not self._settled(tile)]

    def _settled(self, tile: TileWindow) -> bool:
        record = self._journal.tiles.get(tile.index)
        if record is None:
            return False
        if record.status == "done" and self._layout.needed(tile, self.bands):
            return self._store.get(tile.index) is not None
        return True

    @property
    def resumed(self) -> int:
        """Tiles taken over from an interrupted run."""
        return len(self._layout.tiles) - len(self.pending)

    def run(self, scorer: Callable[[], TileScorer], workers: int = 1) -> None:
        """Compute what is missing and compose every band.

        Args:
            scorer: makes the scorer when the first tile needs it; a run whose tiles are all
                settled or empty opens no model.
            workers: tiles computed at once.

        Raises:
            SceneError: no tile could be read.
            BackendError: no tile could be computed.
            OutputError: intermediate results cannot be written.
        """
        bands = _Bands(self.bands)
        made: TileScorer | None = None
        running: deque[tuple[TileWindow, Callable[[], Outcome]]] = deque()
        with (
            ThreadPoolExecutor(1, "t2s-reader") as reader,
            ThreadPoolExecutor(workers, "t2s-tile") as pool,
        ):
            try:
                for tile, pixels in self._read_ahead(reader):
                    if isinstance(pixels, SceneError) or not pixels.valid.any():
                        running.append((tile, partial(_settle, pixels)))
                    else:
                        made = made or self._open(scorer)
                        running.append(
                            (
                                tile,
                                pool.submit(_score, made, pixels, self._layout.owned(tile)).result,
                            )
                        )
                    if len(running) >= workers:
                        self._finish(*running.popleft())
                        self._compose_ready(
                            bands, running[0][0].row if running else tile.row, reader
                        )
                while running:
                    self._finish(*running.popleft())
                self._check_any()
                self._compose_ready(bands, None, reader)
            except BaseException:
                reader.shutdown(wait=False, cancel_futures=True)
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _open(self, scorer: Callable[[], TileScorer]) -> TileScorer:
        start = time.perf_counter()
        made = scorer()
        self.seconds["models"] += time.perf_counter() - start
        return made

    def _read_ahead(
        self, reader: ThreadPoolExecutor
    ) -> Iterator[tuple[TileWindow, TilePixels | SceneError]]:
        """Pending tiles with their pixels; the next one is being read meanwhile."""

        def read(tile: TileWindow) -> TilePixels | SceneError:
            try:
                return TilePixels.timed(lambda: self._reader.tile(tile))
            except SceneError as error:
                return error

        ahead: Future[TilePixels | SceneError] | None = None
        for tile, after in zip_longest(self.pending, self.pending[1:]):
            current = ahead or reader.submit(read, tile)
            pixels = current.result()
            ahead = None if after is None else reader.submit(read, after)
            yield tile, pixels

    def _finish(self, tile: TileWindow, outcome: Callable[[], Outcome]) -> None:
        """Wait for a tile, keep its scores and note what became of it."""
        result = outcome()
        if isinstance(result, (SceneError, BackendError)):
            self._failures.append(result)
            record = TileRecord(tile.index, "failed", str(result))
        elif isinstance(result, TilePixels):
            record = TileRecord(tile.index, "skipped", seconds={"read": result.seconds})
        else:
            scores, seconds = result
            start = time.perf_counter()
            self._store.put(tile.index, scores)
            seconds["store"] = time.perf_counter() - start
            record = TileRecord(tile.index, "done", seconds=seconds)
        self._journal.tile(record)
        self._progress.tile(record.status)

    def _check_any(self) -> None:
        """Refuse a scene of which nothing could be computed."""
        statuses = {record.status for record in self._journal.tiles.values()}
        if "done" in statuses or "failed" not in statuses:
            return
        for error in self._failures:
            if isinstance(error, BackendError):
                raise error
        first = next(r.reason for r in self._journal.tiles.values() if r.status == "failed")
        raise SceneError(f"no tile of the scene can be read; the first one: {first}")

    def _compose_ready(
        self, bands: _Bands, next_row: int | None, reader: ThreadPoolExecutor
    ) -> None:
        """Compose bands that no tile from ``next_row`` on touches; None: all that are left."""
        while (band := bands.next) is not None:
            if next_row is not None and self._layout.working_rows(band)[1] > next_row:
                return
            start = time.perf_counter()
            for region in self._layout.blocks(band):
                valid = reader.submit(self._reader.valid, region).result()
                block = compose_block(
                    region, self._layout, self._store, self._rule, self._blank, valid
                )
                self._writer.write(_window(region), block.labels, block.confidence)
            # the journal must not promise what a power cut could still take
            self._writer.flush()
            self._journal.band(band)
            self.seconds["compose"] += time.perf_counter() - start
            bands.advance()
            self._drop_above(bands.next)

    def _blank(self, index: int) -> bool:
        record = self._journal.tiles.get(index)
        return record is not None and record.status == "skipped"

    def _drop_above(self, band: int | None) -> None:
        """Delete the scores of tiles that no later band needs."""
        first = self._layout.grid.height if band is None else self._layout.working_rows(band)[0]
        tiles = self._layout.tiles
        while self._dropped < len(tiles):
            tile = tiles[self._dropped]
            if tile.row + tile.height > first:
                break
            self._store.drop(tile.index)
            self._dropped += 1


def _settle(pixels: TilePixels | SceneError) -> Outcome:
    """The outcome of a tile that needs no model."""
    return pixels


def _score(scorer: TileScorer, pixels: TilePixels, owned: Region) -> Outcome:
    """The outcome of a tile, computed; a failing backend is one, any other error is a fault."""
    try:
        return scorer.score(pixels, owned)
    except BackendError as error:
        return error


class _Bands:
    """The bands that are still to be composed, one after another."""

    def __init__(self, bands: Sequence[int]) -> None:
        self._left = deque(bands)

    @property
    def next(self) -> int | None:
        """The next one, or None."""
        return self._left[0] if self._left else None

    def advance(self) -> None:
        """The next one is composed."""
        self._left.popleft()


def _window(region: Region) -> Window:
    row0, row1, col0, col1 = region
    return Window(row0, col0, row1 - row0, col1 - col0)
