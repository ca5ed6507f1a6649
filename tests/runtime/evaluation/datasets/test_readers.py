"""Data sets are found in their folders, and every trap of their labels is stepped over."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from t2s_rt.errors import SceneError
from t2s_rt.evaluation.datasets import (
    DATASETS,
    IGNORED,
    dataset_spec,
    decode_labels,
    find_items,
    item_gsd,
    item_size,
    item_windows,
    read_item,
)
from t2s_rt.scene import Window
from t2s_rt.scene._gdal import gdal_session

_GREY = np.full((2, 3, 3), 90, np.uint8)
_ALL = Window(0, 0, 2, 3)


def _image(path: Path, pixels: np.ndarray = _GREY) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    assert cv2.imwrite(str(path), pixels)


def _palette_png(path: Path, indices: np.ndarray, colours: list[tuple[int, int, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = indices.shape
    with gdal_session(), rasterio.open(path, "w", driver="PNG", height=height, width=width, count=1,
                       dtype="uint8") as out:  # fmt: skip
        out.write_colormap(1, {k: (*c, 255) for k, c in enumerate(colours)})
        out.write(indices.astype(np.uint8), 1)


@pytest.fixture(scope="module")
def layouts() -> Path:
    root = os.environ.get("T2S_TEST_DATA")
    if not root:
        pytest.skip("T2S_TEST_DATA is unset: it names the folder of test data")
    return Path(root) / "layouts_synthetic"


def _truth(name: str, item_label: np.ndarray, tmp_path: Path, ending: str = "png") -> np.ndarray:
    _image(tmp_path / "images" / "a.png", np.zeros((*item_label.shape[:2], 3), np.uint8))
    _image(tmp_path / "labels" / f"a.{ending}", item_label.astype(np.uint8))
    spec = dataset_spec(name)
    (item,), _ = find_items(spec, tmp_path)
    height, width = item_size(item)
    return read_item(spec, item, Window(0, 0, height, width))[1]


@pytest.mark.parametrize("split", ["train", "val"])
def test_loveda_is_found_in_town_and_country_and_zero_is_no_data(layouts: Path, split: str) -> None:
    spec = dataset_spec("loveda")
    items, alone = find_items(spec, layouts / "loveda", split)
    place = split.capitalize()
    assert [item.name for item in items] == [f"{place}/Rural/01", f"{place}/Urban/01"]
    assert not alone
    image, truth, unknown = read_item(spec, items[0], Window(0, 0, 2, 2))
    assert image.shape == (2, 2, 3) and unknown == 0
    assert (truth == IGNORED).all()


def test_loveda_images_without_labels_are_refused_with_that_reason(layouts: Path) -> None:
    with pytest.raises(SceneError, match="2 images without labels"):
        find_items(dataset_spec("loveda"), layouts / "loveda", "test")


def test_loveda_may_lack_the_country(tmp_path: Path) -> None:
    _image(tmp_path / "Val/Urban/images_png/7.png")
    _image(tmp_path / "Val/Urban/masks_png/7.png", _GREY[..., 0])
    items, _ = find_items(dataset_spec("loveda"), tmp_path)
    assert [item.name for item in items] == ["Val/Urban/7"]
    with pytest.raises(SceneError, match="expected split train"):
        find_items(dataset_spec("loveda"), tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "train", "val"),
    [
        ("potsdam", ["2_10", "2_11"], ["5_15", "6_15"]),
        ("vaihingen", ["area1", "area11"], ["area6", "area24"]),
    ],
)
def test_isprs_splits_and_colours(
    layouts: Path, name: str, train: list[str], val: list[str]
) -> None:
    spec = dataset_spec(name)
    root = layouts / name
    for split, names in (("train", train), ("val", val), ("test", val)):
        items, _ = find_items(spec, root, split)
        assert [item.name for item in items] == names
    _, truth, unknown = read_item(spec, items[0], Window(0, 0, 2, 2))
    # red, white, blue and cyan once each: clutter, impervious, building, low vegetation
    assert sorted(truth.ravel().tolist()) == [0, 1, 2, 5]
    assert unknown == 0
    assert item_gsd(spec, items[0]) == {"potsdam": 0.05, "vaihingen": 0.09}[name]


@pytest.mark.parametrize("name", ["potsdam", "vaihingen"])
def test_eroded_labels_win_and_their_boundaries_do_not_count(tmp_path: Path, name: str) -> None:
    stem, image, whole, eroded = {
        "potsdam": ("2_13", "2_Ortho_RGB/top_potsdam_2_13_RGB.tif",
                    "5_Labels_all/top_potsdam_2_13_label.tif",
                    "5_Labels_all_noBoundary/top_potsdam_2_13_label_noBoundary.tif"),
        "vaihingen": ("area2", "top/top_mosaic_09cm_area2.tif",
                      "gts_COMPLETE/top_mosaic_09cm_area2.tif",
                      "gts_eroded_COMPLETE/top_mosaic_09cm_area2_noBoundary.tif"),
    }[name]  # fmt: skip
    label = np.zeros((2, 3, 3), np.uint8)
    label[:] = (0, 255, 0)
    _image(tmp_path / image)
    _image(tmp_path / whole, label)
    spec = dataset_spec(name)
    (item,), _ = find_items(spec, tmp_path)
    assert item.name == stem and item.label.name == Path(whole).name
    label[:, 1] = 0
    _image(tmp_path / eroded, label)
    (item,), _ = find_items(spec, tmp_path)
    assert item.label.name == Path(eroded).name
    assert read_item(spec, item, _ALL)[1].tolist() == [[3, IGNORED, 3]] * 2


def test_potsdams_infrared_is_no_alpha(layouts: Path) -> None:
    spec = dataset_spec("potsdam")
    items, _ = find_items(spec, layouts / "potsdam", "val")
    image, _, _ = read_item(spec, items[0], Window(0, 0, 2, 2))
    # the file's four pixels are 0..3 in every band; an alpha of 0 would blacken or drop them
    assert sorted(image[..., 0].ravel().tolist()) == [0, 1, 2, 3]


def test_loveda_labels_are_shifted_by_one(tmp_path: Path) -> None:
    truth = _truth("loveda", np.array([[0, 1, 2, 3], [4, 5, 6, 7]]), tmp_path)
    assert truth.tolist() == [[IGNORED, 0, 1, 2], [3, 4, 5, 6]]


def test_loveda_labels_of_another_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="expected labels of LoveDA out of 0, 1, 2.*found 8"):
        _truth("loveda", np.array([[8, 1]]), tmp_path)


def test_isprs_ids_have_the_boundary_first(tmp_path: Path) -> None:
    truth = _truth("potsdam", np.array([[0, 1, 2, 3, 4, 5, 6]]), tmp_path)
    assert truth.tolist() == [[IGNORED, 0, 1, 2, 3, 4, 5]]


def test_uavid_merges_cars_and_calls_clutter_background(tmp_path: Path) -> None:
    colours = [[(0, 0, 0), (128, 0, 0), (128, 64, 128), (192, 0, 192)],
               [(0, 128, 0), (128, 128, 0), (64, 64, 0), (64, 0, 128)]]  # fmt: skip
    assert _truth("uavid", np.array(colours), tmp_path).tolist() == [[0, 1, 2, 3], [4, 5, 6, 3]]
    assert _truth("uavid", np.arange(8).reshape(2, 4), tmp_path).tolist() == [
        [0, 1, 2, 3],
        [4, 5, 6, 3],
    ]


def test_uavid_paletted_labels_are_not_all_zero(tmp_path: Path) -> None:
    _image(tmp_path / "uavid_val/seq16/Images/000000.png")
    label = tmp_path / "uavid_val/seq16/Labels/000000.png"
    # indices that are no ids: only the palette tells that these are cars and trees
    _palette_png(label, np.array([[0, 1, 2], [2, 1, 0]]), [(64, 0, 128), (0, 128, 0), (0, 0, 0)])
    spec = dataset_spec("uavid")
    (item,), _ = find_items(spec, tmp_path)
    assert item.name == "seq16/000000"
    assert read_item(spec, item, _ALL)[1].tolist() == [[3, 4, 0], [0, 4, 3]]


def test_dubai_palettes_differ_from_file_to_file(tmp_path: Path) -> None:
    spec = dataset_spec("dubai")
    building, grey = (60, 16, 152), (155, 155, 155)
    base = tmp_path / "Semantic segmentation dataset" / "Tile 1"
    _image(base / "images/image_part_001.jpg")
    _palette_png(base / "masks/image_part_001.png", np.array([[0, 1, 0]] * 2), [grey, building])
    (item,), _ = find_items(spec, tmp_path)
    assert item.name == "Tile 1/image_part_001"
    assert read_item(spec, item, _ALL)[1].tolist() == [[IGNORED, 0, IGNORED]] * 2
    with pytest.raises(SceneError, match="numbers in one band"):
        decode_labels(spec, np.zeros((1, 2, 2), np.uint8), None, Path("x.png"))


def test_a_few_odd_colours_are_ignored_and_many_are_refused() -> None:
    spec = dataset_spec("dubai")
    stored = np.empty((3, 10, 10), np.uint8)
    stored[:] = np.array((226, 169, 41), np.uint8)[:, None, None]
    stored[:, 0, 0] = (228, 167, 45)  # resampled, still water
    stored[:, 0, 1] = (1, 2, 3)
    truth, unknown = decode_labels(spec, stored, None, Path("x.png"))
    assert truth[0, :3].tolist() == [4, IGNORED, 4] and unknown == 1
    stored[:, 5] = np.array((1, 2, 3), np.uint8)[:, None]
    with pytest.raises(SceneError, match="#010203 on 11 of 100 pixels"):
        decode_labels(spec, stored, None, Path("x.png"))


def test_real_dubai_labels_paletted_and_coloured_mean_the_same_classes() -> None:
    root = os.environ.get("T2S_TEST_DATA")
    if not root:
        pytest.skip("T2S_TEST_DATA is unset: it names the folder of test data")
    folder = Path(root) / "labelled" / "dubai_mbrsc"
    spec = dataset_spec("dubai")
    with gdal_session(), rasterio.open(folder / "image_part_001.png") as source:
        stored = source.read()
        colours = source.colormap(1)
        table = np.array([colours.get(k, (0, 0, 0))[:3] for k in range(256)], np.uint8)
    truth, unknown = decode_labels(spec, stored, table, folder / "image_part_001.png")
    # counted by hand: palette entry 0 is land, 1 road, 2 building
    counts = np.bincount(truth.ravel(), minlength=5)[:5].tolist()
    assert counts == [63406, 155233, 58257, 0, 0] and unknown == 0


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_set_reads_a_plain_pair_of_folders(tmp_path: Path, name: str) -> None:
    spec = dataset_spec(name)
    label = np.zeros((2, 3, 3), np.uint8)
    if spec.colours is None:
        label[:] = 3
    else:
        label[:] = list(spec.colours)[1]
    _image(tmp_path / "images/a.png")
    _image(tmp_path / "images/b.png")
    _image(tmp_path / "labels/a.png", label if spec.colours else label[..., 0])
    items, alone = find_items(spec, tmp_path, "train")
    assert [item.name for item in items] == ["a"]
    assert [path.name for path in alone] == ["b.png"]
    expected = 2 if spec.colours is None else list(spec.colours.values())[1]
    assert (read_item(spec, items[0], _ALL)[1] == expected).all()


@pytest.mark.parametrize("name", list(DATASETS))
def test_nothing_found_says_what_was_expected(tmp_path: Path, name: str) -> None:
    (tmp_path / "unrelated").mkdir()
    spec = dataset_spec(name)
    with pytest.raises(SceneError) as caught:
        find_items(spec, tmp_path)
    for text in (spec.layout, "images/ and labels/", "found unrelated"):
        assert text in str(caught.value)
    with pytest.raises(SceneError, match="found no folder"):
        find_items(spec, tmp_path / "missing")


def test_a_label_of_another_size_is_refused(tmp_path: Path) -> None:
    _image(tmp_path / "images/a.png")
    _image(tmp_path / "labels/a.png", np.ones((3, 3), np.uint8))
    (item,), _ = find_items(dataset_spec("loveda"), tmp_path)
    with pytest.raises(SceneError, match="3 x 2 pixels, found 3 x 3"):
        item_size(item)


def test_windows_cover_a_large_image_once() -> None:
    hits = np.zeros((2160, 3840), int)
    windows = item_windows(2160, 3840)
    for window in windows:
        assert max(window.height, window.width) <= 2048
        hits[int(window.row) : int(window.bottom), int(window.col) : int(window.right)] += 1
    assert len(windows) == 4 and (hits == 1).all()
