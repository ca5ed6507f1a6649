from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.features import shapes

import t2s_rt.scene.vectors as vectors
from t2s_rt.errors import OutputError
from t2s_rt.scene import MapClass, MapWriter, Window, write_vectors
from t2s_rt.scene.polygons import map_objects

from .test_writer import Frame

CLASSES = [MapClass("building", (200, 0, 0)), MapClass("tree", (0, 200, 0))]
UTM = Affine(0.5, 0, 5e5, 0, -0.5, 5.4e6)
Plane = npt.NDArray[np.uint8]


def write_map(folder: Path, labels: Plane, confidence: Plane, frame: Frame) -> tuple[Path, Path]:
    with MapWriter(frame, folder, "a", CLASSES, overwrite=True) as writer:
        writer.write(Window(0, 0, *labels.shape), labels, confidence)
        return writer.finish()


def read(path: Path) -> tuple[dict[str, Any], list[Any], dict[str, npt.NDArray[Any]]]:
    meta, _, geometry, columns = pyogrio.raw.read(path)
    return meta, list(shapely.from_wkb(geometry)), dict(zip(meta["fields"], columns, strict=True))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 40), st.data())
def test_strips_give_what_the_whole_map_gives(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    rows: int,
    data: st.DataObject,
) -> None:
    """Oracle: GDAL's polygons of the map in one piece."""
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    labels = rng.choice(np.array([0, 1, 1, 1, 2, 255], np.uint8), (height, width))
    confidence = rng.integers(0, 255, (height, width), dtype=np.uint8)
    folder = tmp_path_factory.mktemp("map")
    paths = write_map(folder, labels, confidence, Frame(width, height))
    found = list(
        map_objects(
            *paths, classes=2, confidence_scale=254, min_pixels=1, strip_pixels=rows * width
        )
    )
    truth = {
        (shapely.normalize(shapely.Polygon(g["coordinates"][0], g["coordinates"][1:])).wkt, value)
        for g, value in shapes(labels, mask=(labels == 1) | (labels == 2), connectivity=4)
    }
    assert {(shapely.normalize(item.outline).wkt, item.label) for item in found} == truth
    for item in found:
        assert item.outline.is_valid and item.outline.area == item.pixels
    for label in (1, 2):
        weighted = sum(item.score * item.pixels for item in found if item.label == label)
        assert weighted == pytest.approx(confidence[labels == label].sum() / 254)


def boxes() -> tuple[Plane, Plane]:
    """Two buildings, a tree, a speck and a ring, 40 x 60."""
    labels = np.zeros((40, 60), np.uint8)
    labels[2:8, 3:13] = 1
    labels[10:30, 20:50] = 1
    labels[14:24, 26:40] = 0
    labels[16:20, 30:34] = 2
    labels[35, 5:8] = 2
    confidence = np.where(labels == 1, 127, 254).astype(np.uint8)
    return labels, confidence


def test_geopackage_in_the_crs_of_the_scene(tmp_path: Path) -> None:
    frame = Frame(60, 40, CRS.from_epsg(32633), UTM)
    paths = write_map(tmp_path, *boxes(), frame)
    report = write_vectors(
        *paths, tmp_path, "a", CLASSES, route="fused", prompts={"tree": "tree: forest"}
    )
    meta, outlines, columns = read(report.path)
    assert report.path == tmp_path / "a.gpkg" and meta["crs"] == "EPSG:32633"
    assert list(columns) == ["class", "score", "area_m2", "route", "prompt"]
    assert report.counts == {"building": 2, "tree": 1}
    by_area = {round(outline.area / 0.25): k for k, outline in enumerate(outlines)}
    assert sorted(by_area) == [16, 60, 460]
    first = by_area[60]
    assert outlines[first].bounds == (5e5 + 1.5, 5.4e6 - 4, 5e5 + 6.5, 5.4e6 - 1)
    assert columns["class"][first] == "building" and columns["prompt"][first] == "building"
    assert columns["prompt"][by_area[16]] == "tree: forest"
    assert set(columns["route"]) == {"fused"}
    assert columns["score"][first] == pytest.approx(0.5)
    # on the central meridian UTM is 0.9996 of the ground
    np.testing.assert_allclose(
        columns["area_m2"], [o.area / 0.9996**2 for o in outlines], rtol=1e-5
    )
    assert report.areas_m2["building"] == pytest.approx(520 * 0.25 / 0.9996**2, rel=1e-5)


def test_areas_in_degrees_are_square_metres(tmp_path: Path) -> None:
    step = 1e-5
    frame = Frame(60, 40, CRS.from_epsg(4326), Affine(step, 0, 10, 0, -step, 45))
    paths = write_map(tmp_path, *boxes(), frame)
    _, _, columns = read(write_vectors(*paths, tmp_path, "a", CLASSES, route="dense").path)
    # a degree at 45 degrees: 78,846.8 m by 111,131.8 m
    pixel = 0.788468 * 1.111318
    np.testing.assert_allclose(sorted(columns["area_m2"] / pixel), [16, 60, 460], rtol=1e-4)


def test_geojson_in_pixels_without_crs(tmp_path: Path) -> None:
    paths = write_map(tmp_path, *boxes(), Frame(60, 40))
    report = write_vectors(*paths, tmp_path, "a", CLASSES, route="boxes", gsd=(0.5, 0.4))
    assert report.path == tmp_path / "a.geojson"
    found = json.loads(report.path.read_text(encoding="utf-8"))
    assert "crs" not in found and len(found["features"]) == 3
    building = next(f for f in found["features"] if f["properties"]["area_m2"] == 12.0)
    assert shapely.from_geojson(json.dumps(building["geometry"])).bounds == (3, 2, 13, 8)
    assert building["properties"]["class"] == "building"
    _, outlines, _ = read(report.path)
    assert sorted(outline.area for outline in outlines) == [16, 60, 460]


def test_unknown_resolution_has_no_area(tmp_path: Path) -> None:
    paths = write_map(tmp_path, *boxes(), Frame(60, 40))
    report = write_vectors(*paths, tmp_path, "a", CLASSES, route="boxes")
    found = json.loads(report.path.read_text(encoding="utf-8"))
    assert all(f["properties"]["area_m2"] is None for f in found["features"])
    assert report.areas_m2 == {"building": None, "tree": None}


@pytest.mark.parametrize("crs", [None, CRS.from_epsg(32633)])
def test_an_empty_map_still_has_a_file_with_its_schema(tmp_path: Path, crs: CRS | None) -> None:
    frame = Frame(60, 40, crs, UTM)
    paths = write_map(tmp_path, np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8), frame)
    report = write_vectors(*paths, tmp_path, "a", CLASSES, route="fused")
    assert report.counts == {"building": 0, "tree": 0}
    if crs is None:
        assert json.loads(report.path.read_text())["features"] == []
    else:
        info = pyogrio.read_info(report.path)
        assert info["features"] == 0 and info["geometry_type"] == "MultiPolygon"
        assert list(info["fields"]) == list(vectors.FIELDS)


@pytest.mark.parametrize(("least", "count"), [(1, 4), (4, 3), (17, 2), (1000, 0)])
def test_specks_are_left_out(tmp_path: Path, least: int, count: int) -> None:
    paths = write_map(tmp_path, *boxes(), Frame(60, 40))
    report = write_vectors(*paths, tmp_path, "a", CLASSES, route="fused", min_pixels=least)
    assert sum(report.counts.values()) == count


def test_batches_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_BATCH", 7)
    labels = np.zeros((40, 60), np.uint8)
    labels[::4, ::4] = 1
    frame = Frame(60, 40, CRS.from_epsg(32633), UTM)
    paths = write_map(tmp_path, labels, labels, frame)
    for _ in range(2):  # an earlier file is replaced, not appended to
        report = write_vectors(*paths, tmp_path, "a", CLASSES, route="fused", min_pixels=1)
    _, outlines, _ = read(report.path)
    assert len(outlines) == report.counts["building"] == 150


def test_nothing_is_left_behind_where_it_fails(tmp_path: Path) -> None:
    frame = Frame(60, 40, CRS.from_epsg(32633), UTM)
    paths = write_map(tmp_path, *boxes(), frame)
    with pytest.raises(OutputError, match="polygons into"):
        write_vectors(*paths, tmp_path / "missing", "a", CLASSES, route="fused")
