"""Maps as Cloud Optimized GeoTIFFs, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio._err import CPLE_BaseError  # raised by copy; rasterio.errors does not wrap it
from rasterio.errors import RasterioError
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window as RasterWindow

from t2s_rt.errors import OutputError
from t2s_rt.scene._gdal import gdal_session, reason

__all__ = ["BACKGROUND_NAME", "MapProfile", "class_names", "write_cog"]

BACKGROUND_NAME = "none"
"""Name of label 0."""

_BLOCK = 512
_CLASS_TAG = "CLASS_{}"


@dataclass(frozen=True)
class MapProfile:
    """The frame of a map: its scene's.

    Attributes:
        width: columns.
        height: rows.
        crs: rasterio CRS or None.
        transform: rasterio ``Affine``.
    """

    width: int
    height: int
    crs: Any
    transform: Any


def write_cog(
    path: Path,
    profile: MapProfile,
    strips: Iterable[tuple[int, npt.NDArray[np.uint8]]],
    *,
    nodata: int,
    classes: Sequence[tuple[str, tuple[int, int, int]]] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a one-band map.

    A plain tiled GeoTIFF is written beside ``path`` first, because the COG driver only copies.

    Args:
        path: the file to write; replaced if it exists.
        profile: size, CRS and transform, kept bit for bit.
        strips: (first row, uint8 [n, width]) from top to bottom.
        nodata: value of pixels without data.
        classes: name and colour of labels 1..N: adds a colour table, a tag ``CLASS_k`` per label,
            and the sidecar ``.aux.xml`` from which GDAL and QGIS take category names.
        tags: further tags of the band.

    Raises:
        OutputError: the file cannot be written.
    """
    plain = path.with_name(path.name + ".plain.tif")
    colours = None if classes is None else _colour_table(classes)
    band_tags = dict(tags or {})
    if classes is not None:
        named = [BACKGROUND_NAME, *(name for name, _ in classes)]
        band_tags |= {_CLASS_TAG.format(k): name for k, name in enumerate(named)}
    creation = {
        "driver": "GTiff",
        "width": profile.width,
        "height": profile.height,
        "count": 1,
        "dtype": "uint8",
        "nodata": nodata,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "LZW",
        "bigtiff": "IF_SAFER",
    }
    if profile.crs is not None:
        creation["crs"] = profile.crs
    if not profile.transform.is_identity:
        creation["transform"] = profile.transform
    try:
        with gdal_session(CHECK_DISK_FREE_SPACE="NO"):
            with rasterio.open(plain, "w", **creation) as target:
                if colours is not None:
                    target.write_colormap(1, colours)
                target.update_tags(1, **band_tags)
                sums = []
                for row, rows in strips:
                    window = RasterWindow(0, row, profile.width, rows.shape[0])
                    target.write(rows, 1, window=window)
                    sums.append((window, zlib.crc32(rows.tobytes())))
            copy_raster(
                str(plain),
                str(path),
                driver="COG",
                COMPRESS="DEFLATE",
                BLOCKSIZE=str(_BLOCK),
                OVERVIEW_RESAMPLING="MODE" if classes is not None else "AVERAGE",
                BIGTIFF="IF_SAFER",
            )
            _check_whole(path, sums)
        if classes is not None:
            sidecar = path.with_name(path.name + ".aux.xml")
            sidecar.write_text(_category_names(classes), encoding="utf-8")
    except (RasterioError, CPLE_BaseError) as error:
        raise OutputError(
            f"expected to write {path}, found: {reason(error)}; free some space or choose another "
            "folder with -o"
        ) from error
    finally:
        plain.unlink(missing_ok=True)


def class_names(path: Path) -> dict[int, str]:
    """Names by label that a class map carries, without label 0."""
    with gdal_session(), rasterio.open(path) as source:
        tags = source.tags(1)
    found = {}
    label = 1
    while (name := tags.get(_CLASS_TAG.format(label))) is not None:
        found[label] = name
        label += 1
    return found


def _check_whole(path: Path, sums: Sequence[tuple[RasterWindow, int]]) -> None:
    """Read back every pixel: GDAL reports a full disk late, or only in its log."""
    with rasterio.open(path) as source:
        for window, expected in sums:
            if zlib.crc32(source.read(1, window=window).tobytes()) != expected:
                raise RasterioError(f"pixels changed on their way to the disk ({window})")


def _colour_table(
    classes: Sequence[tuple[str, tuple[int, int, int]]],
) -> dict[int, tuple[int, int, int, int]]:
    table = {0: (0, 0, 0, 0), 255: (0, 0, 0, 0)}
    for label, (_, (red, green, blue)) in enumerate(classes, start=1):
        table[label] = (red, green, blue, 255)
    return table


def _category_names(classes: Sequence[tuple[str, tuple[int, int, int]]]) -> str:
    names = [BACKGROUND_NAME, *(name for name, _ in classes)]
    rows = "\n".join(f"      <Category>{escape(name)}</Category>" for name in names)
    return (
        '<PAMDataset>\n  <PAMRasterBand band="1">\n    <CategoryNames>\n'
        f"{rows}\n    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n"
    )
