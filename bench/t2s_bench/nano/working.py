"""A held-out scene as the models see it: at the bundle's resolution, in tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from t2s_rt.bundle import Bundle
from t2s_rt.pipeline.tiles import TilePixels, pad_tile
from t2s_rt.scene.resample import resample
from t2s_rt.scene.tiles import TileGrid, TileWindow

__all__ = ["WorkingScene"]

_OVERLAP = 64


@dataclass(frozen=True)
class WorkingScene:
    """A scene at the bundle's resolution, with the factor from working to scene pixels.

    Attributes:
        image: uint8 ``[h, w, 3]`` RGB at the bundle's resolution.
        scale: scene pixels of a working pixel.
        grid: its tiles.
    """

    image: NDArray[np.uint8]
    scale: float
    grid: TileGrid

    @classmethod
    def of(cls, image: NDArray[np.uint8], gsd: float, bundle: Bundle) -> WorkingScene:
        """Resample a scene uint8 ``[H, W, 3]`` of ``gsd`` metres per pixel."""
        height, width = image.shape[:2]
        rows, columns = (max(1, round(side * gsd / bundle.gsd)) for side in (height, width))
        small = resample(image, 0, 0, height, width, rows, columns)
        overlap = min(_OVERLAP, bundle.tile_size - 1)
        return cls(
            np.rint(small).clip(0, 255).astype(np.uint8),
            height / rows,
            TileGrid(rows, columns, bundle.tile_size, overlap),
        )

    def tiles(self) -> Iterator[tuple[TileWindow, NDArray[np.uint8]]]:
        """Every tile with its pixels, filled up beyond the scene as ``infer`` does."""
        side = self.grid.tile
        for index in range(len(self.grid)):
            tile = self.grid[index]
            part = self.image[tile.row : tile.row + side, tile.col : tile.col + side]
            pixels = TilePixels(np.ascontiguousarray(part), np.ones(part.shape[:2], bool))
            yield tile, pad_tile(pixels, side).image

    def to_scene(self, boxes: NDArray[np.float32], tile: TileWindow) -> NDArray[np.float32]:
        """Boxes [N, 4] xyxy from tile pixels to scene pixels; they may reach into the padding."""
        shift = np.array([tile.col, tile.row, tile.col, tile.row], np.float32)
        return np.asarray((boxes + shift) * self.scale, np.float32)

    def to_tile(self, boxes: NDArray[np.float32], tile: TileWindow) -> NDArray[np.float32]:
        """The inverse of ``to_scene``, cut at the tile's edges."""
        shift = np.array([tile.col, tile.row, tile.col, tile.row], np.float32)
        inside = boxes / np.float32(self.scale) - shift
        edges = [tile.width, tile.height, tile.width, tile.height]
        return np.asarray(np.clip(inside, 0, edges), np.float32)

    def owners(self, boxes: NDArray[np.float32]) -> NDArray[np.intp]:
        """Tile that owns the centre of each box [N, 4] in scene pixels; -1 outside the scene.

        Tiles at a border are filled up with the mirrored scene: objects are found there, too, and
        the runtime drops them as this does.
        """
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / self.scale
        owner = np.full(len(boxes), -1, np.intp)
        for index in range(len(self.grid)):
            part = self.grid.owned(self.grid[index])
            x, y = centres[:, 0], centres[:, 1]
            inside = (x >= part.col) & (x < part.col + part.width)
            inside &= (y >= part.row) & (y < part.row + part.height)
            owner[inside] = index
        return owner

    def mask_in_scene(
        self, logits: NDArray[np.float32], tile: TileWindow, shape: tuple[int, ...]
    ) -> NDArray[np.bool_]:
        """A tile's mask logits as a mask of the whole scene, sampled at its pixels' centres."""
        inverse = 1 / self.scale
        # maps scene pixel indices to tile pixel indices; both count centres at whole numbers
        offset = 0.5 * inverse - 0.5
        matrix = np.array([[inverse, 0, offset - tile.col], [0, inverse, offset - tile.row]])
        warped = cv2.warpAffine(
            logits,
            matrix,
            (shape[1], shape[0]),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(-1.0,),
        )
        inside: NDArray[np.bool_] = np.asarray(warped) > 0
        return inside
