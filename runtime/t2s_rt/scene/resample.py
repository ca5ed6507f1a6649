"""Resampling of a window to a grid: area average when shrinking, linear when growing.

Written out because ``cv2.resize`` only takes whole-pixel windows: a tile of the working grid
begins and ends inside scene pixels, and rounding it would shift neighbouring tiles against each
other. Both axes are separable and use exact fractional edges.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["MARGIN", "resample", "resample_masked"]

FloatArray = npt.NDArray[np.float32]

MARGIN = 2
"""Pixels beyond the window that interpolation looks at."""

_SHRINKS = 1 - 1e-9
_CHUNK_ROWS = 64


def resample(
    image: npt.NDArray[np.generic],
    row: float,
    col: float,
    height: float,
    width: float,
    out_height: int,
    out_width: int,
) -> FloatArray:
    """Resample a window of an image.

    Args:
        image: [h, w] or [h, w, c], any real dtype; beyond its edges the edge pixel repeats.
        row: upper edge of the window in continuous pixels of ``image``; may be fractional.
        col: left edge.
        height: extent along rows, above 0.
        width: extent along columns, above 0.
        out_height: rows wanted.
        out_width: columns wanted.

    Returns:
        float32 [out_height, out_width] or [out_height, out_width, c]. Each axis is area-averaged
        where it shrinks (or keeps its scale) and linearly interpolated between pixel centres
        where it grows.
    """
    steps = height / out_height, width / out_width
    if image.dtype == np.uint8 and min(steps) >= _SHRINKS:
        return _area_of_bytes(np.asarray(image, np.uint8), (row, col), steps, out_height, out_width)
    flat = image.reshape(image.shape[0], -1)
    rows = _axis(flat, row, steps[0], out_height)
    cube = rows.reshape(out_height, image.shape[1], -1)
    turned = np.ascontiguousarray(cube.transpose(1, 0, 2)).reshape(image.shape[1], -1)
    columns = _axis(turned, col, steps[1], out_width)
    cube = columns.reshape(out_width, out_height, -1).transpose(1, 0, 2)
    return np.ascontiguousarray(cube.reshape((out_height, out_width, *image.shape[2:])))


def resample_masked(
    image: npt.NDArray[np.uint8],
    valid: npt.NDArray[np.bool_],
    window: tuple[float, float, float, float],
    out_height: int,
    out_width: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Resample an image without letting its invalid pixels bleed into valid ones.

    Args:
        image: uint8 [h, w, 3].
        valid: bool [h, w].
        window: row, col, height, width in pixels of ``image``.
        out_height: rows wanted.
        out_width: columns wanted.

    Returns:
        uint8 [out_height, out_width, 3], zero where invalid, and bool [out_height, out_width]:
        valid where at least half of the output pixel is.
    """
    whole = bool(valid.all())
    if whole and _divides(window, image.shape, out_height, out_width):
        row, col, height, width = (int(round(v)) for v in window)
        part = image[row : row + height, col : col + width]
        small = part
        if (height, width) != (out_height, out_width):
            small = cv2.resize(part, (out_width, out_height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        return np.ascontiguousarray(small), np.ones((out_height, out_width), bool)
    if whole:
        values = resample(image, *window, out_height, out_width)
        return _to_byte(values), np.ones((out_height, out_width), bool)
    values = resample(image * valid[..., None], *window, out_height, out_width)
    share = resample(valid.astype(np.uint8), *window, out_height, out_width)
    keep = share >= 0.5 - 1e-6
    values /= np.maximum(share, 1e-6)[..., None]
    values[~keep] = 0
    return _to_byte(values), keep


def _axis(image: npt.NDArray[np.generic], start: float, step: float, count: int) -> FloatArray:
    """Resample axis 0 of a 2-D array: output i covers [start + i*step, start + (i+1)*step)."""
    if step >= _SHRINKS:
        return _area(image, start, step, count)
    centres = start + (np.arange(count) + 0.5) * step - 0.5
    lower = np.floor(centres)
    weight = (centres - lower).astype(np.float32)[:, None]
    last = image.shape[0] - 1
    first = np.clip(lower, 0, last).astype(np.intp)
    second = np.clip(lower + 1, 0, last).astype(np.intp)
    low, high = image[first].astype(np.float32), image[second].astype(np.float32)
    return np.asarray(low + (high - low) * weight, np.float32)


def _area_of_bytes(
    image: npt.NDArray[np.uint8],
    start: tuple[float, float],
    steps: tuple[float, float],
    out_height: int,
    out_width: int,
) -> FloatArray:
    """The same as `_area` along both axes, through summed-area tables.

    The integral of an image of square pixels is bilinear within each pixel, so interpolating the
    table between its corners gives the exact sum over any fractional rectangle.
    """
    image, rows, cols = _inside(image, start, steps, out_height, out_width)
    whole = np.minimum(np.floor(cols).astype(np.intp), image.shape[1] - 1)
    part = (cols - whole).reshape(-1, *[1] * (image.ndim - 2))
    out = np.empty((out_height, out_width, *image.shape[2:]), np.float32)
    # sums must fit 31 bits
    most = max(1, int(2**31 / 256 / image.shape[1] / max(1.0, steps[0])) - 1)
    chunk = min(_CHUNK_ROWS, most)
    for first in range(0, out_height, chunk):
        edges = rows[first : first + chunk + 1]
        top = int(np.floor(edges[0]))
        below = min(image.shape[0], int(np.floor(edges[-1])) + 1)
        table = cv2.integral(np.ascontiguousarray(image[top:below]), sdepth=cv2.CV_32S)
        table = table.reshape(*table.shape[:2], *image.shape[2:])  # OpenCV drops a single channel
        line = np.minimum(np.floor(edges - top).astype(np.intp), below - top - 1)
        share = (edges - top - line).reshape(-1, *[1] * (image.ndim - 1))
        sums = table[line] * (1 - share) + table[line + 1] * share
        sums = sums[:, whole] * (1 - part) + sums[:, whole + 1] * part
        bands = np.diff(np.diff(sums, axis=0), axis=1)
        out[first : first + chunk] = bands / (steps[0] * steps[1])
    return out


def _inside(
    image: npt.NDArray[np.uint8],
    start: tuple[float, float],
    steps: tuple[float, float],
    out_height: int,
    out_width: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Edges of the output pixels along both axes, and the image padded to hold them all."""
    pads, edges = [], []
    for axis, count in enumerate((out_height, out_width)):
        at = _snapped(start[axis] + np.arange(count + 1) * steps[axis])
        before = int(max(0, np.ceil(-at[0])))
        after = int(max(0, np.ceil(at[-1]) - image.shape[axis]))
        pads.append((before, after))
        edges.append(at + before)
    if any(pad != (0, 0) for pad in pads):
        image = np.pad(image, (*pads, *[(0, 0)] * (image.ndim - 2)), mode="edge")
    return image, edges[0], edges[1]


def _snapped(edges: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Edges without rounding noise: one on a pixel border must not pick up the pixel beyond it."""
    nearest = np.rint(edges)
    return np.asarray(np.where(np.abs(edges - nearest) < 1e-6, nearest, edges), np.float64)


def _area(image: npt.NDArray[np.generic], start: float, step: float, count: int) -> FloatArray:
    edges = _snapped(start + np.arange(count + 1) * step)
    if edges[0] < 0 or edges[-1] >= image.shape[0]:
        before = int(max(0, np.ceil(-edges[0])))
        after = int(max(0, np.floor(edges[-1]) + 1 - image.shape[0]))
        image = np.pad(image, ((before, after), (0, 0)), mode="edge")
        edges = edges + before
    whole = np.floor(edges).astype(np.intp)
    part = (edges - whole).astype(np.float32)[:, None]
    out = np.add.reduceat(image, whole, axis=0, dtype=np.float32)[:-1]
    borders = image[whole].astype(np.float32) * part
    out += borders[1:]
    out -= borders[:-1]
    out /= np.float32(step)
    return np.asarray(out, np.float32)


def _divides(
    window: tuple[float, float, float, float],
    shape: tuple[int, ...],
    out_height: int,
    out_width: int,
) -> bool:
    """Whether OpenCV's area average does the same: whole pixels, whole factors, inside."""
    row, col, height, width = window
    if any(abs(v - round(v)) > 1e-6 for v in window):
        return False
    if row < 0 or col < 0 or round(row + height) > shape[0] or round(col + width) > shape[1]:
        return False
    return round(height) % out_height == 0 and round(width) % out_width == 0


def _to_byte(values: FloatArray) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
