"""Read ahead, side by side, several in a call: the map is that of one tile after another."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.pipeline.conftest import NAMES, PATCHES, TILE, Stop, names
from tests.runtime.routes.fakes import FakeClip, FakeDetector, FakeModels, pack_of, paint_scene

from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.errors import BackendError, UsageError
from t2s_rt.limits import SMALL_MODEL_BYTES, TILES_PER_CALL
from t2s_rt.models import Models
from t2s_rt.pipeline import IncompleteSceneError, Pipeline, PipelineSettings
from t2s_rt.pipeline.source import SceneReader
from t2s_rt.pipeline.tiles import TilePixels, TileScorer
from t2s_rt.prompts import load_pack
from t2s_rt.scene import SceneReadError

WriteTif = Callable[..., Path]
SEQUENTIAL: dict[str, Any] = {"workers": 1, "batch": 1, "read_ahead": 0}
WAYS: dict[str, dict[str, Any]] = {
    "overlapped": {"workers": 2},
    "far ahead": {"workers": 1, "read_ahead": 9},
    "side by side": {"workers": 2, "side_by_side": True},
    "batch 2": {"workers": 1, "batch": 2},
    "batch 3": {"workers": 2, "batch": 3},
    "batch 4": {"workers": 2, "batch": 4, "side_by_side": True},
    "batch 4, nothing ahead": {"workers": 1, "batch": 4, "read_ahead": 0},
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def _maps(folder: Path, stem: str = "scene") -> tuple[bytes, bytes]:
    """The very bytes of class map and confidence."""
    return (
        (folder / f"{stem}.labels.tif").read_bytes(),
        (folder / f"{stem}.confidence.tif").read_bytes(),
    )


@pytest.fixture
def patchy() -> NDArray[np.uint8]:
    """Objects, flat water that is computed once, and tiles without data in between: 35 tiles."""
    image = paint_scene(260, 380, *PATCHES, ("water", (100, 260, 220, 380)))
    image[60:190, 110:200] = 0
    return image


@every_way
def test_the_map_is_the_same_to_the_byte(
    way: dict[str, Any], bundle: Bundle, models: FakeModels, patchy: NDArray[np.uint8],
    write_tif: WriteTif, tmp_path: Path,
) -> None:  # fmt: skip
    path, pack = write_tif(patchy, nodata=0), pack_of(*NAMES)
    with Pipeline.from_bundle(bundle, **SEQUENTIAL) as pipeline:
        plain = pipeline(path, pack, tmp_path / "plain")
    with Pipeline.from_bundle(bundle, **way) as pipeline:
        report = pipeline(path, pack, tmp_path / "out")
    assert _maps(tmp_path / "out") == _maps(tmp_path / "plain")
    assert report.tiles == plain.tiles and report.tiles.skipped > 0
    assert report.tiles.total % 4 and report.tiles.done % 4  # batches leave a remainder
    assert report.classes == plain.classes
    said = json.loads((tmp_path / "out/scene.json").read_text())["timings"]
    assert said["tiles_per_call"] == way.get("batch", 1)
    assert said["tiles_at_once"] == way["workers"]
    assert said["encoders_side_by_side"] == way.get("side_by_side", False)


def test_few_tiles_leave_no_worker_without_one(
    bundle: Bundle, models: FakeModels, write_tif: WriteTif, tmp_path: Path
) -> None:
    path, pack = write_tif(paint_scene(TILE, 2 * TILE, *PATCHES)), pack_of(*NAMES)
    with Pipeline.from_bundle(bundle, workers=2, batch=4) as pipeline:
        report = pipeline(path, pack, tmp_path / "out")
    assert 2 <= report.tiles.total <= 4
    assert report.timings.tiles_per_call == -(-report.tiles.total // 2) < 4


@every_way
def test_an_image_in_memory_is_the_same(
    way: dict[str, Any], bundle: Bundle, models: FakeModels, patchy: NDArray[np.uint8]
) -> None:
    pack = pack_of(*NAMES)
    with Pipeline.from_bundle(bundle, **SEQUENTIAL) as pipeline:
        plain = pipeline.score_image(patchy, pack)
    with Pipeline.from_bundle(bundle, **way) as pipeline:
        result = pipeline.score_image(patchy, pack)
    np.testing.assert_array_equal(result.scores, plain.scores)
    np.testing.assert_array_equal(result.labels, plain.labels)


@pytest.mark.parametrize("after", [6, 23])
@pytest.mark.parametrize("way", [WAYS["overlapped"], WAYS["batch 3"], WAYS["batch 4"]])
def test_an_interrupted_run_goes_on_and_ends_alike(
    after: int, way: dict[str, Any], bundle: Bundle, models: FakeModels,
    patchy: NDArray[np.uint8], write_tif: WriteTif, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("t2s_rt.pipeline.core._BLOCK_SIDES", (64,))
    path, pack = write_tif(patchy, nodata=0), pack_of(*NAMES)
    with Pipeline.from_bundle(bundle, **SEQUENTIAL) as pipeline:
        pipeline(path, pack, tmp_path / "plain")
    with Pipeline.from_bundle(bundle, **way) as pipeline:
        with pytest.raises(KeyboardInterrupt):
            pipeline(path, pack, tmp_path / "out", progress=Stop(after))
        journal = next((tmp_path / "out").glob(".*/journal*")).read_text().splitlines()
        tiles = [json.loads(line) for line in journal if '"tile"' in line]
        assert [entry["index"] for entry in tiles] == list(range(after))
        again = Stop(0)
        report = pipeline(path, pack, tmp_path / "out", progress=again)
    assert again.resumed == after and again.count == report.tiles.total - after
    assert _maps(tmp_path / "out") == _maps(tmp_path / "plain")
    assert not [t for t in threading.enumerate() if t.name.startswith("t2s-")]


@every_way
def test_a_tile_that_cannot_be_read_or_computed_fails_alone(
    way: dict[str, Any], bundle: Bundle, models: FakeModels, patchy: NDArray[np.uint8],
    write_tif: WriteTif, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    read = SceneReader.tile

    def tile(self: SceneReader, window: Any) -> Any:
        if window.index == 9:
            raise SceneReadError("expected readable pixels, found damage")
        pixels, valid = read(self, window)
        if window.index == 2:
            pixels[0, 0] = (1, 2, 3)
        return pixels, valid

    class Picky(FakeDetector):
        def detect_frames(self, frames: Sequence[NDArray[np.uint8]], pack: Any) -> Any:
            if any((frame[0, 0] == (1, 2, 3)).all() for frame in frames):
                raise BackendError("cannot stand it")
            return super().detect_frames(list(frames), pack)

    monkeypatch.setattr(SceneReader, "tile", tile)
    models.detector = Picky(models.calls)
    path, pack = write_tif(patchy, nodata=0), pack_of(*NAMES)
    for folder, settings in (("plain", SEQUENTIAL), ("out", way)):
        with (
            Pipeline.from_bundle(bundle, **settings) as pipeline,
            pytest.raises(IncompleteSceneError) as caught,
        ):
            pipeline(path, pack, tmp_path / folder)
        failures = caught.value.report.failures
        assert [(f["index"], f["reason"]) for f in failures] == [
            (2, "cannot stand it"),
            (9, "expected readable pixels, found damage"),
        ]
        assert not caught.value.report.warnings
    assert _maps(tmp_path / "out") == _maps(tmp_path / "plain")


def test_a_batch_that_does_not_fit_ends_batching_and_is_told(
    bundle: Bundle, models: FakeModels, patchy: NDArray[np.uint8], write_tif: WriteTif,
    tmp_path: Path,
) -> None:  # fmt: skip
    sizes: list[int] = []

    class Small(FakeClip):
        def dense_windows(self, tiles: Sequence[NDArray[np.uint8]]) -> Any:
            sizes.append(len(tiles))
            if len(tiles) > 1:
                raise BackendError("out of memory")
            return super().dense_windows(list(tiles))

    models.clip = Small(models.calls)
    path, pack, progress = write_tif(patchy, nodata=0), pack_of(*NAMES), Stop(0)
    with Pipeline.from_bundle(bundle, **SEQUENTIAL) as pipeline:
        pipeline(path, pack, tmp_path / "plain")
    sizes.clear()
    with Pipeline.from_bundle(bundle, workers=1, batch=4) as pipeline:
        report = pipeline(path, pack, tmp_path / "out", progress=progress)
    assert sizes.count(4) == 1 and set(sizes) == {1, 4}
    assert report.tiles.failed == 0 and report.timings.tiles_per_call == 1
    [warning] = report.warnings
    assert "4 tiles in one call failed" in warning and "out of memory" in warning
    assert progress.notes == [warning]
    assert _maps(tmp_path / "out") == _maps(tmp_path / "plain")


class _Slow(FakeDetector):
    def detect(self, image: Any, pack: Any) -> Any:
        time.sleep(0.02)
        return super().detect(image, pack)


def _slow_reading(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    read = SceneReader.tile

    def tile(self: SceneReader, window: Any) -> Any:
        time.sleep(seconds)
        return read(self, window)

    monkeypatch.setattr(SceneReader, "tile", tile)


def test_reading_hides_behind_computing_only_where_it_is_ahead(
    bundle: Bundle, models: FakeModels, image: NDArray[np.uint8], write_tif: WriteTif,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _slow_reading(monkeypatch, 0.005)
    models.detector = _Slow(models.calls)
    path, pack = write_tif(image), pack_of(*NAMES)
    with Pipeline.from_bundle(bundle, **SEQUENTIAL) as pipeline:
        plain = pipeline(path, pack, tmp_path / "plain").timings
    with Pipeline.from_bundle(bundle, workers=1) as pipeline:
        ahead = pipeline(path, pack, tmp_path / "out").timings
    assert plain.overlap == 0.0
    assert plain.read_s >= 12 * 0.005 and ahead.read_s >= 12 * 0.005
    # of twelve tiles the first alone has nothing to hide behind
    assert ahead.overlap is not None and ahead.overlap > 0.5
    assert ahead.read_hidden_s <= ahead.read_s <= ahead.wall_s


def test_stages_of_a_tile_are_not_counted_twice(bundle: Bundle, models: FakeModels) -> None:
    """Encoders that wait for each other take the time that they take together."""
    meet = threading.Barrier(3, timeout=30)

    def late(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            meet.wait()
            time.sleep(0.05)
            meet.wait()
            return function(*arguments)

        return run

    models.detector.detect = late(models.detector.detect)
    models.segmenter.encode = late(models.segmenter.encode)
    models.clip.dense = late(models.clip.dense)
    scene = paint_scene(TILE, TILE, *PATCHES[:1])
    with Pipeline.from_bundle(bundle, side_by_side=True) as pipeline:
        start = time.perf_counter()
        result = pipeline.score_image(scene, pack_of(*NAMES))
        wall = time.perf_counter() - start
    assert {"detector", "mask_encoder", "clip", "route"} <= set(result.seconds)
    together = sum(result.seconds[name] for name in ("detector", "mask_encoder", "clip"))
    assert 0.05 <= together <= wall
    assert sum(result.seconds.values()) <= wall


@pytest.mark.parametrize("reads", [0.0, 0.004])
@pytest.mark.parametrize(
    ("workers", "batch", "ahead"), [(1, 1, None), (2, 1, None), (1, 4, None), (2, 2, 5), (1, 1, 0)]
)
def test_few_tiles_are_alive_whatever_the_scene(
    workers: int, batch: int, ahead: int | None, reads: float, bundle: Bundle,
    models: FakeModels, write_tif: WriteTif, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _slow_reading(monkeypatch, reads)
    alive: weakref.WeakSet[TilePixels] = weakref.WeakSet()
    most, lock = 0, threading.Lock()
    timed = TilePixels.timed.__func__  # type: ignore[attr-defined]

    def watched(cls: type[TilePixels], read: Any) -> TilePixels:
        nonlocal most
        pixels: TilePixels = timed(cls, read)
        with lock:
            alive.add(pixels)
            most = max(most, len(alive))
        return pixels

    monkeypatch.setattr(TilePixels, "timed", classmethod(watched))
    monkeypatch.setattr(TilePixels, "__hash__", object.__hash__)
    models.detector = _Slow(models.calls)
    tall = paint_scene(2400, 64, ("water", (0, 2400, 0, 30)), ("building", (50, 80, 30, 60)))
    settings: dict[str, Any] = {"workers": workers, "batch": batch, "read_ahead": ahead}
    gc.disable()  # reference counting alone must let go of them
    try:
        with Pipeline.from_bundle(bundle, **settings) as pipeline:
            report = pipeline(write_tif(tall), pack_of("building", "water"), tmp_path / "out")
    finally:
        gc.enable()
    assert report.tiles.total == 43
    # at work, waiting for a worker or being gathered, and ahead: one of these is being read
    assert most <= (workers + 1) * batch + max(1, batch if ahead is None else ahead)


@pytest.mark.parametrize(
    "changes", [{"batch": 0}, {"batch": 5}, {"read_ahead": -1}, {"read_ahead": 65}]
)
def test_settings_that_no_run_could_use(changes: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=str(next(iter(changes.values())))):
        PipelineSettings(**changes)  # type: ignore[arg-type]


class _Session:
    def __init__(self, device: str, size: int) -> None:
        self.device = device
        self.entry = type("Entry", (), {"files": [type("File", (), {"bytes": size})]})


@pytest.mark.parametrize(
    ("device", "size", "batch", "together"),
    [("cpu", 1 << 20, 1, False), ("cuda", 1 << 20, 4, True), ("cuda", 1 << 30, 1, True)],
)
def test_what_auto_takes(device: str, size: int, batch: int, together: bool) -> None:
    models: Any = FakeModels()
    models.sessions = (_Session(device, size),)
    made: Any = (models, None, None, None, TILE)
    with TileScorer(*made, batch=None, side_by_side=None) as scorer:
        assert (scorer.batch, scorer.side_by_side) == (batch, together)


def test_nanos_map_is_the_same_to_the_byte(example_scene: Path, tmp_path: Path) -> None:
    """With real kernels, one thread for each tile: another number of them rounds otherwise."""
    bundle = load_bundle()
    assert bundle.default_pack is not None
    pack = load_pack(bundle.default_pack, bundle)
    ways: dict[str, dict[str, Any]] = {
        "plain": {"threads": 1, **SEQUENTIAL},
        "overlapped": {"threads": 2, "workers": 2},
        "batched": {"threads": 2, "workers": 2, "batch": 3, "side_by_side": True},
    }
    for name, settings in ways.items():
        with Pipeline.from_bundle(bundle, **settings) as pipeline:
            report = pipeline(example_scene, pack, tmp_path / name)
        assert report.found and report.tiles.total == 4
    plain = _maps(tmp_path / "plain", "lakeside")
    assert _maps(tmp_path / "overlapped", "lakeside") == plain
    assert _maps(tmp_path / "batched", "lakeside") == plain


def test_models_that_cannot_be_opened_leave_no_thread(
    bundle: Bundle, image: NDArray[np.uint8], write_tif: WriteTif, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refuse(*_: Any, **__: Any) -> None:
        raise BackendError("no such device")

    monkeypatch.setattr(Models, "open", refuse)
    with Pipeline.from_bundle(bundle) as pipeline, pytest.raises(BackendError, match="device"):
        pipeline(write_tif(image), pack_of(*NAMES), tmp_path / "out")
    assert names(tmp_path / "out") == []
    assert not [t for t in threading.enumerate() if t.name.startswith("t2s-")]


def test_the_page_names_the_limits_of_the_code() -> None:
    page = (Path(__file__).parents[3] / "docs" / "speed.md").read_text()
    assert f"N tiles (1 to {TILES_PER_CALL})" in page
    assert f"on a GPU {TILES_PER_CALL} where the models are small" in page
    assert f"within {SMALL_MODEL_BYTES >> 20} MiB" in page
