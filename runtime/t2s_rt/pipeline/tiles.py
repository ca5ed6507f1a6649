"""From a tile's window to its quantised scores."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import BackendError
from t2s_rt.limits import SMALL_MODEL_BYTES, TILES_PER_CALL
from t2s_rt.pipeline.blend import Region
from t2s_rt.pipeline.store import quantise
from t2s_rt.routes import RouteSettings
from t2s_rt.routes.clock import StageClock
from t2s_rt.routes.encodings import TileEncodings, TileInputs
from t2s_rt.routes.features import TileFeatures

if TYPE_CHECKING:
    from t2s_rt.contracts import Role
    from t2s_rt.models import Models
    from t2s_rt.prompts import PromptPack
    from t2s_rt.routes import Route

__all__ = ["PreparedTile", "Scored", "TilePixels", "TileScorer", "pad_tile"]

Scored = tuple[NDArray[np.uint8], dict[str, float]]
"""Quantised scores uint8 ``[K, h, w]`` of a tile's own pixels, and the seconds of each stage."""
FlatKey = tuple[tuple[int, ...], tuple[int, ...], Region | None]

FLAT_KEPT = 9
"""Flat tiles remembered: a scene's middle, its four edges and its four corners."""
_ENCODER_THREADS = 6
"""Three encoders for each of two tiles at work."""


@dataclass(frozen=True)
class TilePixels:
    """A tile as it was read.

    Attributes:
        image: uint8 ``[h, w, 3]`` RGB.
        valid: bool ``[h, w]``.
        seconds: spent reading.
    """

    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    seconds: float = 0.0

    @classmethod
    def timed(cls, read: Callable[[], tuple[NDArray[np.uint8], NDArray[np.bool_]]]) -> TilePixels:
        """Read and take the time."""
        start = time.perf_counter()
        image, valid = read()
        return cls(image, valid, time.perf_counter() - start)


def pad_tile(pixels: TilePixels, side: int) -> TilePixels:
    """Fill a tile at the scene's lower or right border up to a square.

    The image is mirrored, because models trained on whole tiles take a flat margin for an
    object; the mirrored pixels are not valid, so nothing found there reaches the map.
    """
    height, width = pixels.valid.shape
    down, across = side - height, side - width
    if down <= 0 and across <= 0:
        return pixels
    image = cv2.copyMakeBorder(pixels.image, 0, down, 0, across, cv2.BORDER_REFLECT)
    return TilePixels(
        np.asarray(image, dtype=np.uint8),
        np.pad(pixels.valid, ((0, down), (0, across))),
        pixels.seconds,
    )


@dataclass(frozen=True, eq=False)
class PreparedTile:
    """A tile ready for the models.

    Attributes:
        pixels: as read, of the tile's own size.
        owned: part of the tile whose objects are its own; None takes all of them.
        key: of a tile of one colour, None for any other.
        padded: the tile filled up to a square.
        inputs: the padded image as each encoder wants it.
        seconds: spent reading and preparing.
    """

    pixels: TilePixels
    owned: Region | None
    key: FlatKey | None
    padded: TilePixels
    inputs: TileInputs
    seconds: dict[str, float]


class TileScorer:
    """Runs a route on tiles, from any number of threads; a context manager.

    Where the backend has streams the encoders of a tile run side by side. Tiles that are scored
    in one call of :meth:`score_batch` meet each encoder together; all that follows is each
    tile's own, so a tile's scores are those that it has by itself up to what the backend rounds
    differently in a larger batch (see ``docs/speed.md``).

    A tile of one colour, such as the collar that a mosaic fills without calling it nodata or the
    blank part of a scanned sheet, is computed once: the next tile of the same colour, shape and
    owned part has the same scores to the bit.

    Args:
        models: opened with the route's roles.
        route: from ``t2s_rt.routes.load_route``.
        pack: classes to look for.
        settings: the route's numbers.
        side: of a tile in working pixels.
        roles: graphs that the route needs; what its encoders take is prepared ahead.
        batch: tiles that meet an encoder in one call; None takes one on a CPU and where the
            models are large, else as many as a call may hold.
        side_by_side: whether the encoders of a tile run at once; None leaves it to the backend.
    """

    def __init__(
        self,
        models: Models,
        route: Route,
        pack: PromptPack,
        settings: RouteSettings,
        side: int,
        *,
        roles: Collection[Role] = (),
        batch: int | None = 1,
        side_by_side: bool | None = False,
    ) -> None:
        self._models, self._route, self._pack = models, route, pack
        self._settings, self._side, self._roles = settings, side, frozenset(roles)
        streams = any(session.device != "cpu" for session in models.sessions)
        self.side_by_side = streams if side_by_side is None else side_by_side
        self.warning: str | None = None
        self._batch = _auto_batch(models, streams) if batch is None else batch
        self._pool = (
            ThreadPoolExecutor(_ENCODER_THREADS, "t2s-encoder") if self.side_by_side else None
        )
        self._flat: OrderedDict[FlatKey, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def batch(self) -> int:
        """Tiles that meet an encoder in one call; 1 from when more of them proved too many."""
        return self._batch

    def close(self) -> None:
        """End the threads; the models stay open."""
        if self._pool is not None:
            self._pool.shutdown()

    def __enter__(self) -> TileScorer:
        """Return the scorer; leaving the block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def prepare(self, pixels: TilePixels, owned: Region | None = None) -> PreparedTile:
        """Do all that needs no model: pad, and bring the image into the models' frames.

        Args:
            pixels: of the tile.
            owned: part of the tile whose objects are its own; None takes all of them.
        """
        start = time.perf_counter()
        padded = pad_tile(pixels, self._side)
        inputs = TileInputs(self._models, padded.image)
        key = _flat_key(pixels, owned)
        if key is None:  # a flat tile is likely known
            inputs.prepare(self._roles)
        seconds = {"read": pixels.seconds, "prepare": time.perf_counter() - start}
        return PreparedTile(pixels, owned, key, padded, inputs, seconds)

    def score(self, pixels: TilePixels, owned: Region | None = None) -> Scored:
        """Scores uint8 ``[K, h, w]`` of the tile's own pixels, and the seconds of each stage.

        Args:
            pixels: of the tile.
            owned: as for :meth:`prepare`.

        Raises:
            BackendError: a session failed.
        """
        [outcome] = self.score_batch([self.prepare(pixels, owned)])
        if isinstance(outcome, BackendError):
            raise outcome
        return outcome

    def score_batch(self, tiles: Sequence[PreparedTile]) -> list[Scored | BackendError]:
        """The scores of several tiles, or why there are none; one's failure is not another's.

        Tiles computed together share the seconds of their stages alike.
        """
        outcomes: dict[int, Scored | BackendError] = {}
        waiting: list[tuple[int, PreparedTile]] = []
        twins: list[tuple[int, PreparedTile]] = []
        for index, tile in enumerate(tiles):
            known = self._known(tile)
            if known is not None:
                outcomes[index] = known
            elif tile.key is not None and any(tile.key == other.key for _, other in waiting):
                twins.append((index, tile))
            else:
                waiting.append((index, tile))
        while waiting:
            part, waiting = waiting[: self._batch], waiting[self._batch :]
            computed = self._compute([tile for _, tile in part])
            for (index, tile), outcome in zip(part, computed, strict=True):
                outcomes[index] = outcome
                self._remember(tile, outcome)
        for index, tile in twins:
            outcomes[index] = self._known(tile) or self._compute([tile])[0]
        return [outcomes[index] for index in range(len(tiles))]

    def _known(self, tile: PreparedTile) -> Scored | None:
        """The scores of a flat tile that was computed before."""
        if tile.key is None:
            return None
        with self._lock:
            known = self._flat.get(tile.key)
        return None if known is None else (known, dict(tile.seconds))

    def _remember(self, tile: PreparedTile, outcome: Scored | BackendError) -> None:
        if tile.key is None or isinstance(outcome, BackendError):
            return
        outcome[0].flags.writeable = False
        with self._lock:
            self._flat[tile.key] = outcome[0]
            if len(self._flat) > FLAT_KEPT:
                self._flat.popitem(last=False)

    def _compute(self, tiles: Sequence[PreparedTile]) -> list[Scored | BackendError]:
        clock = StageClock()
        encodings = TileEncodings(self._models, [tile.inputs for tile in tiles], self._pack, clock)
        # what no model takes: thresholds, NMS, painting
        with clock.running("route"), self._prefetched(encodings):
            found = [self._run_route(encodings, i, tile) for i, tile in enumerate(tiles)]
        if encodings.too_large is not None:
            self._stop_batching(len(tiles), encodings.too_large)
        shares = {stage: spent / len(tiles) for stage, spent in clock.shares().items()}
        return [
            scores if isinstance(scores, BackendError) else (scores, {**tile.seconds, **shares})
            for tile, scores in zip(tiles, found, strict=True)
        ]

    def _run_route(
        self, encodings: TileEncodings, index: int, tile: PreparedTile
    ) -> NDArray[np.uint8] | BackendError:
        height, width = tile.pixels.valid.shape
        features = TileFeatures(
            self._models,
            tile.padded.image,
            tile.padded.valid,
            self._pack,
            tile.owned,
            encodings=encodings,
            index=index,
        )
        try:
            result = self._route(features, self._pack, self._settings)
        except BackendError as error:
            return error
        return quantise(result.scores[:, :height, :width])

    @contextmanager
    def _prefetched(self, encodings: TileEncodings) -> Iterator[None]:
        """Let the encoders run side by side where they do; all are through at the end."""
        if self._pool is None:
            yield
            return
        running = encodings.prefetch(self._roles, self._pool)
        try:
            yield
        finally:
            with encodings.clock.running(None):
                wait(running)
        for future in running:
            future.result()

    def _stop_batching(self, tiles: int, error: BackendError) -> None:
        self._batch = 1
        self.warning = (
            f"{tiles} tiles in one call failed where each of them alone went through ({error}); "
            "the run went on with one tile a call, as --batch 1 does from the start"
        )


def _auto_batch(models: Models, streams: bool) -> int:
    """Tiles in one call where nobody asked for a number."""
    size = sum(file.bytes for session in models.sessions for file in session.entry.files)
    return TILES_PER_CALL if streams and size <= SMALL_MODEL_BYTES else 1


def _flat_key(pixels: TilePixels, owned: Region | None) -> FlatKey | None:
    """What the scores of a tile of one colour depend on; None for any other tile."""
    first = pixels.image[0, 0]
    # most tiles are told apart by their first row
    if (pixels.image[0] != first).any() or (pixels.image != first).any():
        return None
    if not pixels.valid.all():
        return None
    return tuple(first.tolist()), pixels.valid.shape, owned
