"""Ground sizes: how many metres a pixel spans, and its area.

Distances are taken on the ellipsoid of the scene's own CRS, so that Mars, feet, degrees and the
stretched metres of web Mercator all come out as metres on the ground. Local formulas: the radii of
curvature of the meridian (M) and of the prime vertical (N); Torge, *Geodesy*, section 4.1.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio._err import CPLE_BaseError  # not wrapped by rasterio.warp
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform as warp_points

from t2s_rt.scene._gdal import gdal_session

__all__ = ["GroundFrame", "ground_frame"]

FloatArray = npt.NDArray[np.float64]

NOMINAL_TOLERANCE = 0.01
"""Projected units count as ground metres while they are this close to them (UTM: 0.0004)."""

PLAUSIBLE_METRES = (1e-4, 1e6)
"""Pixels smaller than a hair's width or larger than a country are a wrong header."""

_SPHEROID = re.compile(r'(?:SPHEROID|ELLIPSOID)\["[^"]*",\s*([-+.\deE]+),\s*([-+.\deE]+)')


class GroundFrame:
    """Ground measures of a raster's pixels.

    Args:
        crs: the raster's CRS.
        transform: its affine transform (rasterio's ``Affine``).
    """

    def __init__(self, crs: CRS, transform: Any) -> None:
        self._crs = crs
        self._transform = transform
        self._base: CRS | None = None
        self._radius, self._flattening = 6378137.0, 1 / 298.257223563
        self._unit = 1.0
        if crs.is_geographic:
            self._base = crs
        else:
            self._unit = float(crs.linear_units_factor[1])
            self._base = _geographic_base(crs)
        if self._base is not None:
            found = _SPHEROID.search(self._base.to_wkt())
            if found:
                self._radius = float(found[1])
                self._flattening = 1 / float(found[2]) if float(found[2]) else 0.0

    def pixel_vectors(
        self, cols: npt.ArrayLike, rows: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Steps of one pixel on the ground.

        Args:
            cols: x in continuous scene pixels, length n.
            rows: y in continuous scene pixels, length n.

        Returns:
            ``along_columns`` and ``along_rows``, float64 [n, 2]: metres east and north (in a
            projected CRS without a geographic base: metres along its axes) that a step of one
            pixel makes. Not finite where the CRS does not reach.
        """
        col, row = np.asarray(cols, np.float64), np.asarray(rows, np.float64)
        a, b, c, d, e, f = tuple(self._transform)[:6]
        x, y = a * col + b * row + c, d * col + e * row + f
        if self._base is None:
            steps = np.array([[a, d], [b, e]]) * self._unit
            return np.tile(steps[0], (len(col), 1)), np.tile(steps[1], (len(col), 1))
        # central differences, so that the middle of the pixel is where the scale is taken
        points = np.concatenate(
            [
                np.stack([x + sx * a / 2 + sy * b / 2, y + sx * d / 2 + sy * e / 2])
                for sx, sy in ((1, 0), (-1, 0), (0, 1), (0, -1), (0, 0))
            ],
            axis=1,
        )
        lon, lat = self._to_radians(points[0], points[1])
        east, north = self._local_metres(lon, lat, len(col))
        return (
            np.stack([east[0] - east[1], north[0] - north[1]], axis=1),
            np.stack([east[2] - east[3], north[2] - north[3]], axis=1),
        )

    def pixel_areas(self, cols: npt.ArrayLike, rows: npt.ArrayLike) -> FloatArray:
        """Ground area of the pixels at these places, float64 [n], square metres."""
        across, down = self.pixel_vectors(cols, rows)
        return np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0])

    def gsd(self, width: int, height: int) -> tuple[float, float] | None:
        """Metres per pixel along columns and rows at the raster's centre, or None.

        Projected units are taken as they stand while they agree with the ground to within
        `NOMINAL_TOLERANCE`; web Mercator at 50 degrees does not.
        """
        across, down = self.pixel_vectors([width / 2], [height / 2])
        true = math.hypot(*across[0]), math.hypot(*down[0])
        a, b, _, d, e, _ = tuple(self._transform)[:6]
        nominal = math.hypot(a, d) * self._unit, math.hypot(b, e) * self._unit
        if self._crs.is_geographic:
            pair = true
        elif not all(map(math.isfinite, true)):
            pair = nominal
        else:
            near = all(
                abs(t - n) <= NOMINAL_TOLERANCE * n for t, n in zip(true, nominal, strict=True)
            )
            pair = nominal if near else true
        low, high = PLAUSIBLE_METRES
        return pair if all(math.isfinite(p) and low <= p <= high for p in pair) else None

    def _to_radians(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        base = self._base
        if base is None or base is self._crs:
            unit = float(self._crs.units_factor[1])
            return x * unit, y * unit
        lon, lat = _reprojected(self._crs, base, x, y)
        unit = float(base.units_factor[1])
        return lon * unit, lat * unit

    def _local_metres(
        self, lon: FloatArray, lat: FloatArray, n: int
    ) -> tuple[FloatArray, FloatArray]:
        """Offsets of five blocks of n points from the last block, [5, n] east and north."""
        lon, lat = lon.reshape(5, n), lat.reshape(5, n)
        e2 = self._flattening * (2 - self._flattening)
        with np.errstate(invalid="ignore"):
            w2 = 1 - e2 * np.sin(lat[4]) ** 2
            meridian = self._radius * (1 - e2) / w2**1.5
            normal = self._radius / np.sqrt(w2)
            # a step over the antimeridian is a small step
            turn = np.remainder(lon - lon[4] + math.pi, 2 * math.pi) - math.pi
            return turn * normal * np.cos(lat[4]), (lat - lat[4]) * meridian


def ground_frame(crs: CRS | None, transform: Any) -> GroundFrame | None:
    """The ground frame of a raster, or None where it has no CRS or one that PROJ cannot use."""
    if crs is None:
        return None
    try:
        with gdal_session():
            return GroundFrame(crs, transform)
    except CRSError:
        return None


def _reprojected(
    source: CRS, target: CRS, x: FloatArray, y: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Points in another CRS; NaN where the projection does not reach."""
    with gdal_session():
        try:
            found = warp_points(source, target, x, y)
        except (RasterioError, CPLE_BaseError):
            if len(x) == 1:
                return np.array([np.nan]), np.array([np.nan])
            # one bad point fails them all: halve until it is alone
            half = len(x) // 2
            left = _reprojected(source, target, x[:half], y[:half])
            right = _reprojected(source, target, x[half:], y[half:])
            return np.concatenate([left[0], right[0]]), np.concatenate([left[1], right[1]])
    lon, lat = np.asarray(found[0], np.float64), np.asarray(found[1], np.float64)
    inside = np.isfinite(lon) & np.isfinite(lat)
    return np.where(inside, lon, np.nan), np.where(inside, lat, np.nan)


def _geographic_base(crs: CRS) -> CRS | None:
    """The geographic CRS that a projected one is built on."""
    wkt = str(crs.to_wkt())
    start = min((i for i in (wkt.find("GEOGCS["), wkt.find("BASEGEOGCRS[")) if i >= 0), default=-1)
    if start < 0:
        return None
    depth, quoted = 0, False
    for end in range(start, len(wkt)):
        if wkt[end] == '"':
            quoted = not quoted
        elif not quoted and wkt[end] in "[]":
            depth += 1 if wkt[end] == "[" else -1
            if depth == 0:
                text = wkt[start : end + 1].replace("BASEGEOGCRS[", "GEOGCRS[", 1)
                return CRS.from_wkt(text)
    return None
