"""How a scene is cut: tiles on the working grid, bands and blocks on its own pixels.

Tiles are computed row by row. A band is a strip of scene rows; it can be composed as soon as
every tile that touches it is there, and once it is composed the tiles above it are needed no
more. So the scores in store never cover more than a few rows of tiles, whatever the scene.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from t2s_rt.pipeline.blend import Region
from t2s_rt.scene import TileGrid, TileWindow

__all__ = ["Layout", "owned_part"]

_MARGIN = 1
"""Working pixels around a block that bilinear interpolation reaches for."""
_SHARED = 4
"""Working pixels by which the parts that neighbouring tiles own overlap on each side."""


@dataclass(frozen=True)
class Layout:
    """The cuts of one scene.

    Attributes:
        scene: height and width in scene pixels.
        grid: tiles that cover the working grid, row by row.
        block: sides of the blocks in which the map is composed, in scene pixels.
    """

    scene: tuple[int, int]
    grid: TileGrid
    block: int

    @cached_property
    def tiles(self) -> tuple[TileWindow, ...]:
        """All tiles, row by row; only those of a grid smaller than a tile reach beyond it."""
        return tuple(self.grid[index] for index in range(len(self.grid)))

    @property
    def scale(self) -> tuple[float, float]:
        """Working pixels per scene pixel, down and across."""
        return self.grid.height / self.scene[0], self.grid.width / self.scene[1]

    @property
    def bands(self) -> int:
        """Number of bands."""
        return math.ceil(self.scene[0] / self.block)

    def blocks(self, band: int) -> Iterator[Region]:
        """Blocks of a band from left to right, in scene pixels."""
        row0 = band * self.block
        row1 = min(row0 + self.block, self.scene[0])
        for col0 in range(0, self.scene[1], self.block):
            yield row0, row1, col0, min(col0 + self.block, self.scene[1])

    def working(self, region: Region) -> Region:
        """The part of the working grid that a region of scene pixels needs."""
        row0, row1, col0, col1 = region
        down, across = self.scale
        return (
            max(0, math.floor(row0 * down) - _MARGIN),
            min(self.grid.height, math.ceil(row1 * down) + _MARGIN),
            max(0, math.floor(col0 * across) - _MARGIN),
            min(self.grid.width, math.ceil(col1 * across) + _MARGIN),
        )

    def working_rows(self, band: int) -> tuple[int, int]:
        """First working row that a band needs, and the one after the last."""
        row0 = band * self.block
        region = (row0, min(row0 + self.block, self.scene[0]), 0, self.scene[1])
        return self.working(region)[:2]

    def touching(self, region: Region) -> Sequence[TileWindow]:
        """Tiles that touch a part of the working grid."""
        row0, row1, col0, col1 = region
        side = self.grid.tile
        return [
            self.tiles[down * len(self.grid.cols) + across]
            for down, row in enumerate(self.grid.rows)
            if row < row1 and row + side > row0
            for across, col in enumerate(self.grid.cols)
            if col < col1 and col + side > col0
        ]

    def owned(self, tile: TileWindow) -> Region:
        """The part of a tile whose objects are its own; see ``owned_part``."""
        return owned_part(self.grid, tile)

    def needed(self, tile: TileWindow, bands: Sequence[int]) -> bool:
        """Whether any of these bands takes scores from a tile."""
        return any(
            tile.row < end and tile.row + tile.height > start
            for start, end in map(self.working_rows, bands)
        )


def owned_part(grid: TileGrid, tile: TileWindow) -> Region:
    """The part of a tile that lies nearer to its middle than to any other tile's.

    In tile pixels. Neighbours' parts overlap by a few pixels: an object whose centre lies on the
    line between them may be found by both, but by none it would be lost.
    """
    part = grid.owned(tile)
    top, left = int(part.row) - tile.row, int(part.col) - tile.col
    return (
        max(0, top - _SHARED),
        min(tile.height, top + int(part.height) + _SHARED),
        max(0, left - _SHARED),
        min(tile.width, left + int(part.width) + _SHARED),
    )
