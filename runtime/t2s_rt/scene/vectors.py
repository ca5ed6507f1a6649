"""Polygons of a finished map as GeoPackage, or as GeoJSON in pixels where there is no CRS."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from rasterio.errors import RasterioError

from t2s_rt.errors import OutputError
from t2s_rt.scene._gdal import gdal_session, reason
from t2s_rt.scene.ground import GroundFrame, ground_frame
from t2s_rt.scene.polygons import MapObject, map_objects
from t2s_rt.scene.writer import CONFIDENCE_SCALE, NamedClass

__all__ = ["FIELDS", "MIN_PIXELS", "VectorReport", "write_vectors"]

MIN_PIXELS = 4
"""Objects of fewer pixels are specks and left out of the polygons (not of the class map)."""

FIELDS = ("class", "score", "area_m2", "route", "prompt")
"""Attributes of every polygon: class name; mean confidence 0..1; ground area in square metres on
the ellipsoid of the CRS (null where the ground resolution is unknown); the route that found it;
the words that asked for it."""

LAYER = "objects"
"""Layer of the GeoPackage."""

_BATCH = 5000


@dataclass
class VectorReport:
    """What was written.

    Attributes:
        path: the file.
        counts: polygons by class name, every class included.
        areas_m2: ground area by class name; None where the ground resolution is unknown.
    """

    path: Path
    counts: dict[str, int] = field(default_factory=dict)
    areas_m2: dict[str, float | None] = field(default_factory=dict)


def write_vectors(
    labels_path: Path,
    confidence_path: Path,
    directory: str | os.PathLike[str],
    stem: str,
    classes: Sequence[NamedClass],
    *,
    route: str,
    prompts: Mapping[str, str] | None = None,
    gsd: tuple[float, float] | None = None,
    min_pixels: int = MIN_PIXELS,
) -> VectorReport:
    """Write the polygons of a finished map.

    Args:
        labels_path: class map of `MapWriter`.
        confidence_path: its confidence.
        directory: existing folder of the outputs.
        stem: what the file is named after.
        classes: in the map's order.
        route: that made the map.
        prompts: the words that asked for each class, by its name; default the name.
        gsd: metres per pixel along columns and rows, for maps without a CRS.
        min_pixels: smaller objects are left out.

    Returns:
        The report; its path is ``STEM.gpkg`` in the map's CRS, or ``STEM.geojson`` with x right
        and y down in scene pixels where the map has none. Written also without any object, and
        replacing an earlier file of that name.

    Raises:
        OutputError: the file cannot be written.
    """
    folder = Path(directory)
    names = [item.name for item in classes]
    words = {name: (prompts or {}).get(name, name) for name in names}
    try:
        with gdal_session(), rasterio.open(labels_path) as source:
            crs, transform = source.crs, source.transform
        ground = ground_frame(crs, transform)
        objects = map_objects(
            labels_path,
            confidence_path,
            classes=len(names),
            confidence_scale=CONFIDENCE_SCALE,
            min_pixels=min_pixels,
        )
        extension = ".geojson" if crs is None else ".gpkg"
        final, unfinished = folder / (stem + extension), folder / f".{stem}.part{extension}"
        known = ground is not None or gsd is not None
        report = VectorReport(
            final, dict.fromkeys(names, 0), dict.fromkeys(names, 0.0 if known else None)
        )
        tables = _tables(objects, names, words, route, ground, gsd, report)
        unfinished.unlink(missing_ok=True)
        if crs is None:
            _write_geojson(unfinished, stem, tables)
        else:
            _write_gpkg(unfinished, crs.to_wkt(), transform, tables)
        os.replace(unfinished, final)
    except (OSError, RasterioError) as error:
        raise OutputError(
            f"expected to write {stem}'s polygons into {folder}, found: {reason(error)}; "
            "free some space or choose another folder with -o"
        ) from error
    return report


@dataclass(frozen=True)
class _Table:
    """Some polygons, columns of `FIELDS` beside outlines in scene pixels."""

    outlines: npt.NDArray[np.object_]
    columns: tuple[npt.NDArray[Any], ...]


def _tables(
    objects: Iterable[MapObject],
    names: Sequence[str],
    words: Mapping[str, str],
    route: str,
    ground: GroundFrame | None,
    gsd: tuple[float, float] | None,
    report: VectorReport,
) -> Iterator[_Table]:
    source = iter(objects)
    while batch := list(islice(source, _BATCH)):
        outlines = np.array([item.outline for item in batch], dtype=object)
        pixels = np.array([item.pixels for item in batch], np.float64)
        middles = shapely.get_coordinates(shapely.centroid(outlines))
        if ground is not None:
            areas = pixels * ground.pixel_areas(middles[:, 0], middles[:, 1])
        elif gsd is not None:
            areas = pixels * gsd[0] * gsd[1]
        else:
            areas = np.full(len(batch), np.nan)
        found = [names[item.label - 1] for item in batch]
        for name, area in zip(found, areas.tolist(), strict=True):
            report.counts[name] += 1
            total = report.areas_m2[name]
            if total is not None and math.isfinite(area):
                report.areas_m2[name] = total + area
        yield _Table(
            outlines,
            (
                np.array(found, dtype=object),
                np.array([item.score for item in batch], np.float64),
                areas,
                np.array([route] * len(batch), dtype=object),
                np.array([words[name] for name in found], dtype=object),
            ),
        )


def _empty() -> _Table:
    text, number = np.empty(0, object), np.empty(0, np.float64)
    return _Table(np.empty(0, object), (text, number, number, text, text))


def _write_gpkg(path: Path, crs: str, transform: Any, tables: Iterator[_Table]) -> None:
    from pyogrio.errors import DataLayerError, DataSourceError
    from pyogrio.raw import write

    a, b, c, d, e, f = tuple(transform)[:6]

    def to_crs(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x, y = points[:, 0], points[:, 1]
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    append = False
    try:
        # the first call makes layer and schema, with or without polygons
        for table in _after(_empty(), tables):
            placed = shapely.transform(table.outlines, to_crs)
            write(
                str(path),
                geometry=shapely.to_wkb(placed),
                field_data=list(table.columns),
                fields=list(FIELDS),
                layer=LAYER,
                driver="GPKG",
                geometry_type="MultiPolygon",
                promote_to_multi=True,
                crs=crs,
                append=append,
            )
            append = True
    except (DataSourceError, DataLayerError) as error:
        raise OSError(reason(error)) from error


def _after(first: _Table, rest: Iterator[_Table]) -> Iterator[_Table]:
    yield first
    yield from rest


def _write_geojson(path: Path, name: str, tables: Iterator[_Table]) -> None:
    head = {
        "type": "FeatureCollection",
        "name": name,
        "frame": "scene pixels: x right, y down, (0, 0) the outer corner of the first pixel",
    }
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "features": [')
        separator = "\n"
        for table in tables:
            shapes = shapely.to_geojson(table.outlines)
            for k, shape in enumerate(shapes):
                values = [column[k] for column in table.columns]
                properties = {key: _plain(value) for key, value in zip(FIELDS, values, strict=True)}
                text = json.dumps(properties, ensure_ascii=False)
                file.write(f'{separator}{{"type": "Feature", "properties": {text}, ')
                file.write(f'"geometry": {shape}}}')
                separator = ",\n"
        file.write("\n]}\n")


def _plain(value: Any) -> str | float | None:
    if isinstance(value, str):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
