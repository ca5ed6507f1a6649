"""Real and hostile files under T2S_TEST_DATA: read right, or refused with a reason."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from rasterio.windows import Window as RasterWindow

from t2s_rt.errors import SceneError
from t2s_rt.scene import SceneReadError, Window, open_scene, tile_grid

Pixels = npt.NDArray[np.uint8]

REFUSED = {
    "geotiff": {
        "dummy_fotomap_area.gpkg": "GeoPackage",
        "RGB.byte.gcp.vrt": "VRT",
        "RGB.byte.rpc.vrt": "VRT",
        "compdcs.vrt": "VRT",
        "white-gemini-iv.vrt": "VRT",
    },
    "tiff_variants": {
        "images_cmyk-3c-16b.tiff": "CMYK",
        "images_cmyk-3c-32b-float.tiff": "CMYK",
        "libtiffpic_depth_flower-separated-planar-16.tif": "CMYK",
        "images_logluv-3c-16b.tiff": "LogLuv",
    },
    "valid_tricky": {
        "iss634.webp": "animated",
        "rgb32bf-rgba.bmp": "unsupported",
    },
}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def opencv(path: Path) -> Pixels | None:
    """The stored pixels as OpenCV decodes them: 8 bit, three colours, not turned."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imread(str(path), flags)
    return None if image is None else np.asarray(image[..., ::-1], np.uint8)


def raw(path: Path, bands: tuple[int, ...], window: Window) -> npt.NDArray[np.float64]:
    part = RasterWindow(window.col, window.row, window.width, window.height)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as source:
            pixels = np.moveaxis(source.read(list(bands), window=part), 0, -1).astype(np.float64)
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


@pytest.mark.parametrize("folder", sorted(REFUSED))
def test_valid_files_are_read_right_or_refused_with_a_reason(
    test_data: Path, folder: str, capfd: pytest.CaptureFixture[str]
) -> None:
    refused, compared = {}, 0
    for path in files(test_data / folder):
        try:
            with open_scene(path) as scene:
                height, width = min(scene.height, 700), min(scene.width, 700)
                window = Window(scene.height - height, scene.width - width, height, width)
                rgb, valid = scene.read(window)
        except SceneError as error:
            refused[path.name] = str(error)
            continue
        assert rgb.shape == (height, width, 3), path
        assert not rgb[~valid].any(), path
        if scene.stretch.label == "colours of the palette":
            continue
        truth = raw(path, scene.bands, window)
        if scene.stretch.label == "unchanged":
            np.testing.assert_array_equal(rgb[valid], truth[valid], err_msg=str(path))
        elif valid.any():
            _same_order(rgb[valid][:, 0], truth[valid][:, 0], path)
        compared += 1
    expected = REFUSED[folder]
    assert set(refused) == set(expected)
    for name, word in expected.items():
        assert word in refused[name]
    assert compared > 30
    assert capfd.readouterr() == ("", "")


def _same_order(shown: Pixels, stored: npt.NDArray[np.float64], path: Path) -> None:
    """A stretch may flatten values but never swap them."""
    order = np.argsort(stored, kind="stable")
    assert (np.diff(shown[order].astype(int)) >= 0).all(), path


@pytest.mark.parametrize(
    "name",
    [
        "hopper_bigtiff.tif",
        "icc_profile.png",
        "hopper_orientation_6.jpg",
        "hopper_orientation_5.webp",
        "flower.webp",
        "sugarshack.mpo",
        "test-card-lossless.jp2",
        "bw_gradient.png",
        "tiff_strip_ycbcr_jpeg_2x2_sampling.tif",
        "transparent.webp",
        "anim_frame1.webp",
    ],
)
def test_pictures_agree_with_another_decoder(test_data: Path, name: str) -> None:
    path = test_data / "valid_tricky" / name
    truth = opencv(path)
    if truth is None:
        pytest.fail(f"OpenCV cannot decode {name}: choose another oracle")
    with open_scene(path) as scene:
        rgb, valid = scene.read(scene.extent)
    assert rgb.shape == truth.shape
    difference = np.abs(rgb.astype(int) - truth)[valid]
    assert difference.mean() < 2, difference.mean()


@pytest.mark.parametrize(
    ("name", "turned"),
    [("hopper_orientation_3.jpg", 3), ("g4_orientation_6.tif", 6), ("xmp_tags_orientation.png", 3),
     ("hopper_orientation_8.webp", 8), ("icc_profile.png", None), ("g4_orientation_1.tif", None)],
)  # fmt: skip
def test_orientation_is_told_and_not_applied(
    test_data: Path, name: str, turned: int | None
) -> None:
    with open_scene(test_data / "valid_tricky" / name) as scene:
        told = [text for text in scene.warnings if "Orientation" in text]
    assert bool(told) == (turned is not None)
    assert turned is None or f"= {turned} " in told[0]


def test_sidecars_count(test_data: Path) -> None:
    tiler = test_data / "geotiff" / "rio-tiler"
    stem = "201404_13SED190110_201404_0x1500m_CL_1"
    masks = {}
    for kind in ("extmask", "mask", "nodata"):
        with open_scene(tiler / f"{stem}_{kind}.tif") as scene:
            masks[kind] = scene.read(scene.extent)[1]
    np.testing.assert_array_equal(masks["extmask"], masks["mask"])
    assert 0.9 < masks["mask"].mean() < 1
    assert np.mean(masks["mask"] != masks["nodata"]) < 0.01
    with open_scene(tiler / f"{stem}.tif") as scene:
        assert scene._source.dataset.overviews(1) == [2, 4, 8]


# ru_maxrss of a child counts its parent before exec; the high-water mark of its own does not
_PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
"""

_DECODE_ALL = """
import sys, resource
sys.path[:] = {path!r}
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from t2s_rt.errors import SceneError
from t2s_rt.scene import SceneReadError, Window, open_scene, tile_grid
for name in sys.stdin.read().splitlines():
    good = bad = 0
    said = ""
    try:
        with open_scene(name) as scene:
            side = max(64, -(-max(scene.width, scene.height) // 4))
            for tile in tile_grid(scene.height, scene.width, side, 0):
                try:
                    scene.read(Window(tile.row, tile.col, side, side), 64, 64)
                    good += 1
                except SceneReadError as error:
                    bad, said = bad + 1, str(error)
    except SceneError as error:
        bad, said = bad + 1, str(error)
    print(name, good, bad, "expected" in said and chr(10) not in said, sep="\\t", flush=True)
{peak}
print("peak", peak())
"""


@pytest.mark.slow
def test_malformed_files_never_crash_hang_or_eat_memory(test_data: Path) -> None:
    """All in one process of its own: a crash or a hang there fails here."""
    names = [str(path) for path in files(test_data / "malformed")]
    assert len(names) > 200
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", _DECODE_ALL.format(path=sys.path, peak=_PEAK)],
        input="\n".join(names),
        capture_output=True,
        text=True,
        check=False,
        # ten seconds for each would be allowed; together they take far less
        timeout=10 * len(names),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stderr == ""
    *lines, peak = run.stdout.splitlines()
    rows = [line.split("\t") for line in lines]
    assert [row[0] for row in rows] == names
    for name, _, bad, clear in rows:
        assert bad == "0" or clear == "True", name
    assert int(peak.split()[1]) < 400
    kinds = Counter(
        "whole" if bad == "0" else "partly" if good != "0" else "refused"
        for _, good, bad, _ in rows
    )
    assert kinds["refused"] > 140 and kinds["whole"] > 40


# Other decoders take these for broken too (Pillow raises); reading them in full would be a lie.
BROKEN = [
    "png/pillow_truncated_image.png",
    "png/gofuzz_2aa36734e06a846a8323bcf89e30feecdc8389e2.png",
    "png/gofuzz_5feb61a34b18ce576c5a0c9742c6a46579a3e624.png",
    "jpeg/pillow_truncated_jpeg.jpg",
    "jpeg/pillow_hopper_bad_exif.jpg",
    "bmp/pillow_shortfile.bmp",
    "tiff/pillow_crash-74d2a78403a5a59db1fb0a2b8735ac068a75f6e3.tif",
    "tiff/gofuzz_c7c78bcc798126ee754be69814c6450b706c93a2.tiff",
    "webp/gofuzz_7789dad247e1d465ba760c190c955213d4cf8544.webp",
    "gif/pillow_decompression_bomb.gif",
]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_do_not_pass_even_when_asked_twice(test_data: Path, name: str) -> None:
    for _ in range(2):
        with pytest.raises(SceneError), open_scene(test_data / "malformed" / name) as scene:
            for _ in range(2):
                with pytest.raises(SceneReadError):
                    scene.read(scene.extent)
            scene.read(scene.extent)


def test_partly_readable_file_gives_its_good_windows(test_data: Path) -> None:
    path = test_data / "malformed" / "png" / "pillow_truncated_image.png"
    with open_scene(path) as scene:
        rgb, valid = scene.read(Window(0, 0, 100, scene.width))
        with pytest.raises(SceneReadError, match=re.escape("rows 400 to 480")):
            scene.read(Window(400, 0, 80, scene.width))
        again, _ = scene.read(Window(0, 0, 100, scene.width))
    assert valid.all() and rgb.any()
    np.testing.assert_array_equal(rgb, again)


def test_the_memory_trap_is_read_in_flat_memory(test_data: Path) -> None:
    script = f"""
import sys
sys.path[:] = {sys.path!r}
from t2s_rt.scene import Window, open_scene
{_PEAK}
name = {str(test_data / "geotiff" / "rio-tiler" / "cog_world.tif")!r}
base = peak()
with open_scene(name) as scene:
    assert (scene.width, scene.height) == (36000, 18000)
    scene.read(scene.extent, 390, 780)
    for k in range(0, 18000, 2000):
        scene.read(Window(k, 2 * k, 512, 512))
        scene.read(Window(k, 2 * k, 3000, 3000), 512, 512)
print(peak() - base)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    assert int(run.stdout) < 500
    assert tile_grid(18000, 36000, 512, 64)[-1].row == 18000 - 512
