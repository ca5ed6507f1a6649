"""What the graphs are shown: tiles of the user's scenes or of synthetic ones, and empty ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.bundle import Bundle
from t2s_rt.errors import SceneError
from t2s_rt.pipeline import find_scenes
from t2s_rt.pipeline.source import SceneReader
from t2s_rt.pipeline.tiles import TilePixels, pad_tile
from t2s_rt.scene import TileGrid, open_scene, working_grid
from t2s_rt.synthetic import HELD_OUT_SEEDS, render, scene_spec

__all__ = ["VerifyTile", "empty_tiles", "scene_tiles", "synthetic_tiles"]

_LEAST_VALID = 0.5
"""Share of a tile that must have data for it to be worth a comparison, while others are left."""
_TRIES = 4
"""Tiles read of a scene for each one that is wanted."""
_SOIL = (139.0, 126.0, 107.0)
_EMPTY_SEED = 20260101


@dataclass(frozen=True, eq=False)
class VerifyTile:
    """One tile.

    Attributes:
        name: for people: the file and the tile's place in it, or the synthetic scene.
        image: uint8 ``[H, W, 3]`` RGB, square, at the bundle's tile size.
        valid: bool ``[H, W]``, false where the scene has no data.
        synthetic: drawn by this project and no image of the world.
        empty: holds no object: whatever is found there was made up.
    """

    name: str
    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    synthetic: bool = False
    empty: bool = False

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of shape, pixels and validity."""
        digest = hashlib.sha256(str(self.image.shape).encode())
        digest.update(self.image.tobytes())
        digest.update(self.valid.tobytes())
        return digest.hexdigest()


def scene_tiles(paths: Sequence[Path], bundle: Bundle, limit: int) -> list[VerifyTile]:
    """Tiles spread over scenes and within each of them, as ``infer`` would cut and resample them.

    Args:
        paths: files and folders.
        bundle: gives ground resolution and tile size.
        limit: most tiles, at least 1.

    Raises:
        SceneError: a scene that cannot be read; no tile with data in any.
    """
    sources = find_scenes(paths)
    chosen = [sources[i] for i in sorted(_spread(len(sources), min(limit, len(sources))))]
    tiles: list[VerifyTile] = []
    for index, source in enumerate(chosen):
        share = limit // len(chosen) + (index < limit % len(chosen))
        tiles += _of_scene(source.path, bundle, share)
    if not tiles:
        raise SceneError(
            f"expected scenes with data, found none in {', '.join(map(str, paths))}; "
            "name others with --scenes"
        )
    return tiles


def _of_scene(path: Path, bundle: Bundle, count: int) -> list[VerifyTile]:
    side = bundle.tile_size
    with open_scene(path) as scene:
        working = working_grid(scene, bundle.gsd)
        grid = TileGrid(working.height, working.width, side, 0)
        reader = SceneReader(scene, working)
        found: list[VerifyTile] = []
        damage: SceneError | None = None
        for index in list(_spread(len(grid), len(grid)))[: _TRIES * count]:
            try:
                pixels = pad_tile(TilePixels(*reader.tile(grid[index])), side)
            except SceneError as error:  # a damaged part; others may do
                damage = damage or error
                continue
            place = f"{path.name}, row {grid[index].row}, column {grid[index].col}"
            found.append(VerifyTile(place, pixels.image, pixels.valid))
            good = [tile for tile in found if tile.valid.mean() >= _LEAST_VALID]
            if len(good) == count:
                return good
    if damage is not None and not found:
        raise damage
    # nothing better was found: tiles with least data last
    usable = [tile for tile in found if tile.valid.any()]
    return sorted(usable, key=lambda tile: -float(tile.valid.mean()))[:count]


def _spread(total: int, count: int) -> Iterator[int]:
    """``count`` of ``total`` indices, far from each other, in an order that stays so."""
    if count < total:
        yield from (((2 * k + 1) * total) // (2 * count) for k in range(count))
        return
    # bits of the index turned round: the middle, the quarters, the eighths
    bits = max(1, (total - 1).bit_length())
    for k in range(1 << bits):
        index = int(format(k, f"0{bits}b")[::-1], 2)
        if index < total:
            yield index


def synthetic_tiles(bundle: Bundle, limit: int) -> list[VerifyTile]:
    """Synthetic scenes that no training saw, at the bundle's resolution and tile size."""
    tiles = []
    for seed in HELD_OUT_SEEDS[:limit]:
        image = render(scene_spec(seed, size=bundle.tile_size, gsd=bundle.gsd)).image
        name = f"synthetic scene {seed}"
        tiles.append(VerifyTile(name, image, np.ones(image.shape[:2], bool), synthetic=True))
    return tiles


def empty_tiles(bundle: Bundle) -> list[VerifyTile]:
    """Two tiles without any object: one flat grey, and bare ground with a texture."""
    side = bundle.tile_size
    flat = np.full((side, side, 3), 128, np.uint8)
    generator = np.random.default_rng(_EMPTY_SEED)
    coarse = generator.normal(0.0, 6.0, (max(2, side // 64), max(2, side // 64)))
    ground = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    ground = ground + generator.normal(0.0, 2.0, (side, side))
    soil = np.clip(np.rint(ground[..., None] + np.array(_SOIL)), 0, 255).astype(np.uint8)
    valid = np.ones((side, side), bool)
    return [
        VerifyTile("empty: flat grey", flat, valid, synthetic=True, empty=True),
        VerifyTile("empty: bare ground", soil, valid, synthetic=True, empty=True),
    ]
