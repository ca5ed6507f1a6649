"""Whole scenes through the pipeline, with models whose right answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from tests.runtime.pipeline.conftest import NAMES, OUTPUTS, PATCHES, TILE, Stop, labels_of, names
from tests.runtime.routes.fakes import FakeDetector, FakeModels, is_word, pack_of, paint_scene

from t2s_rt.bundle import Bundle
from t2s_rt.errors import BackendError, OutputError, PackError, SceneError, UsageError
from t2s_rt.pipeline import IncompleteSceneError, Pipeline
from t2s_rt.pipeline.source import SceneReader
from t2s_rt.routes import ROUTES, RouteName
from t2s_rt.scene import SceneReadError

WriteTif = Callable[..., Path]


def _iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((found & truth).sum() / max((found | truth).sum(), 1))


def test_scene_comes_back_as_it_was_painted(
    bundle: Bundle,
    models: FakeModels,
    image: NDArray[np.uint8],
    write_tif: WriteTif,
    tmp_path: Path,
) -> None:
    path, out = write_tif(image), tmp_path / "out"
    with Pipeline.from_bundle(bundle) as pipeline:
        report = pipeline(path, pack_of(*NAMES), out)
    assert models.closed and models.calls["opened"] == 1
    labels = labels_of(out)
    for value, name in enumerate(NAMES, 1):
        assert _iou(labels == value, is_word(image, name)) > 0.85, name
    assert names(out) == sorted(f"scene.{suffix}" for suffix in OUTPUTS)
    with rasterio.open(path) as scene, rasterio.open(out / "scene.labels.tif") as made:
        assert (made.crs, made.transform, made.shape) == (scene.crs, scene.transform, scene.shape)
    with rasterio.open(out / "scene.confidence.tif") as made:
        confidence = made.read(1)
    assert ((confidence > 0) == (labels > 0)).all()
    saved = json.loads((out / "scene.json").read_text())
    assert saved["schema_version"] == 1
    assert saved["classes_found"] == list(NAMES) == list(report.found)
    assert saved["tiles"] == {"total": 12, "done": 12, "resumed": 0, "skipped": 0, "failed": 0}
    assert {"read", "detector", "mask_encoder", "mask_decoder", "clip", "compose"} <= set(
        saved["seconds"]
    )
    building = report.classes[0]
    truth = int(is_word(image, "building").sum())
    assert building.pixels == pytest.approx(truth, rel=0.1)
    assert building.area_m2 == pytest.approx(building.pixels * 0.25, rel=0.01)
    assert building.objects == 2


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_makes_every_file(
    route: RouteName, bundle: Bundle, models: FakeModels, write_tif: WriteTif,
    image: NDArray[np.uint8], tmp_path: Path,
) -> None:  # fmt: skip
    with Pipeline.from_bundle(bundle, route=route) as pipeline:
        report = pipeline(write_tif(image), pack_of("building", "water"), tmp_path / "out")
    assert report.route == route
    assert "building" in report.found
    assert names(tmp_path / "out") == sorted(f"scene.{suffix}" for suffix in OUTPUTS)


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_encoders_run_once_per_tile_whatever_the_classes(
    classes: int, bundle: Bundle, models: FakeModels, image: NDArray[np.uint8]
) -> None:
    with Pipeline.from_bundle(bundle) as pipeline:
        pipeline.score_image(image, pack_of(*("building", "road", "water", "car")[:classes]))
    assert models.calls["detector"] == 12
    assert models.calls["mask_encoder"] <= 12
    assert models.calls["clip_dense"] == (12 if classes > 1 else 0)


def test_scene_without_crs_gives_pixels(
    bundle: Bundle,
    models: FakeModels,
    image: NDArray[np.uint8],
    write_tif: WriteTif,
    tmp_path: Path,
) -> None:
    progress = Stop(0)
    with Pipeline.from_bundle(bundle) as pipeline:
        path = write_tif(image, crs=None)
        report = pipeline(path, pack_of("water"), tmp_path / "out", progress=progress)
    assert "scene.geojson" in names(tmp_path / "out")
    assert report.classes[0].area_m2 is None and report.classes[0].share > 0.2
    assert any("unknown" in note for note in progress.notes)
    assert list(report.warnings) == progress.notes


def test_finer_scene_is_worked_at_the_bundle_resolution(
    bundle: Bundle, models: FakeModels, write_tif: WriteTif, tmp_path: Path
) -> None:
    fine = paint_scene(160, 200, *PATCHES).repeat(4, axis=0).repeat(4, axis=1)
    with Pipeline.from_bundle(bundle) as pipeline:
        report = pipeline(write_tif(fine, gsd=0.125), pack_of(*NAMES), tmp_path / "out")
    assert report.tiles.total == 12 and report.working_gsd == pytest.approx(0.5)
    labels = labels_of(tmp_path / "out")
    assert labels.shape == (640, 800)
    for value, name in enumerate(NAMES, 1):
        assert _iou(labels == value, is_word(fine, name)) > 0.85, name


def test_coarse_scene_is_enlarged(
    bundle: Bundle, models: FakeModels, write_tif: WriteTif, tmp_path: Path
) -> None:
    coarse = paint_scene(80, 100, ("water", (20, 60, 30, 80)))
    with Pipeline.from_bundle(bundle, route="dense") as pipeline:
        report = pipeline(write_tif(coarse, gsd=1.0), pack_of("water"), tmp_path / "out")
    assert report.tiles.total == 12
    assert _iou(labels_of(tmp_path / "out") == 1, is_word(coarse, "water")) > 0.9


def test_image_in_memory_equals_the_scene_on_disk(
    bundle: Bundle,
    models: FakeModels,
    image: NDArray[np.uint8],
    write_tif: WriteTif,
    tmp_path: Path,
) -> None:
    pack = pack_of(*NAMES)
    with Pipeline.from_bundle(bundle) as pipeline:
        result = pipeline.score_image(image, pack, gsd=0.5)
        pipeline(write_tif(image), pack, tmp_path / "out")
    np.testing.assert_array_equal(result.labels, labels_of(tmp_path / "out"))
    assert result.scores.shape == (4, 160, 200)


def test_tile_borders_leave_no_seam(bundle: Bundle, models: FakeModels) -> None:
    water = paint_scene(200, 200, ("water", (0, 200, 0, 200)))
    with Pipeline.from_bundle(bundle, route="dense") as pipeline:
        result = pipeline.score_image(water, pack_of("water"))
    assert (result.labels == 1).all()
    assert np.ptp(result.confidence) < 0.01


def test_nodata_is_nodata_and_empty_tiles_are_skipped(
    bundle: Bundle,
    models: FakeModels,
    image: NDArray[np.uint8],
    write_tif: WriteTif,
    tmp_path: Path,
) -> None:
    image[:, 100:] = 0
    with Pipeline.from_bundle(bundle) as pipeline:
        report = pipeline(write_tif(image, nodata=0), pack_of(*NAMES), tmp_path / "out")
    labels = labels_of(tmp_path / "out")
    assert (labels[:, 100:] == 255).all() and not (labels[:, :100] == 255).any()
    assert report.tiles.skipped > 0 and report.nodata_pixels == 160 * 100


def test_scene_without_data_needs_no_model(
    bundle: Bundle, models: FakeModels, write_tif: WriteTif, tmp_path: Path
) -> None:
    empty = np.zeros((70, 70, 3), np.uint8)
    with Pipeline.from_bundle(bundle) as pipeline:
        report = pipeline(write_tif(empty, nodata=0), pack_of("water"), tmp_path / "out")
    assert models.calls["opened"] == 0
    assert (labels_of(tmp_path / "out") == 255).all()
    assert report.abstained == ("water",)
    assert any("no pixel" in warning for warning in report.warnings)


def test_absent_classes_abstain_and_the_files_are_there(
    bundle: Bundle, models: FakeModels, write_tif: WriteTif, tmp_path: Path
) -> None:
    with Pipeline.from_bundle(bundle) as pipeline:
        path = write_tif(paint_scene(70, 70))
        report = pipeline(path, pack_of("building", "water"), tmp_path / "out")
    assert report.abstained == ("building", "water") and report.found == ()
    assert not labels_of(tmp_path / "out").any()
    assert len(names(tmp_path / "out")) == len(OUTPUTS)
    assert any("abstained" in warning for warning in report.warnings)


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Indices of tiles that cannot be read."""
    lost: set[int] = set()
    read = SceneReader.tile

    def tile(self: SceneReader, window: Any) -> Any:
        if window.index in lost:
            raise SceneReadError(f"expected readable pixels in tile {window.index}, found damage")
        return read(self, window)

    monkeypatch.setattr(SceneReader, "tile", tile)
    return lost


def test_failed_tile_is_listed_and_the_rest_is_complete(
    bundle: Bundle, models: FakeModels, image: NDArray[np.uint8], write_tif: WriteTif,
    tmp_path: Path, unreadable: set[int],
) -> None:  # fmt: skip
    path, pack = write_tif(image), pack_of(*NAMES)
    with Pipeline.from_bundle(bundle) as pipeline:
        pipeline(path, pack, tmp_path / "whole")
        unreadable.add(5)
        with pytest.raises(IncompleteSceneError, match="1 of 12 tiles") as caught:
            pipeline(path, pack, tmp_path / "out")
    whole, labels = labels_of(tmp_path / "whole"), labels_of(tmp_path / "out")
    lost = labels == 255
    # tile 5 covers rows 48..112 and columns 48..112 or so; only what no neighbour saw is lost
    assert 0 < lost.sum() < TILE * TILE
    far = np.ones_like(lost)
    far[48 - 8 : 120 + 8, 40:130] = False
    np.testing.assert_array_equal(labels[far], whole[far])
    report = caught.value.report
    assert report.tiles.failed == 1 and report.tiles.done == 11
    assert json.loads((tmp_path / "out/scene.json").read_text())["failed_tiles"][0]["index"] == 5
    assert caught.value.exit_code == 6


def test_no_tile_readable_is_a_broken_scene_and_leaves_nothing(
    bundle: Bundle, models: FakeModels, image: NDArray[np.uint8], write_tif: WriteTif,
    tmp_path: Path, unreadable: set[int],
) -> None:  # fmt: skip
    unreadable.update(range(12))
    with Pipeline.from_bundle(bundle) as pipeline, pytest.raises(SceneError, match="no tile"):
        pipeline(write_tif(image), pack_of(*NAMES), tmp_path / "out")
    assert names(tmp_path / "out") == [] and models.calls["opened"] == 0


def test_backend_that_always_fails_is_the_backends_error(
    bundle: Bundle, models: FakeModels, image: NDArray[np.uint8], write_tif: WriteTif,
    tmp_path: Path,
) -> None:  # fmt: skip
    class Broken(FakeDetector):
        def detect(self, image: Any, pack: Any) -> Any:
            raise BackendError("out of memory")

    models.detector = Broken(models.calls)
    with Pipeline.from_bundle(bundle) as pipeline, pytest.raises(BackendError, match="memory"):
        pipeline(write_tif(image), pack_of(*NAMES), tmp_path / "out")
    assert names(tmp_path / "out") == []


def test_backend_that_fails_once_costs_one_tile(
    bundle: Bundle, models: FakeModels, image: NDArray[np.uint8], write_tif: WriteTif,
    tmp_path: Path,
) -> None:  # fmt: skip
    class Shaky(FakeDetector):
        def detect(self, image: Any, pack: Any) -> Any:
            if self.calls["detector"] == 3:
                self.calls.add("detector")
                raise BackendError("device lost")
            return super().detect(image, pack)

    models.detector = Shaky(models.calls)
    with Pipeline.from_bundle(bundle) as pipeline, pytest.raises(IncompleteSceneError) as caught:
        pipeline(write_tif(image), pack_of(*NAMES), tmp_path / "out")
    assert [f["reason"] for f in caught.value.report.failures] == ["device lost"]


def test_finished_outputs_need_overwrite(
    bundle: Bundle, models: FakeModels, image: NDArray[np.uint8], write_tif: WriteTif,
    tmp_path: Path,
) -> None:  # fmt: skip
    path, pack, out = write_tif(image), pack_of("water"), tmp_path / "out"
    with Pipeline.from_bundle(bundle) as pipeline:
        pipeline(path, pack, out)
        before = (out / "scene.json").stat().st_mtime_ns
        with pytest.raises(OutputError, match="--overwrite"):
            pipeline(path, pack, out)
        assert (out / "scene.json").stat().st_mtime_ns == before
        pipeline(path, pack, out, overwrite=True)
        assert (out / "scene.json").stat().st_mtime_ns > before


def test_pack_of_other_encoders_is_refused_before_the_scene(
    bundle: Bundle, models: FakeModels, tmp_path: Path
) -> None:
    from dataclasses import replace

    pack = replace(pack_of("water"), fingerprint="cd" * 32)
    with Pipeline.from_bundle(bundle) as pipeline, pytest.raises(PackError, match="again"):
        pipeline(tmp_path / "missing.tif", pack, tmp_path / "out")


def test_pack_without_clip_serves_boxes_only(
    bundle: Bundle, models: FakeModels, image: NDArray[np.uint8]
) -> None:
    from dataclasses import replace

    pack = pack_of("building")
    bare = replace(
        pack,
        class_embeddings=(np.zeros((1, 0), np.float32),),
        other_words=(),
        other_embeddings=np.zeros((0, 0), np.float32),
        redundant_embedding=np.zeros(0, np.float32),
    )
    with Pipeline.from_bundle(bundle, route="boxes") as pipeline:
        assert (pipeline.score_image(image, bare).labels == 1).any()
    dense = Pipeline.from_bundle(bundle, route="dense")
    with dense as pipeline, pytest.raises(PackError, match="CLIP"):
        pipeline.score_image(image, bare)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_array_that_is_no_image_is_refused(
    image: NDArray[np.uint8], bundle: Bundle, models: FakeModels
) -> None:
    with Pipeline.from_bundle(bundle) as pipeline, pytest.raises(UsageError, match="uint8"):
        pipeline.score_image(image, pack_of("water"))
