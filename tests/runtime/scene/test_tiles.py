from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2s_rt.errors import UsageError
from t2s_rt.scene import TileGrid, Window, tile_grid, working_grid


@dataclass
class FakeScene:
    width: int
    height: int
    gsd: tuple[float, float] | None


grids = st.integers(1, 24).flatmap(
    lambda tile: st.builds(
        TileGrid, st.integers(1, 40), st.integers(1, 40), st.just(tile), st.integers(0, tile - 1)
    )
)


@settings(deadline=None, max_examples=40)
@given(grids)
def test_weights_sum_to_one_on_every_pixel_and_tiles_stay_inside(grid: TileGrid) -> None:
    total = np.zeros((max(grid.height, grid.tile), max(grid.width, grid.tile)))
    for tile in tile_grid(grid.height, grid.width, grid.tile, grid.overlap):
        assert (tile.height, tile.width) == (grid.tile, grid.tile)
        assert tile.row >= 0 and tile.col >= 0
        assert tile.row + tile.height <= max(grid.height, grid.tile)
        assert tile.col + tile.width <= max(grid.width, grid.tile)
        weights = grid.weights(tile)
        assert weights.shape == (grid.tile, grid.tile) and weights.min() >= 0
        total[tile.row : tile.row + grid.tile, tile.col : tile.col + grid.tile] += weights
    np.testing.assert_allclose(total[: grid.height, : grid.width], 1, atol=1e-5)
    assert not total[grid.height :].any() and not total[:, grid.width :].any()


@settings(deadline=None, max_examples=40)
@given(grids)
def test_owned_parts_cover_the_grid_once_and_lie_in_their_tiles(grid: TileGrid) -> None:
    owners = np.zeros((grid.height, grid.width), int)
    for index in range(len(grid)):
        tile = grid[index]
        part = grid.owned(tile)
        assert tile.row <= part.row and part.bottom <= max(tile.row + grid.tile, grid.height)
        assert part.bottom <= tile.row + grid.tile and part.right <= tile.col + grid.tile
        assert tile.col <= part.col
        owners[int(part.row) : int(part.bottom), int(part.col) : int(part.right)] += 1
    assert (owners == 1).all()


@settings(deadline=None, max_examples=40)
@given(grids)
def test_neighbours_overlap_by_what_was_asked(grid: TileGrid) -> None:
    for starts in (grid.rows, grid.cols):
        gaps = np.diff(starts)
        assert (gaps > 0).all()
        assert (grid.tile - gaps >= grid.overlap).all()


def test_weights_are_linear_over_a_regular_overlap() -> None:
    grid = TileGrid(8, 12, 8, 4)
    first = grid.weights(grid[0])[0]
    np.testing.assert_allclose(first, [1, 1, 1, 1, 0.875, 0.625, 0.375, 0.125], atol=1e-6)


def test_a_grid_is_a_sequence_of_its_tiles() -> None:
    grid = TileGrid(20, 20, 8, 2)
    assert [tile.index for tile in grid] == list(range(len(grid))) == list(range(9))
    with pytest.raises(IndexError):
        grid[9]


@pytest.mark.parametrize(("tile", "overlap"), [(8, 8), (8, -1), (0, 0)])
def test_impossible_tiles_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(UsageError, match="expected"):
        TileGrid(10, 10, tile, overlap)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.floats(0.02, 1.1),
    st.floats(0.02, 1.1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_working_and_scene_pixels_map_onto_each_other(
    width: int, height: int, gsd_x: float, gsd_y: float, row: float, col: float
) -> None:
    grid = working_grid(FakeScene(width, height, (gsd_x, gsd_y)), 0.3)  # type: ignore[arg-type]
    whole = grid.to_scene(Window(0, 0, grid.height, grid.width))
    assert whole.height == pytest.approx(height, rel=1e-12)
    assert whole.width == pytest.approx(width, rel=1e-12)
    there = Window(row * grid.height, col * grid.width, 3.5, 7.25)
    back = grid.to_working(grid.to_scene(there))
    for name in ("row", "col", "height", "width"):
        assert getattr(back, name) == pytest.approx(getattr(there, name), rel=1e-12, abs=1e-12)
    assert grid.gsd is not None
    if grid.scale_x != 1:
        # rounding to whole working pixels changes the resolution by half a pixel at most
        assert abs(gsd_x * width / 0.3 - grid.width) <= 0.5 or grid.width == 1


@pytest.mark.parametrize(
    ("gsd", "target", "scale", "warns"),
    [
        ((0.15, 0.15), 0.3, 2.0, False),
        ((0.6, 0.6), 0.3, 0.5, False),
        ((0.31, 0.29), 0.3, 1.0, False),
        ((1.2, 1.2), 0.3, 0.25, False),
        ((1.3, 1.3), 0.3, 1.0, True),
        (None, 0.3, 1.0, True),
        ((0.15, 0.15), None, 1.0, False),
    ],
)
def test_rule_of_the_working_grid(
    gsd: tuple[float, float] | None, target: float | None, scale: float, warns: bool
) -> None:
    grid = working_grid(FakeScene(1000, 800, gsd), target)  # type: ignore[arg-type]
    assert grid.scale_x == pytest.approx(scale, rel=0.01)
    assert (grid.warning is not None) == warns


def test_working_resolution_must_be_positive() -> None:
    with pytest.raises(UsageError, match="above 0"):
        working_grid(FakeScene(10, 10, (1.0, 1.0)), -1.0)  # type: ignore[arg-type]
