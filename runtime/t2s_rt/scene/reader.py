"""Scenes: raster and image files as windows of 8-bit RGB with a valid-pixel mask."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS

from t2s_rt.errors import UsageError
from t2s_rt.scene._gdal import gdal_session
from t2s_rt.scene.bands import alpha_is_mask, parse_bands, plan_bands
from t2s_rt.scene.formats import check_path, sniff
from t2s_rt.scene.ground import GroundFrame, ground_frame
from t2s_rt.scene.orientation import exif_orientation
from t2s_rt.scene.resample import MARGIN, resample_masked
from t2s_rt.scene.source import GDAL_ERRORS, Block, SceneReadError, Source, sample_blocks
from t2s_rt.scene.stretch import Stretch, fit_stretch
from t2s_rt.scene.window import Window

__all__ = ["Scene", "SceneReadError", "open_scene"]

NATIVE_PIXELS = 12_000_000
"""Most pixels read at native resolution for one window; larger windows are decimated by GDAL."""

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class Scene:
    """An open scene; use it as a context manager, from one thread at a time.

    Attributes:
        path: the file.
        stem: what outputs are named after.
        width: columns.
        height: rows.
        crs: rasterio CRS, or None for a plain pixel frame.
        transform: rasterio ``Affine`` from continuous scene pixels to the CRS; the identity
            where the file has none.
        gsd: metres on the ground per pixel along columns and rows at the centre, or None.
        nodata: nodata value of the first band read, or None.
        bands: 1-based bands shown as red, green, blue; a single one is replicated.
        dtype: numpy name of the stored pixels.
        stretch: how they become 8 bits.
        warnings: what a user should know about this file.
    """

    def __init__(
        self, source: Source, bands: str | Sequence[int] | None, scene_gsd: float | None
    ) -> None:
        self.path = path = source.path
        self.stem = path.stem
        self.warnings: list[str] = []
        self._source = source
        dataset = source.dataset
        self.width, self.height = int(dataset.width), int(dataset.height)
        self.crs, self.transform = self._georeference()
        self.ground: GroundFrame | None = ground_frame(self.crs, self.transform)
        self.gsd = self._ground_resolution(scene_gsd)
        chosen = parse_bands(bands, dataset.count, path)
        self._plan = plan_bands(dataset, chosen, self._alpha_is_data(), path)
        self.bands = self._plan.indexes
        self.nodata: float | None = dataset.nodatavals[self.bands[0] - 1]
        self.dtype = str(dataset.dtypes[self.bands[0] - 1])
        self.stretch = self._fit_stretch()
        self._note_oddities()

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; reading afterwards is an error."""
        self._source.close()

    @property
    def extent(self) -> Window:
        """The whole scene as a window."""
        return Window(0, 0, self.height, self.width)

    def read(
        self, window: Window, out_height: int | None = None, out_width: int | None = None
    ) -> tuple[Image, Mask]:
        """Read a window, resampled to a size.

        Args:
            window: in continuous scene pixels; may be fractional and reach beyond the scene.
            out_height: rows wanted; None keeps the window's.
            out_width: columns wanted; None keeps the window's.

        Returns:
            RGB, uint8 [out_height, out_width, 3], and validity, bool [out_height, out_width].
            Shrinking averages areas of valid pixels, growing interpolates linearly. Pixels that
            are nodata, transparent, masked or outside the scene are invalid and black.

        Raises:
            SceneReadError: where the file is damaged there.
            UsageError: for an empty window or size.
        """
        rows = round(window.height) if out_height is None else out_height
        cols = round(window.width) if out_width is None else out_width
        if rows < 1 or cols < 1 or not (window.height > 0 and window.width > 0):
            raise UsageError(
                f"expected a window and an output size of at least one pixel, found {window} to "
                f"{rows} x {cols}"
            )
        block = self._block(window, rows, cols)
        if block is None:
            return np.zeros((rows, cols, 3), np.uint8), np.zeros((rows, cols), bool)
        pixels, valid = self._read_rgb(block)
        down, across = block.rows / block.height, block.cols / block.width
        row, col = (window.row - block.top) * down, (window.col - block.left) * across
        height, width = window.height * down, window.width * across
        pixels, valid, before = _pad_outside(pixels, valid, row, col, height, width)
        part = (row + before[0], col + before[1], height, width)
        return resample_masked(pixels, valid, part, rows, cols)

    def _block(self, window: Window, rows: int, cols: int) -> Block | None:
        """Pixels around a window: all of them, or decimated to twice the output's density."""
        # only interpolation looks beyond the window; a damaged neighbour must not spoil a copy
        grows = rows > window.height or cols > window.width
        margin = MARGIN if grows else 0
        top = max(0, int(np.floor(window.row)) - margin)
        left = max(0, int(np.floor(window.col)) - margin)
        height = min(self.height, int(np.ceil(window.bottom)) + margin) - top
        width = min(self.width, int(np.ceil(window.right)) + margin) - left
        if height <= 0 or width <= 0:
            return None
        if height * width <= NATIVE_PIXELS:
            return Block(top, left, height, width, height, width)
        by_row = max(1, int(window.height / rows / 2))
        by_col = max(1, int(window.width / cols / 2))
        return Block(top, left, height, width, -(-height // by_row), -(-width // by_col))

    def _read_rgb(self, block: Block) -> tuple[Image, Mask]:
        raw, valid = self._read_raw(block)
        table = self._plan.palette
        if table is not None:
            index = np.clip(raw[..., 0].astype(np.int64), 0, len(table) - 1)
            colours = table[index]
            return np.ascontiguousarray(colours[..., :3]), valid & (colours[..., 3] > 0)
        rgb = self.stretch.apply(raw)
        return (np.repeat(rgb, 3, axis=-1) if rgb.shape[-1] == 1 else rgb), valid

    def _read_raw(self, block: Block) -> tuple[npt.NDArray[np.generic], Mask]:
        """Stored pixels [rows, cols, bands] of a block, and their validity."""
        raw = self._source.pixels(self.bands, block, smooth=self._plan.palette is None)
        valid = self._source.mask(self._plan, block)
        if np.issubdtype(raw.dtype, np.floating):
            valid &= np.isfinite(raw).all(axis=-1)
        return raw, valid

    def _georeference(self) -> tuple[CRS | None, Any]:
        dataset = self._source.dataset
        crs, transform = dataset.crs, dataset.transform
        if crs is not None and not crs.wkt:
            crs = None
        if not transform.is_identity:
            if crs is None:
                self.warnings.append(
                    "it has a transform but no CRS: ground sizes are unknown, outputs keep the "
                    "transform and polygons are in pixels"
                )
            if not np.isfinite(tuple(transform)).all() or transform.determinant == 0:
                self.warnings.append("its transform is degenerate: outputs are in a pixel frame")
                return None, rasterio.Affine.identity()
            return crs, transform
        if dataset.gcps[0] or dataset.rpcs is not None:
            kind = "ground control points" if dataset.gcps[0] else "a rational polynomial (RPC)"
            self.warnings.append(
                f"it is placed by {kind}, not by a transform: outputs are in a plain pixel frame; "
                "warp it first (gdalwarp) to get them on the ground"
            )
        elif crs is not None:
            self.warnings.append("it names a CRS but no transform: outputs are in a pixel frame")
        return None, rasterio.Affine.identity()

    def _ground_resolution(self, scene_gsd: float | None) -> tuple[float, float] | None:
        found = self.ground.gsd(self.width, self.height) if self.ground else None
        if scene_gsd is None:
            return found
        if not 0 < scene_gsd < float("inf"):
            raise UsageError(f"expected a ground resolution above 0 metres, found {scene_gsd}")
        if found is None:
            return (scene_gsd, scene_gsd)
        if max(abs(scene_gsd / axis - 1) for axis in found) > 0.05:
            self.warnings.append(
                f"its CRS says {found[0]:.4g} x {found[1]:.4g} m per pixel; "
                f"{scene_gsd:g} m is used as asked with --scene-gsd"
            )
        return (scene_gsd, scene_gsd)

    def _alpha_is_data(self) -> bool:
        dataset = self._source.dataset
        names = [colour.name for colour in dataset.colorinterp]
        if "alpha" not in names or dataset.count == 1:
            return bool(dataset.count == 1)
        alpha = names.index("alpha") + 1
        sample = self._sample(
            lambda block: self._pixel_rows([1 if alpha != 1 else 2, alpha], block)
        )
        colours_empty = bool((sample[:, 0] == sample[0, 0]).all())
        if alpha_is_mask(sample[:, 1], colours_empty):
            return False
        self.warnings.append(
            f"band {alpha} is tagged alpha but its values are no mask: it is taken as data"
        )
        return True

    def _fit_stretch(self) -> Stretch:
        dataset = self._source.dataset
        types = {str(dataset.dtypes[index - 1]) for index in self.bands}
        tag = dataset.tags(self.bands[0], ns="IMAGE_STRUCTURE").get("NBITS")
        bits = int(tag) if tag and tag.isdigit() else None
        count = len(self.bands)
        if self._plan.palette is not None or (types <= {"uint8", "int8"} and len(types) == 1):
            self._probe()
            if self._plan.palette is not None:
                return Stretch((0.0,), (255.0,), "colours of the palette")
            return fit_stretch(self.dtype, bits, None, count)
        sample = self._sample(self._valid_rows)
        kind = self.dtype if len(types) == 1 else str(np.result_type(*types))
        if not sample.size:
            self.warnings.append("no pixel of the sample is valid: the scene looks empty")
        return fit_stretch(kind, bits, sample, count)

    def _probe(self) -> None:
        """Fail early where nothing can be decoded at all."""
        rows, cols = min(self.height, 256), min(self.width, 256)
        try:
            self._read_raw(Block(0, 0, rows, cols, rows, cols))
        except SceneReadError:
            self._sample(self._valid_rows)

    def _pixel_rows(self, indexes: list[int], block: Block) -> npt.NDArray[np.generic]:
        return self._source.pixels(indexes, block).reshape(-1, len(indexes))

    def _valid_rows(self, block: Block) -> npt.NDArray[np.generic]:
        raw, valid = self._read_raw(block)
        return raw[valid]

    def _sample(self, read: Callable[[Block], npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
        """Pixels [n, bands] from all over the scene; damaged parts are left out.

        Raises:
            SceneReadError: every part is damaged.
        """
        parts: list[npt.NDArray[np.generic]] = []
        failure: SceneReadError | None = None
        overview = max(self._source.dataset.overviews(1), default=1)
        for block in sample_blocks(self.height, self.width, overview):
            try:
                parts.append(read(block))
            except SceneReadError as error:
                failure = failure or error
        if not parts and failure is not None:
            raise failure
        return np.concatenate(parts)

    def _note_oddities(self) -> None:
        orientation = exif_orientation(self.path)
        if orientation not in (None, 1):
            self.warnings.append(
                f"its EXIF tag Orientation = {orientation} asks viewers to turn it; outputs keep "
                "the stored pixel grid, as GDAL and QGIS show it"
            )
        dataset = self._source.dataset
        if self._source.driver == "GIF" and dataset.count > 1:
            self.warnings.append(f"only the first of its {dataset.count} frames is read")
        if len(dataset.subdatasets) > 1:
            self.warnings.append(f"only the first of its {len(dataset.subdatasets)} pages is read")


def _pad_outside(
    pixels: Image, valid: Mask, row: float, col: float, height: float, width: float
) -> tuple[Image, Mask, tuple[int, int]]:
    """Add invalid pixels around a block so that it covers a window, and say how many in front."""
    top, left = max(0, int(np.ceil(-row))), max(0, int(np.ceil(-col)))
    bottom = max(0, int(np.ceil(row + height)) - pixels.shape[0])
    right = max(0, int(np.ceil(col + width)) - pixels.shape[1])
    if not (top or left or bottom or right):
        return pixels, valid, (0, 0)
    pad = ((top, bottom), (left, right))
    return np.pad(pixels, (*pad, (0, 0))), np.pad(valid, pad), (top, left)


def open_scene(
    path: str | os.PathLike[str],
    *,
    bands: str | Sequence[int] | None = None,
    scene_gsd: float | None = None,
) -> Scene:
    """Open a scene and learn all that is needed to read any window of it.

    Args:
        path: a local GeoTIFF, COG, PNG, JPEG, WebP, JPEG 2000, BMP or GIF file.
        bands: 1-based bands for red, green and blue, e.g. ``"3,2,1"``, or one to replicate. None:
            those that say red, green, blue; else the first three; a single band is replicated.
        scene_gsd: metres per pixel, for files that do not say; where they do, it wins and a
            difference above 5 % is warned of.

    Returns:
        The open scene; it holds no pixels.

    Raises:
        SceneError: a missing, foreign, hostile or wholly broken file.
        UsageError: unusable ``bands`` or ``scene_gsd``.
    """
    place = check_path(path)
    source = Source(place, sniff(place))
    try:
        with gdal_session():
            return Scene(source, bands, scene_gsd)
    except GDAL_ERRORS as error:
        source.close()
        raise source.broken(error) from error
    except BaseException:
        source.close()
        raise
