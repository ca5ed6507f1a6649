"""Images in memory: the same tiles, blending and rule as for a scene, without files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import BackendError, UsageError
from t2s_rt.pipeline.blend import blend, resample
from t2s_rt.pipeline.layout import owned_part
from t2s_rt.pipeline.store import MemoryStore
from t2s_rt.pipeline.tiles import PreparedTile, Scored, TilePixels, TileScorer
from t2s_rt.routes.decision import MapRule, decide
from t2s_rt.scene import TileGrid, TileWindow

__all__ = ["ImageResult", "score_array"]

_SNAP = 0.05
"""As the working grid of scenes: pixels are kept while they are this close to the target."""
_MAX_UPSAMPLE = 4.0


@dataclass(frozen=True)
class ImageResult:
    """What a pipeline says about an image.

    Attributes:
        scores: float32 ``[K, H, W]``, blended scores in image pixels, 0..1.
        labels: uint8 ``[H, W]``: 0 none, 1..K classes in pack order.
        confidence: float32 ``[H, W]``: the winner's score, 0 where none.
        seconds: summed over tiles, by stage.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    seconds: dict[str, float]


def score_array(
    image: NDArray[np.uint8],
    scorer: TileScorer,
    rule: MapRule,
    *,
    scale: float,
    side: int,
    overlap: int,
    workers: int = 1,
) -> ImageResult:
    """Score an image tile by tile.

    Args:
        image: uint8 ``[H, W, 3]`` RGB.
        scorer: of tiles.
        rule: by which blended scores become a map.
        scale: working pixels per image pixel wanted; 1 where it is close to that, and where the
            image is far too coarse to gain from more pixels.
        side: of a tile.
        overlap: of neighbouring tiles.
        workers: tiles computed at once.

    Raises:
        UsageError: no image of that kind.
        BackendError: a session failed.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UsageError(
            f"expected an image uint8 [H, W, 3], found {image.dtype} {list(image.shape)}"
        )
    height, width = image.shape[:2]
    if abs(scale - 1.0) <= _SNAP or scale > _MAX_UPSAMPLE:
        scale = 1.0
    rows, cols = max(1, round(height * scale)), max(1, round(width * scale))
    if (rows, cols) != (height, width):
        method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (cols, rows), interpolation=method), np.uint8)
    grid = TileGrid(rows, cols, side, overlap)
    tiles = [grid[index] for index in range(len(grid))]
    store = MemoryStore()
    seconds: dict[str, float] = {}

    def prepared(tile: TileWindow) -> PreparedTile:
        part = image[tile.row : tile.row + side, tile.col : tile.col + side]
        valid = np.ones(part.shape[:2], dtype=bool)
        pixels = TilePixels(np.ascontiguousarray(part), valid)
        return scorer.prepare(pixels, owned_part(grid, tile))

    def score(group: list[TileWindow]) -> list[Scored | BackendError]:
        return scorer.score_batch([prepared(tile) for tile in group])

    groups = [tiles[i : i + scorer.batch] for i in range(0, len(tiles), scorer.batch)]
    with ThreadPoolExecutor(workers, "t2s-tile") as pool:
        for group, outcomes in zip(groups, pool.map(score, groups), strict=True):
            for tile, outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, BackendError):
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise outcome
                store.put(tile.index, outcome[0])
                for name, value in outcome[1].items():
                    seconds[name] = seconds.get(name, 0.0) + value
    blended, _ = blend((0, rows, 0, cols), grid, tiles, store, rule.objects, lambda _: False)
    native = resample(blended, (0, 0), (rows / height, cols / width), (0, height, 0, width))
    labels, confidence = decide(native, rule)
    return ImageResult(native, labels, confidence, seconds)
