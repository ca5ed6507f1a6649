"""Tiles to calibrate on: few, and as unlike each other as the scenes allow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_engines.verify.tiles import VerifyTile, scene_tiles, synthetic_tiles
from t2s_rt.bundle import Bundle

__all__ = ["choose_tiles", "look_of", "spread_out"]

_CANDIDATES = 3
"""Tiles looked at for each one that is taken."""
_THUMB = 32
_EDGE = 4


def choose_tiles(scenes: Sequence[Path], bundle: Bundle, count: int) -> list[VerifyTile]:
    """Tiles of the user's scenes as ``infer`` cuts them, or of synthetic ones.

    Args:
        scenes: files and folders; none takes synthetic scenes.
        bundle: gives ground resolution and tile size.
        count: most tiles.

    Raises:
        SceneError: a scene that cannot be read; no tile with data in any.
    """
    if not scenes:
        return synthetic_tiles(bundle, count)
    found = scene_tiles(scenes, bundle, _CANDIDATES * count)
    looks = np.stack([look_of(tile.image) for tile in found])
    return [found[index] for index in spread_out(looks, count)]


def look_of(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a tile looks like: mean and spread of its colours, coarse layout, how busy it is.

    Args:
        image: uint8 ``[H, W, 3]`` RGB.

    Returns:
        float64 ``[D]``; tiles that look alike are near each other.
    """
    small = cv2.resize(image, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float64)
    coarse = cv2.resize(small, (_EDGE, _EDGE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    busy = np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean()
    return np.concatenate(
        [small.mean((0, 1)), small.std((0, 1)), coarse.ravel() / _EDGE, [4.0 * busy]]
    )


def spread_out(looks: NDArray[np.float64], count: int) -> list[int]:
    """Indices of so many rows, each the farthest from those before it; sorted.

    The first is the one nearest to the mean. Of equal rows the first is taken.
    """
    first = int(np.square(looks - looks.mean(0)).sum(1).argmin())
    chosen = [first]
    nearest = np.square(looks - looks[first]).sum(1)
    while len(chosen) < min(count, len(looks)):
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.square(looks - looks[chosen[-1]]).sum(1))
    return sorted(chosen)
