from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from t2s_rt.errors import OutputError
from t2s_rt.scene import MapClass, MapWriter, Window, open_scene, write_preview

from .conftest import Raster

Image = npt.NDArray[np.uint8]

CLASSES = [MapClass("building", (219, 68, 55)), MapClass("water", (40, 110, 200))]


def preview(scene_path: Path, folder: Path, classes: list[MapClass] = CLASSES) -> Image:
    with open_scene(scene_path) as scene:
        labels = np.zeros((scene.height, scene.width), np.uint8)
        labels[: scene.height // 2, scene.width // 2 :] = 1
        labels[-2:] = 255
        with MapWriter(scene, folder, "a", classes, overwrite=True) as writer:
            writer.write(Window(0, 0, *labels.shape), labels, labels)
            labels_path, _ = writer.finish()
        path = write_preview(scene, labels_path, folder / "a.preview.png", classes)
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(image[..., ::-1], np.uint8)


def nearly(image: Image, colour: tuple[int, ...]) -> int:
    return int((np.abs(image.astype(int) - colour).max(-1) <= 2).sum())


def test_scene_classes_and_legend_are_shown(raster: Raster, tmp_path: Path) -> None:
    grey = np.full((3, 300, 400), 128, np.uint8)
    image = preview(raster(grey), tmp_path)
    height, width = image.shape[:2]
    assert max(height, width) <= 1600
    assert nearly(image[:, : width // 2], (128, 128, 128)) > 100_000
    tinted = tuple(round(128 * 0.45 + c * 0.55) for c in CLASSES[0].colour)
    shown = nearly(image[:, width // 2 :], tinted)
    assert 0.9 < shown / (150 * 200) < 1.1
    assert nearly(image[:, : width // 2 - 200], tinted) == 0
    for item in CLASSES:  # swatches, also of an absent class
        assert nearly(image[300:], item.colour) > 200


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2500, 30), (2, 3)])
def test_any_shape_fits(raster: Raster, tmp_path: Path, shape: tuple[int, int]) -> None:
    image = preview(raster(np.full((1, *shape), 90, np.uint8)), tmp_path)
    assert max(image.shape) <= 1600 and min(image.shape[:2]) >= 60


def test_many_long_and_foreign_names_fit(raster: Raster, tmp_path: Path) -> None:
    classes = [MapClass("very " * 40 + "long", (1, 2, 3)), MapClass("Häuser 建物\n", (4, 5, 6))]
    classes += [MapClass(f"class {k}", (k, 255 - k, 90)) for k in range(200)]
    image = preview(raster(np.full((1, 80, 80), 90, np.uint8)), tmp_path, classes)
    assert max(image.shape) <= 1600


def test_pixels_without_data_are_pale(raster: Raster, tmp_path: Path) -> None:
    pixels = np.full((3, 100, 100), 20, np.uint8)
    pixels[:, :, :50] = 0
    image = preview(raster(pixels, nodata=0), tmp_path)
    assert nearly(image, (228, 228, 224)) > 10_000


def test_unreadable_rows_do_not_stop_the_picture(raster: Raster, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(100, 200, (3, 200, 200), dtype=np.uint8)
    path = raster(pixels, driver="PNG", name="cut.png")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    image = preview(path, tmp_path)
    assert nearly(image, (228, 228, 224)) > 1000


def test_a_picture_that_cannot_be_written(raster: Raster, tmp_path: Path) -> None:
    path = raster(np.ones((3, 20, 20), np.uint8))
    with open_scene(path) as scene, MapWriter(scene, tmp_path, "a", CLASSES) as writer:
        labels_path, _ = writer.finish()
        with pytest.raises(OutputError, match="expected to write"):
            write_preview(scene, labels_path, tmp_path / "missing" / "a.png", CLASSES)
