from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from t2s_rt.errors import OutputError, UsageError
from t2s_rt.scene import MapClass, MapWriter, Window
from t2s_rt.scene.geotiff import class_names

CLASSES = [
    MapClass("building", (219, 68, 55)),
    MapClass("road & <lane>", (120, 120, 120)),
    MapClass("Bäume", (40, 140, 60)),
]
UTM = Affine(0.3, 0, 5e5, 0, -0.3, 5.4e6)
Plane = npt.NDArray[np.uint8]


@dataclass
class Frame:
    """A scene's frame, without its pixels."""

    width: int = 700
    height: int = 560
    crs: Any = None
    transform: Any = Affine.identity()


def planes(frame: Frame, seed: int = 0) -> tuple[Plane, Plane]:
    rng = np.random.default_rng(seed)
    size = (frame.height, frame.width)
    labels = rng.integers(0, 4, size, dtype=np.uint8)
    labels[:7] = 255
    confidence = rng.integers(0, 255, size, dtype=np.uint8)
    confidence[:7] = 255
    return labels, confidence


def whole(frame: Frame) -> Window:
    return Window(0, 0, frame.height, frame.width)


def finished(frame: Frame, folder: Path, stem: str = "a") -> tuple[Path, Path]:
    with MapWriter(frame, folder, stem, CLASSES) as writer:
        writer.write(whole(frame), *planes(frame))
        return writer.finish()


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_order_of_windows_gives_the_same_map(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    frame = Frame(width=data.draw(st.integers(1, 70)), height=data.draw(st.integers(1, 70)))
    labels, confidence = planes(frame)
    folder = tmp_path_factory.mktemp("out")
    side = data.draw(st.integers(5, 40))
    corners = [(r, c) for r in range(0, frame.height, side) for c in range(0, frame.width, side)]
    with MapWriter(frame, folder, "a", CLASSES) as writer:
        for row, col in data.draw(st.permutations(corners)):
            part = np.s_[row : row + side, col : col + side]
            height, width = labels[part].shape
            writer.write(Window(row, col, height, width), labels[part], confidence[part])
        for found, truth in zip(writer.read(whole(frame)), (labels, confidence), strict=True):
            np.testing.assert_array_equal(found, truth)


def test_files_hold_the_maps_their_colours_and_names(tmp_path: Path) -> None:
    frame = Frame(crs=CRS.from_epsg(32633), transform=UTM)
    labels_path, confidence_path = finished(frame, tmp_path)
    labels, confidence = planes(frame)
    with rasterio.open(labels_path) as found:
        np.testing.assert_array_equal(found.read(1), labels)
        assert (found.dtypes, found.nodata) == (("uint8",), 255)
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert found.overviews(1) == [2]
        table = found.colormap(1)
        assert [table[k][:3] for k in (1, 2, 3)] == [c.colour for c in CLASSES]
    with rasterio.open(confidence_path) as found:
        np.testing.assert_array_equal(found.read(1), confidence)
        assert found.nodata == 255
    assert class_names(labels_path) == {1: "building", 2: "road & <lane>", 3: "Bäume"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.confidence.tif",
        "a.labels.tif",
        "a.labels.tif.aux.xml",
    ]


def test_category_names_are_where_gdal_looks(tmp_path: Path) -> None:
    """GDAL carries category names over to a copy only if it has read them."""
    labels_path, _ = finished(Frame(), tmp_path)
    rasterio.shutil.copy(str(labels_path), str(tmp_path / "copy.tif"), driver="GTiff")
    sidecar = (tmp_path / "copy.tif.aux.xml").read_text(encoding="utf-8")
    assert "<Category>road &amp; &lt;lane&gt;</Category>" in sidecar
    assert "<Category>Bäume</Category>" in sidecar


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (CRS.from_epsg(32633), UTM),
        (CRS.from_epsg(32633), Affine(0.1 + 0.2, 0, 1 / 3, 0, 0.7, 5.4e6)),
        (CRS.from_epsg(4326), Affine(1e-6 / 3, 2e-7, 10, 1e-7, -1e-6 / 7, 50)),
        (None, Affine(0.5, 0.1, 3, 0.1, -0.5, 4)),
        (None, Affine.identity()),
        (CRS.from_string("+proj=laea +lat_0=41 +lon_0=7 +R=3396190 +units=m"), UTM),
    ],
    ids=["north-up", "south-up", "rotated", "no crs", "pixels", "mars"],
)
def test_the_frame_is_kept_bit_for_bit(tmp_path: Path, crs: CRS | None, transform: Affine) -> None:
    import warnings

    for path in finished(Frame(crs=crs, transform=transform), tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path) as found:
                assert found.crs == crs
                assert tuple(found.transform) == tuple(transform)


def test_windows_that_were_not_written_are_nodata(tmp_path: Path) -> None:
    frame = Frame()
    with MapWriter(frame, tmp_path, "a", CLASSES) as writer:
        writer.write(Window(5, 6, 1, 2), np.ones((1, 2), np.uint8), np.zeros((1, 2), np.uint8))
        labels_path, _ = writer.finish()
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(labels_path) as found:
        labels = found.read(1)
    assert (labels[5, 6:8] == 1).all() and (labels != 255).sum() == 2


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
sys.path[:] = {sys.path!r}
import numpy as np
from affine import Affine
from types import SimpleNamespace
from t2s_rt.scene import MapClass, MapWriter, Window
frame = SimpleNamespace(width=300, height=200, crs=None, transform=Affine.identity())
writer = MapWriter(frame, {str(tmp_path)!r}, "a", [MapClass("x", (1, 2, 3))])
writer.write(Window(50, 60, 40, 30), *[np.full((40, 30), 1, np.uint8)] * 2)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-c", script], check=False, timeout=120)
    assert run.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.labels.tif").exists()
    frame, classes = Frame(300, 200), [MapClass("x", (1, 2, 3))]
    with MapWriter(frame, tmp_path, "a", classes, resume=True) as writer:
        assert writer.resumed
        labels, _ = writer.read(whole(frame))
        assert (labels[50:90, 60:90] == 1).all() and (labels == 1).sum() == 1200
        writer.write(Window(0, 0, 1, 300), *[np.zeros((1, 300), np.uint8)] * 2)
        labels_path, _ = writer.finish()
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(labels_path) as found:
        assert (found.read(1) == 1).sum() == 1200


@pytest.mark.parametrize("what", ["size", "classes", "state", "file"])
def test_leftovers_of_another_run_are_not_taken_over(tmp_path: Path, what: str) -> None:
    frame, classes = Frame(30, 20), list(CLASSES)
    with MapWriter(frame, tmp_path, "a", classes) as writer:
        writer.write(Window(0, 0, 20, 30), *[np.ones((20, 30), np.uint8)] * 2)
    part = tmp_path / ".a.t2s-part"
    if what == "size":
        frame = Frame(30, 21)
    elif what == "classes":
        classes = classes[::-1]
    elif what == "state":
        (part / "state.json").write_text("{")
    else:
        (part / "labels.raw").write_bytes(b"short")
    with MapWriter(frame, tmp_path, "a", classes, resume=True) as writer:
        assert not writer.resumed
        assert (writer.read(whole(frame))[0] == 255).all()
        writer.discard()
    assert not part.exists()


def test_finished_files_are_kept_unless_told(tmp_path: Path) -> None:
    frame = Frame(30, 20)
    labels_path, _ = finished(frame, tmp_path)
    before = labels_path.read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        MapWriter(frame, tmp_path, "a", CLASSES)
    with MapWriter(frame, tmp_path, "a", CLASSES, overwrite=True) as writer:
        assert labels_path.read_bytes() == before
        writer.write(whole(frame), *planes(frame, seed=5))
        writer.finish()
    assert labels_path.read_bytes() != before


@pytest.mark.parametrize(
    "window", [Window(0, 0, 21, 30), Window(-1, 0, 5, 5), Window(0.5, 0, 5, 5), Window(0, 0, 0, 5)]
)
def test_windows_must_fit(tmp_path: Path, window: Window) -> None:
    size = (max(1, int(window.height)), int(window.width))
    with MapWriter(Frame(30, 20), tmp_path, "a", CLASSES) as writer, pytest.raises(UsageError):
        writer.write(window, *[np.zeros(size, np.uint8)] * 2)


def test_arrays_must_fit_and_closed_writers_are_closed(tmp_path: Path) -> None:
    good = np.zeros((5, 5), np.uint8)
    with MapWriter(Frame(30, 20), tmp_path, "a", CLASSES) as writer:
        with pytest.raises(UsageError, match=r"confidence as uint8 \(5, 5\)"):
            writer.write(Window(0, 0, 5, 5), good, good[:4])
        with pytest.raises(UsageError, match="float64"):
            writer.write(Window(0, 0, 5, 5), good * 1.0, good)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="closed"):
        writer.write(Window(0, 0, 5, 5), good, good)
    with pytest.raises(UsageError, match="at most 254 classes"):
        MapWriter(Frame(30, 20), tmp_path, "a", [MapClass("x", (0, 0, 0))] * 255)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="expected to write into"):
        MapWriter(Frame(30, 20), tmp_path / "file", "a", CLASSES)


def limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))


@pytest.mark.parametrize("side", [560, 900])
def test_a_full_disk_is_an_output_error(tmp_path: Path, side: int) -> None:
    """A limit on file sizes stands for the full disk: the smaller map fails late, in finish."""
    script = f"""
import sys
sys.path[:] = {sys.path!r}
import numpy as np
from affine import Affine
from types import SimpleNamespace
from t2s_rt.errors import OutputError
from t2s_rt.scene import MapClass, MapWriter, Window
frame = SimpleNamespace(width={side}, height={side}, crs=None, transform=Affine.identity())
noise = np.random.default_rng(0).integers(0, 254, ({side}, {side}), dtype=np.uint8)
try:
    with MapWriter(frame, {str(tmp_path)!r}, "a", [MapClass("x", (1, 2, 3))]) as writer:
        writer.write(Window(0, 0, {side}, {side}), noise, noise)
        print("written")
        writer.finish()
except OutputError as error:
    print("error", error)
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
        preexec_fn=limit_files,
    )
    assert "error expected to write" in run.stdout and "-o" in run.stdout, run.stderr
    assert ("written" in run.stdout) == (side == 560)
    assert [path for path in os.listdir(tmp_path) if not path.startswith(".")] == []
