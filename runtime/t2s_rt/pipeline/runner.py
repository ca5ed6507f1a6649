"""Runs a scene's tiles and composes its bands, so that nothing is lost when it is cut short."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import BackendError, SceneError
from t2s_rt.pipeline.ahead import AheadThread
from t2s_rt.pipeline.blend import Region
from t2s_rt.pipeline.compose import compose_block
from t2s_rt.pipeline.journal import Journal, TileRecord
from t2s_rt.pipeline.layout import Layout
from t2s_rt.pipeline.progress import Progress
from t2s_rt.pipeline.report import Timings
from t2s_rt.pipeline.source import SceneReader
from t2s_rt.pipeline.store import DiskStore
from t2s_rt.pipeline.tiles import PreparedTile, Scored, TilePixels, TileScorer
from t2s_rt.routes.clock import StageClock
from t2s_rt.routes.decision import MapRule
from t2s_rt.scene import MapWriter, TileWindow, Window

__all__ = ["SceneRunner"]


@dataclass(frozen=True)
class _Empty:
    """A tile without data, which needs no model."""

    seconds: float


Settled = _Empty | SceneError
Ready = Settled | PreparedTile | TilePixels
"""A tile as it comes from the reading thread: pixels only as long as no model is opened."""
Outcome = Settled | Scored | BackendError
_Group = list[tuple[TileWindow, Ready]]


@dataclass(frozen=True)
class _Job:
    """A group at work."""

    tiles: Sequence[TileWindow]
    outcomes: Future[list[Outcome]]
    computes: bool


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
        workers: groups of tiles computed at once.
        read_ahead: tiles read and prepared ahead; None takes as many as one call computes. With 0
            a tile is read only when a worker is free for it.

    The scene is read, and tiles are prepared, in one thread of its own while others are computed.
    Tiles may be computed side by side and several in a call; they are finished in order, in the
    caller's thread. At any moment no more tiles are in memory than those being computed, one
    more group that waits for its turn, and those read ahead.
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
        *,
        workers: int = 1,
        read_ahead: int | None = None,
    ) -> None:
        self._layout, self._journal, self._store, self._writer = layout, journal, store, writer
        self._rule, self._reader, self._progress = rule, reader, progress
        self._failure: BackendError | None = None
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.timings = Timings()
        self._workers, self._read_ahead = workers, read_ahead
        self._clock = StageClock()
        self._scorer: TileScorer | None = None
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

    @property
    def warning(self) -> str | None:
        """What the user should know about how the tiles were computed."""
        return None if self._scorer is None else self._scorer.warning

    def run(self, scorer: Callable[[], TileScorer]) -> None:
        """Compute what is missing and compose every band.

        Args:
            scorer: makes the scorer when the first tile needs it; a run whose tiles are all
                settled or empty opens no model. It is closed at the end.

        Raises:
            SceneError: no tile could be read.
            BackendError: no tile could be computed.
            OutputError: intermediate results cannot be written.
        """
        start = time.perf_counter()
        bands = _Bands(self.bands)
        running: deque[_Job] = deque()
        # one group more than is at work: it waits so that no worker has to
        most = self._workers if self._read_ahead == 0 else self._workers + 1
        with (
            AheadThread(self._clock, "read") as ahead,
            ThreadPoolExecutor(self._workers, "t2s-tile") as pool,
        ):
            try:
                for group in self._groups(ahead, scorer):
                    running.append(self._start(pool, group))
                    del group  # the worker alone keeps the pixels, and lets go of them
                    while running and (
                        running[0].outcomes.done() or sum(job.computes for job in running) >= most
                    ):
                        last = self._finish(running.popleft())
                        next_row = running[0].tiles[0].row if running else last.row
                        self._compose_ready(bands, next_row, ahead)
                while running:
                    self._finish(running.popleft())
                self._check_any()
                self._compose_ready(bands, None, ahead)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                if self._scorer is not None:
                    pool.shutdown()
                    self._scorer.close()
        self._take_timings(time.perf_counter() - start)

    def _take_timings(self, wall: float) -> None:
        self.timings = Timings(
            wall_s=wall,
            read_s=self._clock.total("read"),
            read_hidden_s=self._clock.beside("read"),
            tiles_at_once=self._workers,
            tiles_per_call=self._tiles_per_call,
            encoders_side_by_side=self._scorer is not None and self._scorer.side_by_side,
        )

    def _groups(self, ahead: AheadThread, scorer: Callable[[], TileScorer]) -> Iterator[_Group]:
        """Pending tiles in order: as many as meet the models together, with settled ones between.

        Opens the models when the first tile wants them.
        """
        group: _Group = []
        wanting = 0
        for tile, ready in ahead.map(self._read, self.pending, self._depth):
            group.append((tile, ready))
            if isinstance(ready, (PreparedTile, TilePixels)):
                if self._scorer is None:
                    with self._timed("models"):
                        self._scorer = scorer()
                wanting += 1
            del ready
            size = self._tiles_per_call
            # settled tiles wait for no others, and no more than a few for them
            if wanting == 0 or wanting >= size or len(group) >= 2 * size:
                yield group
                group, wanting = [], 0
        if group:
            yield group

    @property
    def _tiles_per_call(self) -> int:
        """Tiles of a group: the batch, but never so many that a worker is left without any."""
        if self._scorer is None:
            return 1
        return min(self._scorer.batch, max(1, -(-len(self.pending) // self._workers)))

    def _depth(self) -> int:
        """Tiles to read ahead."""
        return self._tiles_per_call if self._read_ahead is None else self._read_ahead

    def _read(self, tile: TileWindow) -> Ready:
        """A tile's pixels, and where models are opened all that they need; in the thread ahead."""
        try:
            pixels = TilePixels.timed(lambda: self._reader.tile(tile))
        except SceneError as error:
            return error
        if not pixels.valid.any():
            return _Empty(pixels.seconds)
        if self._scorer is None:
            return pixels
        return self._scorer.prepare(pixels, self._layout.owned(tile))

    def _start(self, pool: ThreadPoolExecutor, group: _Group) -> _Job:
        """Set a group to work; one whose tiles are all settled needs none."""
        tiles = [tile for tile, _ in group]
        settled = [ready for _, ready in group if isinstance(ready, Settled)]
        if len(settled) < len(group) and self._scorer is not None:
            return _Job(tiles, pool.submit(self._score, self._scorer, group), True)
        outcomes: Future[list[Outcome]] = Future()
        outcomes.set_result([*settled])
        return _Job(tiles, outcomes, False)

    def _score(self, scorer: TileScorer, group: _Group) -> list[Outcome]:
        """What becomes of the tiles of a group, in a worker's thread.

        A failing backend is an outcome; any other error is a fault.
        """
        with self._clock.running("compute"):
            prepared = [
                ready
                if isinstance(ready, PreparedTile)
                else scorer.prepare(ready, self._layout.owned(tile))
                for tile, ready in group
                if not isinstance(ready, Settled)
            ]
            scored = iter(scorer.score_batch(prepared))
            outcomes: list[Outcome] = [
                ready if isinstance(ready, Settled) else next(scored) for _, ready in group
            ]
            group.clear()
        return outcomes

    def _finish(self, job: _Job) -> TileWindow:
        """Wait for a group, keep its scores and note what became of it; returns its last tile."""
        for tile, outcome in zip(job.tiles, job.outcomes.result(), strict=True):
            with self._clock.running("store"):
                self._note(tile, outcome)
        return job.tiles[-1]

    def _note(self, tile: TileWindow, outcome: Outcome) -> None:
        if isinstance(outcome, (SceneError, BackendError)):
            # the first alone: an error's traceback keeps its tile's arrays alive
            if isinstance(outcome, BackendError):
                self._failure = self._failure or outcome
            record = TileRecord(tile.index, "failed", str(outcome))
        elif isinstance(outcome, _Empty):
            record = TileRecord(tile.index, "skipped", seconds={"read": outcome.seconds})
        else:
            scores, seconds = outcome
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
        if self._failure is not None:
            raise self._failure
        first = next(r.reason for r in self._journal.tiles.values() if r.status == "failed")
        raise SceneError(f"no tile of the scene can be read; the first one: {first}")

    def _compose_ready(self, bands: _Bands, next_row: int | None, ahead: AheadThread) -> None:
        """Compose bands that no tile from ``next_row`` on touches; None: all that are left."""
        while (band := bands.next) is not None:
            if next_row is not None and self._layout.working_rows(band)[1] > next_row:
                return
            blocks = self._layout.blocks(band)
            for region, (valid, spent) in ahead.map(
                self._read_valid, blocks, lambda: min(1, self._depth())
            ):
                self.seconds["read"] += spent
                with self._timed("compose"):
                    block = compose_block(
                        region, self._layout, self._store, self._rule, self._blank, valid
                    )
                    self._writer.write(_window(region), block.labels, block.confidence)
            with self._timed("compose"):
                # the journal must not promise what a power cut could still take
                self._writer.flush()
                self._journal.band(band)
                bands.advance()
                self._drop_above(bands.next)

    def _read_valid(self, region: Region) -> tuple[NDArray[np.bool_], float]:
        """Validity of a block's pixels and the seconds it took; in the thread ahead."""
        start = time.perf_counter()
        valid = self._reader.valid(region)
        return valid, time.perf_counter() - start

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        with self._clock.running(stage):
            yield
        self.seconds[stage] += time.perf_counter() - start

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
