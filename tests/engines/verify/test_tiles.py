"""Which tiles the graphs are shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import rasterio

from t2s_engines.verify.tiles import empty_tiles, scene_tiles, synthetic_tiles
from t2s_rt.bundle import Bundle
from t2s_rt.errors import SceneError

SIDE = 64


@pytest.fixture
def small(nano: Bundle) -> Bundle:
    """Tiles of 64 pixels at half a metre."""
    return dataclasses.replace(nano, tile_size=SIDE, gsd=0.5)


def write(path: Path, rows: int, columns: int, data: slice, gsd: float = 0.5) -> Path:
    """A scene of noise that has data in some columns only."""
    image = np.zeros((3, rows, columns), np.uint8)
    noise = np.random.default_rng(rows).integers(1, 255, image.shape, np.uint8)
    image[:, :, data] = noise[:, :, data]
    with rasterio.open(
        path, "w", driver="GTiff", height=rows, width=columns, count=3, dtype="uint8", nodata=0,
        crs="EPSG:32633", transform=rasterio.Affine(gsd, 0, 500000, 0, -gsd, 5400000),
    ) as target:  # fmt: skip
        target.write(image)
    return path


def test_tiles_are_spread_over_scenes_and_within_each(small: Bundle, tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif", "c.tif"):
        write(tmp_path / name, 4 * SIDE, 4 * SIDE, slice(None))
    tiles = scene_tiles([tmp_path], small, 5)
    names = [tile.name for tile in tiles]
    assert [name[:5] for name in names] == ["a.tif", "a.tif", "b.tif", "b.tif", "c.tif"]
    assert len(set(names)) == 5
    assert names[:2] == ["a.tif, row 0, column 0", "a.tif, row 128, column 0"]
    for tile in tiles:
        assert tile.image.shape == (SIDE, SIDE, 3) and tile.valid.all()
        assert not tile.synthetic and not tile.empty


def test_fewer_tiles_than_scenes(small: Bundle, tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / f"{number}.tif", SIDE, SIDE, slice(None))
    names = [tile.name[0] for tile in scene_tiles([tmp_path], small, 2)]
    assert names == ["1", "3"]


def test_tiles_without_data_are_passed_over(small: Bundle, tmp_path: Path) -> None:
    scene = write(tmp_path / "half.tif", SIDE, 4 * SIDE, slice(3 * SIDE, None))
    (tile,) = scene_tiles([scene], small, 1)
    assert tile.name == "half.tif, row 0, column 192" and tile.valid.all()


def test_scenes_come_at_the_resolution_of_the_bundle(small: Bundle, tmp_path: Path) -> None:
    scene = write(tmp_path / "fine.tif", 2 * SIDE, 2 * SIDE, slice(None), gsd=0.25)
    (tile,) = scene_tiles([scene], small, 4)
    assert tile.image.shape == (SIDE, SIDE, 3)
    # the mean of four pixels of noise varies half as much
    assert 25 < tile.image.std() < 50


def test_scenes_without_any_data_are_refused(small: Bundle, tmp_path: Path) -> None:
    scene = write(tmp_path / "void.tif", SIDE, SIDE, slice(0, 0))
    with pytest.raises(SceneError, match="expected scenes with data, found none in .*void.tif"):
        scene_tiles([scene], small, 1)


def test_what_is_drawn_is_called_so_and_is_always_the_same(nano: Bundle) -> None:
    drawn, again = synthetic_tiles(nano, 1), synthetic_tiles(nano, 1)
    assert drawn[0].sha256 == again[0].sha256 and drawn[0].synthetic and not drawn[0].empty
    assert drawn[0].image.shape == (nano.tile_size, nano.tile_size, 3)
    empty = empty_tiles(nano)
    assert [tile.sha256 for tile in empty] == [tile.sha256 for tile in empty_tiles(nano)]
    assert all(tile.synthetic and tile.empty for tile in empty)
    assert np.ptp(empty[0].image) == 0
    assert 0 < empty[1].image.std() < 30


def test_the_digest_covers_pixels_and_validity(nano: Bundle) -> None:
    tile = empty_tiles(nano)[0]
    image, valid = tile.image.copy(), tile.valid.copy()
    image[3, 4, 1] ^= 1
    valid[5, 6] = False
    changed = (dataclasses.replace(tile, image=image), dataclasses.replace(tile, valid=valid))
    assert len({tile.sha256, *(other.sha256 for other in changed)}) == 3
