"""A scene as the runner reads it: tiles at working resolution, validity at its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from t2s_rt.errors import SceneError
from t2s_rt.pipeline.blend import Region
from t2s_rt.scene import Scene, TileWindow, Window, WorkingGrid

__all__ = ["SceneReader"]

_DAMAGED_STEP = 128
"""Side of the pieces in which validity is read where a whole block cannot be."""


class SceneReader:
    """Reads an open scene; from one thread at a time, as the scene itself.

    Args:
        scene: open.
        working: its working grid.

    Attributes:
        scene: the scene.
        working: the grid that tiles are windows of.
    """

    def __init__(self, scene: Scene, working: WorkingGrid) -> None:
        self.scene = scene
        self.working = working

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about scene and grid."""
        extra = () if self.working.warning is None else (self.working.warning,)
        return (*self.scene.warnings, *extra)

    def tile(self, tile: TileWindow) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """RGB uint8 ``[h, w, 3]`` and validity of the part of a tile inside the grid.

        Raises:
            SceneError: the file is damaged there.
        """
        height = min(tile.height, self.working.height - tile.row)
        width = min(tile.width, self.working.width - tile.col)
        window = self.working.to_scene(Window(tile.row, tile.col, height, width))
        return self.scene.read(window, height, width)

    def valid(self, region: Region) -> NDArray[np.bool_]:
        """Validity of scene pixels; what cannot be read is not valid."""
        row0, row1, col0, col1 = region
        try:
            return self.scene.read(Window(row0, col0, row1 - row0, col1 - col0))[1]
        except SceneError:
            valid = np.zeros((row1 - row0, col1 - col0), dtype=bool)
        for row in range(row0, row1, _DAMAGED_STEP):
            for col in range(col0, col1, _DAMAGED_STEP):
                bottom, right = min(row + _DAMAGED_STEP, row1), min(col + _DAMAGED_STEP, col1)
                try:
                    part = self.scene.read(Window(row, col, bottom - row, right - col))[1]
                except SceneError:
                    continue
                valid[row - row0 : bottom - row0, col - col0 : right - col0] = part
        return valid
