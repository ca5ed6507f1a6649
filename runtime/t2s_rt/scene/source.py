"""A raster file behind GDAL: blocks of stored pixels, or an error that says which are damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio._err import CPLE_BaseError  # raised by mask reads; rasterio.errors does not wrap it
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from t2s_rt.errors import SceneError
from t2s_rt.scene._gdal import damage, gdal_session, reason
from t2s_rt.scene.bands import BandPlan
from t2s_rt.scene.formats import FORMATS, check_limits

__all__ = ["GDAL_ERRORS", "Block", "SceneReadError", "Source", "sample_blocks"]

GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError, ValueError, MemoryError)
"""What rasterio raises for a file that GDAL cannot make sense of."""

SAMPLE_SIDE = 1024
"""Side of the decimated scene that stretch and alpha are judged by."""

SAMPLE_WHOLE = 4_000_000
"""Scenes up to this many pixels are sampled as a whole, larger ones by overview or in patches."""

Result = TypeVar("Result")


class SceneReadError(SceneError):
    """Some pixels of an open scene cannot be decoded; other windows may be fine."""


@dataclass(frozen=True)
class Block:
    """Whole pixels inside a raster, and the size they are read at.

    Attributes:
        top: first row.
        left: first column.
        height: rows.
        width: columns.
        rows: rows wanted; fewer than ``height`` decimates.
        cols: columns wanted.
    """

    top: int
    left: int
    height: int
    width: int
    rows: int
    cols: int

    @property
    def window(self) -> RasterWindow:
        """The block as rasterio wants it."""
        return RasterWindow(self.left, self.top, self.width, self.height)

    @property
    def decimated(self) -> bool:
        """Whether pixels are left out."""
        return (self.rows, self.cols) != (self.height, self.width)


class Source:
    """An open raster file.

    Args:
        path: the file.
        driver: the one GDAL driver that may open it.

    Raises:
        SceneError: GDAL cannot open it, or its header claims what no honest file has.
    """

    def __init__(self, path: Path, driver: str) -> None:
        self.path = path
        self.driver = driver
        try:
            with gdal_session():
                self._dataset = self._open()
                check_limits(self._dataset, driver, path)
        except GDAL_ERRORS as error:
            raise self.broken(error) from error
        self._stale = False

    @property
    def dataset(self) -> Any:
        """The rasterio dataset; reopened after damage.

        A decoder that has failed may return what is left in its buffers when it is asked again,
        and GDAL would hand that out as pixels.
        """
        if self._stale:
            self._dataset.close()
            self._dataset = self._open()
            self._stale = False
        return self._dataset

    def close(self) -> None:
        """Release the file."""
        with gdal_session():
            self._dataset.close()

    def broken(self, error: BaseException) -> SceneError:
        """The error for a file that cannot be used at all."""
        return SceneError(
            f"expected a readable {FORMATS[self.driver]} file, found a broken or unsupported one "
            f"({reason(error)}): {self.path}; copy or convert it again"
        )

    def pixels(
        self, indexes: Sequence[int], block: Block, *, smooth: bool = False
    ) -> npt.NDArray[np.generic]:
        """Stored pixels [rows, cols, len(indexes)] of a block.

        Args:
            indexes: 1-based bands.
            block: inside the raster.
            smooth: average where the block is decimated, else take the nearest pixel.

        Raises:
            SceneReadError: the file is damaged there.
        """
        method = Resampling.average if smooth and block.decimated else Resampling.nearest

        def read() -> npt.NDArray[np.generic]:
            shape = (len(indexes), block.rows, block.cols)
            raw = self.dataset.read(
                list(indexes), window=block.window, out_shape=shape, resampling=method
            )
            return np.ascontiguousarray(np.moveaxis(raw, 0, -1))

        return self._guarded(read, block)

    def mask(self, plan: BandPlan, block: Block) -> npt.NDArray[np.bool_]:
        """Which pixels of a block are valid, bool [rows, cols]; NaN is judged elsewhere.

        Raises:
            SceneReadError: the file or its mask is damaged there.
        """
        shape = (block.rows, block.cols)
        if plan.mask == "none":
            return np.ones(shape, bool)
        if plan.mask == "alpha":
            return np.asarray(np.not_equal(self.pixels([plan.alpha], block)[..., 0], 0), bool)

        def read() -> npt.NDArray[np.bool_]:
            masks = self.dataset.read_masks(
                list(plan.indexes), window=block.window, out_shape=(len(plan.indexes), *shape)
            )
            return np.asarray((masks > 0).any(axis=0))

        return self._guarded(read, block)

    def _open(self) -> Any:
        return rasterio.open(str(self.path.resolve()), driver=self.driver)

    def _guarded(self, read: Callable[[], Result], block: Block) -> Result:
        cause: BaseException | None = None
        try:
            with gdal_session() as messages:
                result = read()
            found = damage(messages)
            if found is None:
                return result
        except GDAL_ERRORS as error:
            cause, found = error, reason(error)
        self._stale = True
        raise SceneReadError(
            f"expected readable pixels in rows {block.top} to {block.top + block.height} and "
            f"columns {block.left} to {block.left + block.width}, found damage ({found}): "
            f"{self.path}; copy the file again"
        ) from cause


def sample_blocks(height: int, width: int, overview: int) -> Iterator[Block]:
    """Blocks that together show all of a scene in few pixels, never fewer than eight if it can.

    Args:
        height: rows of the scene.
        width: its columns.
        overview: greatest decimation of its stored overviews, 1 without any.

    Small scenes, and those with overviews, are decimated as a whole, in strips so that one
    damaged place does not spoil all; of others only an 8 x 8 grid of patches is read.
    """
    shrink = max(1.0, max(height, width) / SAMPLE_SIDE)
    if height * width <= SAMPLE_WHOLE or overview * 2 >= shrink:
        pieces = min(8, height)
        tops = np.linspace(0, height, pieces + 1).astype(int).tolist()
        cols = max(1, round(width / shrink))
        for top, bottom in zip(tops[:-1], tops[1:], strict=True):
            rows = max(1, round((bottom - top) / shrink))
            yield Block(top, 0, bottom - top, width, rows, cols)
        return
    tall, wide = min(128, height), min(128, width)
    for top in np.linspace(0, height - tall, 8).astype(int).tolist():
        for left in np.linspace(0, width - wide, 8).astype(int).tolist():
            yield Block(top, left, tall, wide, tall, wide)
