"""From a tile's window to its quantised scores."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.pipeline.blend import Region
from t2s_rt.pipeline.store import quantise
from t2s_rt.routes import RouteSettings
from t2s_rt.routes.features import TileFeatures

if TYPE_CHECKING:
    from t2s_rt.models import Models
    from t2s_rt.prompts import PromptPack
    from t2s_rt.routes import Route

__all__ = ["TilePixels", "TileScorer", "pad_tile"]

FlatKey = tuple[tuple[int, ...], tuple[int, ...], Region | None]

FLAT_KEPT = 9
"""Flat tiles remembered: a scene's middle, its four edges and its four corners."""


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


class TileScorer:
    """Runs a route on one tile after another, from any number of threads.

    A tile of one colour, such as the collar that a mosaic fills without calling it nodata or the
    blank part of a scanned sheet, is computed once: the next tile of the same colour, shape and
    owned part has the same scores to the bit.

    Args:
        models: opened with the route's roles.
        route: from ``t2s_rt.routes.load_route``.
        pack: classes to look for.
        settings: the route's numbers.
        side: of a tile in working pixels.
    """

    def __init__(
        self,
        models: Models,
        route: Route,
        pack: PromptPack,
        settings: RouteSettings,
        side: int,
    ) -> None:
        self._models, self._route, self._pack = models, route, pack
        self._settings, self._side = settings, side
        self._flat: OrderedDict[FlatKey, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def score(
        self, pixels: TilePixels, owned: Region | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, float]]:
        """Scores uint8 ``[K, h, w]`` of the tile's own pixels, and the seconds of each stage.

        Args:
            pixels: of the tile.
            owned: part of the tile whose objects are its own; None takes all of them.

        Raises:
            BackendError: a session failed.
        """
        key = _flat_key(pixels, owned)
        if key is None:
            return self._compute(pixels, owned)
        with self._lock:
            known = self._flat.get(key)
        if known is not None:
            return known, {"read": pixels.seconds}
        scores, seconds = self._compute(pixels, owned)
        scores.flags.writeable = False
        with self._lock:
            self._flat[key] = scores
            if len(self._flat) > FLAT_KEPT:
                self._flat.popitem(last=False)
        return scores, seconds

    def _compute(
        self, pixels: TilePixels, owned: Region | None
    ) -> tuple[NDArray[np.uint8], dict[str, float]]:
        start = time.perf_counter()
        height, width = pixels.valid.shape
        padded = pad_tile(pixels, self._side)
        features = TileFeatures(self._models, padded.image, padded.valid, self._pack, owned)
        result = self._route(features, self._pack, self._settings)
        scores = quantise(result.scores[:, :height, :width])
        seconds = {"read": pixels.seconds, **features.timings}
        # what no model took: thresholds, NMS, painting
        spent = time.perf_counter() - start
        seconds["route"] = max(0.0, spent - sum(features.timings.values()))
        return scores, seconds


def _flat_key(pixels: TilePixels, owned: Region | None) -> FlatKey | None:
    """What the scores of a tile of one colour depend on; None for any other tile."""
    first = pixels.image[0, 0]
    # most tiles are told apart by their first row
    if (pixels.image[0] != first).any() or (pixels.image != first).any():
        return None
    if not pixels.valid.all():
        return None
    return tuple(first.tolist()), pixels.valid.shape, owned
