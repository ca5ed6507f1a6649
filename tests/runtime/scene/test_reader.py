"""Scenes that a test makes up: every rule of the reader against plain numpy."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp as Colour

from t2s_rt.errors import SceneError, UsageError
from t2s_rt.scene import Scene, SceneReadError, Window, open_scene

from .conftest import Raster

Noise = npt.NDArray[np.uint8]
UTM = "EPSG:32633"
NORTH_UP = Affine(0.3, 0, 5e5, 0, -0.3, 5.4e6)


def whole(path: Path, **options: object) -> tuple[Scene, Noise, npt.NDArray[np.bool_]]:
    with open_scene(path, **options) as scene:  # type: ignore[arg-type]
        rgb, valid = scene.read(scene.extent)
    return scene, rgb, valid


def test_plain_rgb_is_read_as_it_is(raster: Raster, noise: Noise) -> None:
    scene, rgb, valid = whole(raster(noise, crs=UTM, transform=NORTH_UP))
    np.testing.assert_array_equal(rgb, np.moveaxis(noise, 0, -1))
    assert valid.all() and scene.warnings == []
    assert (scene.width, scene.height, scene.stem) == (80, 60, "scene")
    assert scene.gsd == (0.3, 0.3) and scene.transform == NORTH_UP
    assert scene.crs == rasterio.CRS.from_string(UTM)


def test_colours_are_found_wherever_they_are(raster: Raster, noise: Noise) -> None:
    shuffled = noise[[2, 0, 1]]
    path = raster(shuffled, colours=[Colour.blue, Colour.red, Colour.green])
    scene, rgb, _ = whole(path)
    assert scene.bands == (2, 3, 1)
    np.testing.assert_array_equal(rgb, np.moveaxis(noise, 0, -1))


def test_without_colours_the_first_three_bands_count(raster: Raster, noise: Noise) -> None:
    four = np.concatenate([noise, noise[:1]])
    path = raster(four, photometric="MINISBLACK", colours=[Colour.gray] + [Colour.undefined] * 3)
    scene, rgb, _ = whole(path)
    assert scene.bands == (1, 2, 3)
    np.testing.assert_array_equal(rgb, np.moveaxis(noise, 0, -1))


@pytest.mark.parametrize("bands", ["3,1,2", " 3, 1 ,2", (3, 1, 2)])
def test_named_bands_win(raster: Raster, noise: Noise, bands: object) -> None:
    _, rgb, _ = whole(raster(noise), bands=bands)
    np.testing.assert_array_equal(rgb, np.moveaxis(noise[[2, 0, 1]], 0, -1))


@pytest.mark.parametrize("bands", [None, "1", "1,1,1"])
def test_one_band_is_replicated(raster: Raster, noise: Noise, bands: str | None) -> None:
    _, rgb, _ = whole(raster(noise[:1]), bands=bands)
    np.testing.assert_array_equal(rgb, np.repeat(noise[0][..., None], 3, axis=-1))


@pytest.mark.parametrize("bands", ["red", "1,2", "1,2,3,4", "", "1.5"])
def test_other_bands_are_no_bands(raster: Raster, noise: Noise, bands: str) -> None:
    with pytest.raises(UsageError, match="one or three band numbers"):
        open_scene(raster(noise), bands=bands)


def test_a_band_that_is_not_there(raster: Raster, noise: Noise) -> None:
    with pytest.raises(SceneError, match="between 1 and 3, found 1,2,4"):
        open_scene(raster(noise), bands="1,2,4")


def test_alpha_is_a_mask(raster: Raster, noise: Noise) -> None:
    alpha = np.full((1, 60, 80), 255, np.uint8)
    alpha[0, :, :30] = 0
    _, rgb, valid = whole(raster(np.concatenate([noise, alpha])))
    np.testing.assert_array_equal(valid, alpha[0] > 0)
    assert not rgb[~valid].any()


def test_near_infrared_tagged_alpha_is_data(raster: Raster, noise: Noise) -> None:
    infrared = np.random.default_rng(1).integers(0, 255, (1, 60, 80), dtype=np.uint8)
    scene, _, valid = whole(raster(np.concatenate([noise, infrared])))
    assert valid.all()
    assert "taken as data" in scene.warnings[0]


def test_grey_and_alpha(raster: Raster, noise: Noise) -> None:
    alpha = np.where(np.arange(80) < 40, 255, 0).astype(np.uint8)
    two = np.stack([noise[0], np.tile(alpha, (60, 1))])
    scene, rgb, valid = whole(raster(two, colours=[Colour.gray, Colour.alpha]))
    assert scene.bands == (1,) and scene.warnings == []
    np.testing.assert_array_equal(rgb[:, :40, 1], noise[0][:, :40])
    assert valid[:, :40].all() and not valid[:, 40:].any()


def test_nodata_needs_every_band(raster: Raster, noise: Noise) -> None:
    noise[0, 5] = 0
    noise[:, 9] = 0
    _, rgb, valid = whole(raster(noise, nodata=0))
    assert valid[5].all() and not valid[9].any()
    np.testing.assert_array_equal(rgb, np.moveaxis(noise, 0, -1))


@pytest.mark.parametrize("nodata", [float("nan"), -9999.0, -3.4028234663852886e38, None])
def test_nodata_and_nan_of_floats(raster: Raster, nodata: float | None) -> None:
    pixels = np.linspace(0, 1, 600, dtype=np.float32).reshape(1, 20, 30)
    pixels[0, 3] = np.nan if nodata is None else nodata
    pixels[0, 4] = np.nan
    scene, _, valid = whole(raster(pixels, nodata=nodata))
    assert not valid[3:5].any() and valid[:3].all() and valid[5:].all()
    assert 0 < scene.stretch.low[0] < scene.stretch.high[0] < 1


def test_internal_mask(raster: Raster, noise: Noise) -> None:
    mask = np.arange(60)[:, None] * np.ones(80) < 20
    _, rgb, valid = whole(raster(noise, mask=mask))
    np.testing.assert_array_equal(valid, mask)
    np.testing.assert_array_equal(rgb[mask], np.moveaxis(noise, 0, -1)[mask])


def test_sidecar_mask(raster: Raster, noise: Noise, tmp_path: Path) -> None:
    path = raster(noise)
    mask = np.zeros((60, 80), bool)
    mask[:, 40:] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as target:
            target.write_mask(mask)
    assert (tmp_path / "scene.tif.msk").exists()
    np.testing.assert_array_equal(whole(path)[2], mask)


def test_palette_becomes_colours_and_clear_entries_are_invalid(raster: Raster) -> None:
    index = np.random.default_rng(0).integers(0, 4, (1, 20, 30), dtype=np.uint8)
    palette = {0: (0, 0, 0, 255), 1: (250, 10, 20, 255), 2: (1, 2, 3, 255), 3: (9, 9, 200, 255)}
    scene, rgb, valid = whole(raster(index, palette=palette))
    table = np.array([palette[k][:3] for k in range(4)])
    np.testing.assert_array_equal(rgb, table[index[0]])
    assert valid.all() and scene.stretch.label == "colours of the palette"


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits(raster: Raster, bits: int) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) % (1 << bits)
    _, rgb, _ = whole(raster(pixels, nbits=bits, photometric="MINISBLACK"))
    expected = np.rint(pixels[0] * 255.0 / ((1 << bits) - 1))
    np.testing.assert_array_equal(rgb[..., 0], expected)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_stretch_is_of_the_whole_scene(raster: Raster, dtype: str, interleave: str) -> None:
    """Windows of a stretched scene fit together: no window has a stretch of its own."""
    ramp = np.linspace(300, 9000, 64 * 64).reshape(1, 64, 64)
    pixels = np.concatenate([ramp, ramp[:, ::-1], ramp * 0.5]).astype(dtype)
    path = raster(pixels, interleave=interleave, photometric="RGB")
    with open_scene(path) as scene:
        full, _ = scene.read(scene.extent)
        parts = [[scene.read(Window(r, c, 32, 32))[0] for c in (0, 32)] for r in (0, 32)]
    np.testing.assert_array_equal(full, np.concatenate([np.concatenate(p, 1) for p in parts]))
    low, high = np.percentile(pixels[0].astype(float), [2, 98])
    expected = np.clip(np.rint((pixels[0].astype(float) - low) * 255 / (high - low)), 0, 255)
    assert np.abs(full[..., 0].astype(float) - expected).max() <= 1


@pytest.mark.parametrize(
    "transform",
    [Affine(0.3, 0, 5e5, 0, 0.3, 5.4e6), Affine(0.2, 0.1, 5e5, 0.1, -0.2, 5.4e6)],
    ids=["south-up", "rotated"],
)
def test_pixels_stay_where_the_file_has_them(
    raster: Raster, noise: Noise, transform: Affine
) -> None:
    scene, rgb, _ = whole(raster(noise, crs=UTM, transform=transform))
    assert scene.transform == transform and scene.warnings == []
    np.testing.assert_array_equal(rgb, np.moveaxis(noise, 0, -1))


def test_windows_beyond_the_scene_are_invalid(raster: Raster, noise: Noise) -> None:
    with open_scene(raster(noise)) as scene:
        rgb, valid = scene.read(Window(-10, 50, 40, 60))
        outside, nothing = scene.read(Window(500, 500, 8, 8))
    expected = np.zeros((40, 60, 3), np.uint8)
    expected[10:, :30] = np.moveaxis(noise, 0, -1)[:30, 50:]
    np.testing.assert_array_equal(rgb, expected)
    assert valid.sum() == 30 * 30 and not nothing.any() and not outside.any()


def test_neighbouring_fractional_windows_join_without_a_seam(raster: Raster) -> None:
    y, x = np.mgrid[0:120, 0:120]
    path = raster(np.stack([y + x, y, x]).astype(np.uint8))
    with open_scene(path) as scene:
        for scale in (2.4, 0.4):
            full, _ = scene.read(Window(5.3, 7.1, 40 * scale, 40 * scale), 40, 40)
            left, _ = scene.read(Window(5.3, 7.1, 40 * scale, 16 * scale), 40, 16)
            right, _ = scene.read(Window(5.3, 7.1 + 16 * scale, 40 * scale, 24 * scale), 40, 24)
            joined = np.concatenate([left, right], axis=1)
            assert np.abs(joined.astype(int) - full).max() <= 1


def test_decimated_windows_agree_with_averaging(raster: Raster, monkeypatch: object) -> None:
    import t2s_rt.scene.reader as reader

    smooth = np.cumsum(np.random.default_rng(3).normal(0, 1, (1, 400, 600)), axis=2)
    path = raster((smooth * 4 + 128).clip(0, 255).astype(np.uint8))
    with open_scene(path) as scene:
        exact, _ = scene.read(scene.extent, 20, 30)
        monkeypatch.setattr(reader, "NATIVE_PIXELS", 1000)  # type: ignore[attr-defined]
        decimated, _ = scene.read(scene.extent, 20, 30)
    assert np.abs(exact.astype(int) - decimated).max() <= 2


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_empty_reads_are_refused(raster: Raster, noise: Noise, size: tuple[int, int]) -> None:
    with open_scene(raster(noise)) as scene, pytest.raises(UsageError, match="at least one pixel"):
        scene.read(scene.extent, *size)


def test_resolution_by_option(raster: Raster, noise: Noise) -> None:
    assert whole(raster(noise), scene_gsd=0.5)[0].gsd == (0.5, 0.5)
    placed = raster(noise, "placed.tif", crs=UTM, transform=NORTH_UP)
    close, far = whole(placed, scene_gsd=0.31)[0], whole(placed, scene_gsd=0.5)[0]
    assert close.gsd == (0.31, 0.31) and close.warnings == []
    assert far.gsd == (0.5, 0.5) and "--scene-gsd" in far.warnings[0]
    with pytest.raises(UsageError, match="above 0"):
        open_scene(placed, scene_gsd=0)


def test_transform_without_crs_has_no_ground_size(raster: Raster, noise: Noise) -> None:
    scene, _, _ = whole(raster(noise, transform=Affine(0.5, 0, 9, 0, -0.5, 9)))
    assert scene.crs is None and scene.gsd is None
    assert scene.transform == Affine(0.5, 0, 9, 0, -0.5, 9)
    assert "no CRS" in scene.warnings[0]


def test_ground_control_points_give_a_pixel_frame(raster: Raster, noise: Noise) -> None:
    points = [
        rasterio.control.GroundControlPoint(r, c, c * 0.3 + 5e5, 5.4e6 - r * 0.3)
        for r, c in ((0, 0), (0, 80), (60, 0))
    ]
    path = raster(noise, gcps=points, crs=UTM)
    scene, _, _ = whole(path)
    assert scene.crs is None and scene.transform.is_identity
    assert "ground control points" in scene.warnings[0]


def test_damage_in_one_place_spares_the_others(raster: Raster) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype=np.uint8)
    path = raster(pixels, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)
    good = bad = 0
    with open_scene(path) as scene:
        # twice: a decoder that failed once must not hand out its buffers the second time
        for _ in range(2):
            for row in range(0, 256, 64):
                for col in range(0, 256, 64):
                    try:
                        rgb, _ = scene.read(Window(row, col, 64, 64))
                    except SceneReadError as error:
                        bad += 1
                        assert f"rows {row} to {row + 64}" in str(error)
                    else:
                        good += 1
                        truth = np.moveaxis(pixels[:, row : row + 64, col : col + 64], 0, -1)
                        np.testing.assert_array_equal(rgb, truth)
    assert bad in (2, 4, 6) and good + bad == 32


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("driver", ["PNG", "JPEG", "WEBP", "GTiff"])
def test_truncated_files_never_pass_as_whole(
    raster: Raster, noise: Noise, driver: str, keep: float
) -> None:
    path = raster(np.tile(noise, (1, 4, 4)), f"cut.{driver}", driver=driver)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    for _ in range(2):
        with pytest.raises(SceneError, match="expected"):
            whole(path)


def test_complex_pixels_are_refused(raster: Raster) -> None:
    with pytest.raises(SceneError, match="complex64.*amplitude"):
        open_scene(raster(np.ones((1, 8, 8), np.complex64)))
