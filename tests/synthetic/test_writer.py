"""Scenes on disk: GeoTIFFs that rasterio opens, written in flat memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from t2s_rt.errors import UsageError
from t2s_rt.synthetic import CLASSES, render, scene_spec, write_scene
from t2s_rt.synthetic.__main__ import contact_sheet, main


def test_geotiff_holds_the_scene(tmp_path: Path) -> None:
    """Pixels, CRS, transform and colour table come back as rendered."""
    spec = scene_spec(900_031, (150, 210), 0.5)
    image, classes = tmp_path / "scene.tif", tmp_path / "classes.tif"
    write_scene(spec, image, classes, window=100)
    scene = render(spec)
    with rasterio.open(image) as src:
        assert np.array_equal(src.read(), scene.image.transpose(2, 0, 1))
        assert src.crs.is_projected
        assert src.crs.to_string() == scene.crs
        assert tuple(src.transform)[:6] == pytest.approx(scene.transform)
        assert src.res == pytest.approx((0.5, 0.5))
    with rasterio.open(classes) as src:
        assert np.array_equal(src.read(1), scene.classes)
        assert src.colormap(1)[4] == (*CLASSES[4].colour, 255)


def test_flat_memory(tmp_path: Path) -> None:
    """A 6000 x 400 scene is written with the memory of a window, not of the scene.

    Rendered at once it takes 61 MB.
    """
    spec = scene_spec(900_040, (400, 6000), 0.6)
    render(spec, (0, 0, 8, 8))  # the noise tiles that a process makes once
    tracemalloc.start()
    try:
        write_scene(spec, tmp_path / "long.tif", tmp_path / "long_classes.tif", window=512)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40e6
    with rasterio.open(tmp_path / "long.tif") as src:
        assert src.shape == (400, 6000)


def test_window_must_be_positive(tmp_path: Path) -> None:
    """A window of no pixels is refused."""
    with pytest.raises(UsageError, match="at least 1 pixel"):
        write_scene(scene_spec(1, 16, 0.3), tmp_path / "x.tif", window=0)


def test_contact_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command writes a picture of the right size; truth lies beside the image."""
    sheet = contact_sheet([900_000, 900_001], [0.3], 64, 2)
    assert sheet.shape == (68, 2 * (2 * 64 + 4), 3)
    path = tmp_path / "sheet.png"
    args = ["x", "--contact-sheet", str(path), "--count", "2", "--size", "64", "--columns", "1"]
    monkeypatch.setattr("sys.argv", args)
    main()
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape[0] == 2 * 68
