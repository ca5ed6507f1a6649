"""The working grid, its tiles, and how overlapping tiles blend.

Frames: *scene pixels* are the file's; *working pixels* are the scene resampled to the ground
resolution the models like. Both have (0, 0) at the same outer corner, and one factor per axis
joins them, so that the working grid covers the scene exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from t2s_rt.errors import UsageError
from t2s_rt.scene.reader import Scene
from t2s_rt.scene.window import Window

__all__ = ["SNAP", "TileGrid", "TileWindow", "WorkingGrid", "tile_grid", "working_grid"]

SNAP = 0.05
"""Native pixels are kept while they are this close to the target resolution: models do not mind,
and copies stay exact."""


@dataclass(frozen=True)
class WorkingGrid:
    """The scene at working resolution.

    Attributes:
        width: columns.
        height: rows.
        scale_x: scene pixels per working pixel along columns.
        scale_y: the same along rows.
        gsd: metres per working pixel along columns and rows, or None where unknown.
        warning: why the target resolution was not used, or None.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    gsd: tuple[float, float] | None
    warning: str | None = None

    def to_scene(self, window: Window | TileWindow) -> Window:
        """A window of working pixels in continuous scene pixels."""
        return Window(
            window.row * self.scale_y,
            window.col * self.scale_x,
            window.height * self.scale_y,
            window.width * self.scale_x,
        )

    def to_working(self, window: Window) -> Window:
        """A window of scene pixels in continuous working pixels."""
        return Window(
            window.row / self.scale_y,
            window.col / self.scale_x,
            window.height / self.scale_y,
            window.width / self.scale_x,
        )


def working_grid(
    scene: Scene, target_gsd: float | None, *, max_upsample: float = 4.0
) -> WorkingGrid:
    """Choose the grid that a scene is worked on.

    Args:
        scene: the open scene.
        target_gsd: metres per pixel wanted; None works on the native grid.
        max_upsample: scenes coarser than this many times the target stay as they are, because
            there is nothing to gain from inventing pixels.

    Returns:
        The native grid where the scene's ground resolution is unknown, too coarse, or within
        `SNAP` of the target; else the scene resampled to the target.
    """
    native = WorkingGrid(scene.width, scene.height, 1.0, 1.0, scene.gsd)
    if target_gsd is None:
        return native
    if not 0 < target_gsd < float("inf"):
        raise UsageError(f"expected a working resolution above 0 metres, found {target_gsd}")
    if scene.gsd is None:
        return _with_warning(
            native,
            f"its ground resolution is unknown: its pixels are taken for {target_gsd:g} m; "
            "say --scene-gsd if that is wrong",
        )
    if max(scene.gsd) > max_upsample * target_gsd:
        return _with_warning(
            native,
            f"its pixels of {max(scene.gsd):.4g} m are more than {max_upsample:g} times coarser "
            f"than the {target_gsd:g} m that the models like: it is worked on as it is, and small "
            "objects will be missed",
        )
    if all(abs(axis / target_gsd - 1) <= SNAP for axis in scene.gsd):
        return native
    width = max(1, round(scene.width * scene.gsd[0] / target_gsd))
    height = max(1, round(scene.height * scene.gsd[1] / target_gsd))
    scale_x, scale_y = scene.width / width, scene.height / height
    return WorkingGrid(
        width, height, scale_x, scale_y, (scene.gsd[0] * scale_x, scene.gsd[1] * scale_y)
    )


def _with_warning(grid: WorkingGrid, warning: str) -> WorkingGrid:
    return WorkingGrid(grid.width, grid.height, grid.scale_x, grid.scale_y, grid.gsd, warning)


@dataclass(frozen=True)
class TileWindow:
    """A tile of the working grid, in whole working pixels.

    Attributes:
        index: place in row-major order.
        row: upper edge.
        col: left edge.
        height: always the tile size; beyond a smaller scene the tile is padding.
        width: likewise.
    """

    index: int
    row: int
    col: int
    height: int
    width: int


@dataclass(frozen=True)
class TileGrid:
    """Square tiles that cover a grid, neighbours overlapping by at least ``overlap``.

    The last tile of a row or column is shifted inwards instead of reaching outside; only a grid
    smaller than a tile is padded, at its right and lower side.

    Attributes:
        height: rows of the grid.
        width: columns of the grid.
        tile: side of a tile.
        overlap: pixels shared by neighbours, 0 up to ``tile - 1``.
    """

    height: int
    width: int
    tile: int
    overlap: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or self.tile < 1:
            raise UsageError(
                f"expected a grid and tiles of at least one pixel, found {self.height} x "
                f"{self.width} in tiles of {self.tile}"
            )
        if not 0 <= self.overlap < self.tile:
            raise UsageError(
                f"expected an overlap from 0 to {self.tile - 1} pixels, found {self.overlap}"
            )

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Upper edges of the rows of tiles."""
        return _starts(self.height, self.tile, self.overlap)

    @cached_property
    def cols(self) -> tuple[int, ...]:
        """Left edges of the columns of tiles."""
        return _starts(self.width, self.tile, self.overlap)

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def __getitem__(self, index: int) -> TileWindow:
        if not 0 <= index < len(self):
            raise IndexError(index)
        down, across = divmod(index, len(self.cols))
        return TileWindow(index, self.rows[down], self.cols[across], self.tile, self.tile)

    def __iter__(self) -> Iterator[TileWindow]:
        return (self[index] for index in range(len(self)))

    def weights(self, tile: TileWindow) -> npt.NDArray[np.float32]:
        """Blend weights of a tile's pixels, float32 [tile, tile].

        Weights rise linearly over overlaps and sum to 1 over all tiles at every pixel of the
        grid; they are 0 on padding and nowhere else.
        """
        down, across = divmod(tile.index, len(self.cols))
        vertical = self._row_weights[down]
        horizontal = self._col_weights[across]
        return np.outer(vertical, horizontal).astype(np.float32)

    def owned(self, tile: TileWindow) -> Window:
        """The part of the grid that lies nearest to a tile's middle, in working pixels.

        Owned parts are disjoint, lie inside their tiles and cover the grid.
        """
        down, across = divmod(tile.index, len(self.cols))
        top, bottom = _owned(self.rows, down, self.tile, self.height)
        left, right = _owned(self.cols, across, self.tile, self.width)
        return Window(top, left, bottom - top, right - left)

    @cached_property
    def _row_weights(self) -> tuple[npt.NDArray[np.float64], ...]:
        return _ramps(self.rows, self.tile, self.height)

    @cached_property
    def _col_weights(self) -> tuple[npt.NDArray[np.float64], ...]:
        return _ramps(self.cols, self.tile, self.width)


def tile_grid(height: int, width: int, tile: int, overlap: int) -> tuple[TileWindow, ...]:
    """All tiles of a `TileGrid`, row by row."""
    return tuple(TileGrid(height, width, tile, overlap))


def _starts(size: int, tile: int, overlap: int) -> tuple[int, ...]:
    if size <= tile:
        return (0,)
    step = tile - overlap
    count = -(-(size - overlap) // step)
    return tuple(min(k * step, size - tile) for k in range(count))


def _owned(starts: tuple[int, ...], k: int, tile: int, size: int) -> tuple[int, int]:
    begin = 0 if k == 0 else (starts[k] + starts[k - 1] + tile) // 2
    end = size if k == len(starts) - 1 else (starts[k + 1] + starts[k] + tile) // 2
    return begin, end


def _ramps(starts: tuple[int, ...], tile: int, size: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Weights of each tile along one axis; over all tiles they sum to 1 at every pixel."""
    centres = np.arange(tile) + 0.5
    raw = []
    for k, start in enumerate(starts):
        weight = np.ones(tile)
        if k > 0:
            shared = starts[k - 1] + tile - start
            if shared:
                weight = np.minimum(weight, centres / shared)
        if k + 1 < len(starts):
            shared = start + tile - starts[k + 1]
            if shared:
                weight = np.minimum(weight, (tile - centres) / shared)
        raw.append(np.where(start + centres < size, weight, 0.0))
    total = np.zeros(max(size, starts[-1] + tile))
    for start, weight in zip(starts, raw, strict=True):
        total[start : start + tile] += weight
    total[size:] = 1.0
    return tuple(
        weight / total[start : start + tile] for start, weight in zip(starts, raw, strict=True)
    )
