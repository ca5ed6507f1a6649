"""Polygons from a class map, strip by strip: exact outlines in memory that the objects bound.

The map is read in strips of rows. Connected pixels of one class (sharing an edge) are one
object; an object that reaches the lower edge of its strip waits for the next one, and its parts
are joined when it ends. So memory holds one strip and the objects that cross its edge, never all
objects, and the polygons are those that the whole map would give in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from rasterio.features import shapes
from rasterio.windows import Window as RasterWindow

from t2s_rt.scene._gdal import gdal_session

__all__ = ["STRIP_PIXELS", "MapObject", "map_objects"]

STRIP_PIXELS = 4_000_000
"""Pixels of one strip."""

Plane = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class MapObject:
    """Connected pixels of one class.

    Attributes:
        label: class, 1..N.
        outline: shapely geometry in continuous scene pixels, x right and y down, along pixel
            edges; valid.
        pixels: their number.
        score: mean confidence, 0..1.
    """

    label: int
    outline: Any
    pixels: int
    score: float


@dataclass
class _Open:
    """An object that may go on in the next strip."""

    label: int
    pixels: int = 0
    confidence: int = 0
    parts: list[Any] = field(default_factory=list)

    def join(self, other: _Open) -> None:
        self.pixels += other.pixels
        self.confidence += other.confidence
        self.parts += other.parts


def map_objects(
    labels_path: Path,
    confidence_path: Path,
    *,
    classes: int,
    confidence_scale: int,
    min_pixels: int,
    strip_pixels: int = STRIP_PIXELS,
) -> Iterator[MapObject]:
    """Objects of a finished map.

    Args:
        labels_path: uint8 class map; labels above ``classes`` are no objects.
        confidence_path: uint8 map of the same size.
        classes: N.
        confidence_scale: stored confidence that means 1.0.
        min_pixels: smaller objects are left out.
        strip_pixels: pixels read at a time.
    """
    with gdal_session(), rasterio.open(labels_path) as labels_file:
        width, height = labels_file.width, labels_file.height
    step = max(1, min(height, strip_pixels // width))
    waiting: dict[int, _Open] = {}
    edge: Ids | None = None
    edge_labels: Plane | None = None
    for top in range(0, height, step):
        rows = min(step, height - top)
        labels, confidence = _strip((labels_path, confidence_path), top, rows, width)
        ids, owners = _components(labels, classes)
        _drop_specks(ids, len(owners), min_pixels)
        found = _describe(ids, owners, confidence, top)
        merged: dict[int, int] = {}
        if edge is not None and edge_labels is not None:
            _connect(waiting, found, merged, (edge, edge_labels), (ids[0], labels[0]))
        last = top + rows >= height
        goes_on = set() if last else {_root(merged, int(i)) for i in np.unique(ids[-1]) if i > 0}
        for key in [k for k in found if k not in merged and k not in goes_on]:
            item = found.pop(key)
            if item.pixels >= min_pixels:
                yield _finished(item, confidence_scale)
        waiting = {key: found[key] for key in goes_on}
        edge = np.asarray([_root(merged, int(i)) if i else 0 for i in ids[-1]], np.int32)
        edge_labels = labels[-1]


def _strip(paths: tuple[Path, Path], top: int, rows: int, width: int) -> list[Plane]:
    planes = []
    window = RasterWindow(0, top, width, rows)
    with gdal_session():
        for path in paths:
            with rasterio.open(path) as source:
                planes.append(source.read(1, window=window))
    return planes


def _components(labels: Plane, classes: int) -> tuple[Ids, list[int]]:
    """Ids 1.. of connected pixels of one label, and the label of each id (index 0 unused)."""
    ids = np.zeros(labels.shape, np.int32)
    owners = [0]
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=classes + 1)[: classes + 1])
    for label in present[present > 0]:
        count, parts = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=4)
        inside = parts > 0
        ids[inside] = parts[inside] + (len(owners) - 1)
        owners += [int(label)] * (count - 1)
    return ids, owners


def _drop_specks(ids: Ids, count: int, min_pixels: int) -> None:
    """Clear objects that are too small and end inside the strip, before outlines are drawn."""
    small = np.bincount(ids.ravel(), minlength=count) < min_pixels
    small[ids[0]] = small[ids[-1]] = False
    if small.any():
        ids[small[ids]] = 0


def _describe(ids: Ids, owners: list[int], confidence: Plane, top: int) -> dict[int, _Open]:
    flat = ids.ravel()
    pixels = np.bincount(flat, minlength=len(owners))
    sums = np.bincount(flat, weights=confidence.ravel(), minlength=len(owners))
    found = {
        key: _Open(owners[key], int(pixels[key]), int(sums[key]))
        for key in range(1, len(owners))
        if pixels[key]
    }
    down = rasterio.Affine.translation(0, top)
    with gdal_session():
        for geometry, key in shapes(ids, mask=ids > 0, connectivity=4, transform=down):
            found[int(key)].parts.append(shapely.Polygon(*_rings(geometry["coordinates"])))
    return found


def _rings(coordinates: list[Any]) -> tuple[Any, list[Any]]:
    return coordinates[0], coordinates[1:]


def _connect(
    waiting: dict[int, _Open],
    found: dict[int, _Open],
    merged: dict[int, int],
    above: tuple[Ids, Plane],
    below: tuple[Ids, Plane],
) -> None:
    """Join objects across the edge of two strips: those above into those below.

    Ids above are the keys of ``waiting``; ids below the keys of ``found``. ``merged`` maps an id
    below that was absorbed to the one that absorbed it. What does not go on stays in ``found``
    under a key of its own, so that it is finished with this strip.
    """
    same = (above[1] == below[1]) & (above[0] > 0) & (below[0] > 0)
    pairs = np.unique(np.stack([above[0][same], below[0][same]], axis=1), axis=0)
    taken: dict[int, int] = {}
    for upper, lower in pairs.tolist():
        target = _root(merged, lower)
        if upper not in taken:
            taken[upper] = target
            found[target].join(waiting[upper])
            continue
        other = _root(merged, taken[upper])
        if other != target:
            found[other].join(found[target])
            merged[target] = other
    for key, item in waiting.items():
        if key not in taken:
            found[-key] = item
    for key in merged:
        del found[key]


def _root(merged: dict[int, int], key: int) -> int:
    while key in merged:
        key = merged[key]
    return key


def _finished(item: _Open, confidence_scale: int) -> MapObject:
    outline = item.parts[0]
    if len(item.parts) > 1:
        # the seam of two strips leaves points on straight edges; simplify(0) takes them out
        outline = shapely.simplify(shapely.union_all(item.parts), 0)
    if not outline.is_valid:
        outline = shapely.make_valid(outline)
    return MapObject(
        item.label, outline, item.pixels, item.confidence / (item.pixels * confidence_scale)
    )
