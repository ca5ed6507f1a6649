"""Overlapping tiles joined without seams.

Scores of regions become a weighted mean whose weights fall towards the tiles' edges. Objects,
each painted by the tile that holds its centre, are joined by their maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.pipeline.store import ScoreStore, dequantise
from t2s_rt.scene import TileGrid, TileWindow

__all__ = ["Region", "blend", "resample"]

Region = tuple[int, int, int, int]
"""Part of a pixel grid: ``row0, row1, col0, col1``, ends excluded."""


def blend(
    region: Region,
    grid: TileGrid,
    tiles: Sequence[TileWindow],
    store: ScoreStore,
    objects: Sequence[bool],
    blank: Callable[[int], bool],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores of a part of the working grid.

    Args:
        region: the part, in working pixels.
        grid: of the tiles; gives their weights.
        tiles: those that may touch the region.
        store: quantised scores by tile index.
        objects: per class, whether it is joined by maximum.
        blank: whether a tile without scores was passed over because it holds no data; it then
            counts as seen, unlike a tile that failed.

    Returns:
        scores float32 ``[K, h, w]`` and a mask ``[h, w]``, false where no tile was computed.
    """
    row0, row1, col0, col1 = region
    scores = np.zeros((len(objects), row1 - row0, col1 - col0), dtype=np.float32)
    total = np.zeros((row1 - row0, col1 - col0), dtype=np.float32)
    for tile in tiles:
        top, left = max(row0, tile.row), max(col0, tile.col)
        bottom = min(row1, tile.row + tile.height)
        right = min(col1, tile.col + tile.width)
        if top >= bottom or left >= right:
            continue
        found = store.get(tile.index)
        if found is None and not blank(tile.index):
            continue
        inside = np.s_[top - tile.row : bottom - tile.row, left - tile.col : right - tile.col]
        target = np.s_[top - row0 : bottom - row0, left - col0 : right - col0]
        weight = grid.weights(tile)[inside]
        total[target] += weight
        if found is not None:
            for plane, part, is_object in zip(scores, found, objects, strict=True):
                part = part[inside]
                if part.any():
                    view, values = plane[target], dequantise(part)
                    if is_object:
                        np.maximum(view, values, out=view)
                    else:
                        view += weight * values
    seen = total > 0.0
    for plane, is_object in zip(scores, objects, strict=True):
        if not is_object:
            np.divide(plane, total, out=plane, where=seen)
    return scores, seen


def resample(
    planes: NDArray[np.float32],
    origin: tuple[int, int],
    scale: tuple[float, float],
    window: Region,
) -> NDArray[np.float32]:
    """Planes of the working grid at scene pixels, bilinear (area mean where it shrinks).

    Args:
        planes: float32 ``[K, h, w]``, part of the working grid.
        origin: working row and column of their first pixel.
        scale: working pixels per scene pixel, down and across.
        window: the scene pixels wanted; their working positions should lie within the planes,
            what lies outside repeats the border.

    Returns:
        float32 ``[K, rows, cols]`` of the window.
    """
    row0, row1, col0, col1 = window
    down, across = scale
    if down == across == 1.0:
        down_part = slice(row0 - origin[0], row1 - origin[0])
        across_part = slice(col0 - origin[1], col1 - origin[1])
        if down_part.start >= 0 and across_part.start >= 0:
            part = planes[:, down_part, across_part]
            if part.shape[1:] == (row1 - row0, col1 - col0):
                return part
    # one scene pixel that covers several working pixels takes the mean of as many samples
    fine_down, fine_across = max(1, int(np.ceil(down))), max(1, int(np.ceil(across)))
    step_down, step_across = down / fine_down, across / fine_across
    matrix = np.array(
        [
            [step_across, 0.0, col0 * across + 0.5 * step_across - 0.5 - origin[1]],
            [0.0, step_down, row0 * down + 0.5 * step_down - 0.5 - origin[0]],
        ]
    )
    rows, cols = row1 - row0, col1 - col0
    out = np.zeros((len(planes), rows, cols), dtype=np.float32)
    for target, plane in zip(out, planes, strict=True):
        if not plane.any():
            continue
        fine = cv2.warpAffine(
            plane,
            matrix,
            (cols * fine_across, rows * fine_down),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        cv2.resize(fine, (cols, rows), dst=target, interpolation=cv2.INTER_AREA)
    return out
