"""``t2s-rt infer``: outputs, order of checks, every exit code, interruption and resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import Result
from tests.runtime.cli.conftest import PATCHES, save
from tests.runtime.routes.fakes import FakeModels, paint_scene

import t2s_rt.prompts
from t2s_rt.errors import BackendError, BundleError, MissingExtraError
from t2s_rt.models import Models
from t2s_rt.pipeline.source import SceneReader
from t2s_rt.scene import SceneReadError

Run = Callable[..., Result]
ROOT = Path(__file__).parents[3]
SUFFIXES = ("labels.tif", "labels.tif.aux.xml", "confidence.tif", "gpkg", "preview.png", "json")


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _expected(*stems: str) -> list[str]:
    return sorted(f"{stem}.{suffix}" for stem in stems for suffix in SUFFIXES)


def _one_line(result: Result) -> str:
    """The only line of stderr that is an error; notes and progress may stand before it."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and result.stderr.splitlines()[-1] == errors[0]
    assert "Traceback" not in result.output
    return errors[0]


def test_scene_and_words_give_a_map(models: FakeModels, run: Run, scene: Path) -> None:
    result = run("infer", scene, "--prompts", "building, water, car")
    assert result.exit_code == 0, result.stderr
    assert _files(Path("map")) == _expected("scene")
    rows = [line.split("\t") for line in result.stdout.splitlines() if "\t" in line]
    assert rows[0] == ["scene", "class", "area km2", "objects"]
    assert [row[1] for row in rows[1:]] == ["building", "water", "car (abstained)"]
    assert float(rows[1][2]) == pytest.approx(40 * 48 * 0.25 / 1e6, rel=0.1)
    assert rows[1][3] == "1"
    assert "seconds: " in result.stdout and "detector" in result.stdout
    assert "\x1b" not in result.output
    saved = json.loads(Path("map/scene.json").read_text())
    assert saved["classes_abstained"] == ["car"] and saved["route"] == "fused"


def test_batches_give_the_same_map_and_the_report_tells(
    models: FakeModels, run: Run, scene: Path
) -> None:
    plain = run("infer", scene, "--prompts", "building, water", "-o", "plain")
    result = run("infer", scene, "--prompts", "building, water", "-o", "out", "--batch", "3")
    assert (plain.exit_code, result.exit_code) == (0, 0), result.stderr
    assert Path("out/scene.labels.tif").read_bytes() == Path("plain/scene.labels.tif").read_bytes()
    assert "up to 3 in a call" in result.stdout and "in a call" not in plain.stdout
    assert "reading: " in result.stdout and "behind other work" in result.stdout
    timings = json.loads(Path("out/scene.json").read_text())["timings"]
    assert timings["tiles_per_call"] == 3
    assert 0.0 <= timings["overlap"] <= 1.0
    assert timings["read_hidden_s"] <= timings["read_s"] <= timings["wall_s"]


def test_image_without_crs_gives_shares(models: FakeModels, run: Run, tmp_path: Path) -> None:
    path = save(tmp_path / "photo.png", paint_scene(128, 128, *PATCHES), gsd=None)
    result = run("infer", path, "--prompts", "water", "-o", "out")
    assert result.exit_code == 0, result.stderr
    assert "share %" in result.stdout and "resolution is unknown" in result.stderr
    assert "photo.geojson" in _files(Path("out"))
    told = run("infer", path, "--prompts", "water", "--scene-gsd", "0.5", "-o", "told")
    assert "area km2" in told.stdout and "unknown" not in told.stderr


def test_folder_gives_a_map_for_each_scene(models: FakeModels, run: Run, tmp_path: Path) -> None:
    image = paint_scene(64, 64, ("water", (10, 40, 10, 40)))
    for name in ("a.tif", "a.png", "b.tif"):
        save(tmp_path / "in" / name, image)
    (tmp_path / "in" / "notes.txt").write_text("no scene")
    result = run("infer", tmp_path / "in", "--prompts", "water", "-o", "out")
    assert result.exit_code == 0, result.stderr
    labels = [name for name in _files(Path("out")) if name.endswith(".labels.tif")]
    assert labels == ["a_png.labels.tif", "a_tif.labels.tif", "b.labels.tif"]


def test_broken_scene_of_a_folder_is_listed_and_the_rest_complete(
    models: FakeModels, run: Run, tmp_path: Path
) -> None:
    image = paint_scene(64, 64, ("water", (10, 40, 10, 40)))
    save(tmp_path / "in" / "b.tif", image)
    save(tmp_path / "in" / "c.tif", image)
    (tmp_path / "in" / "a.tif").write_bytes(b"II*\0 nothing else")
    result = run("infer", tmp_path / "in", "--prompts", "water", "-o", "out")
    assert result.exit_code == 6
    assert "a.tif" in _one_line(result)
    assert _files(Path("out")) == _expected("b", "c")


def test_folder_of_broken_scenes_is_a_scene_error(
    models: FakeModels, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "b.png"):
        (tmp_path / "in" / name).write_bytes(b"nothing")
    result = run("infer", tmp_path / "in", "--prompts", "water", "-o", "out")
    assert result.exit_code == 4 and _files(Path("out")) == []
    _one_line(result)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--prompts", ""),
        ("--prompts", "a;;b"),
        ("--prompts", "water", "--pack", "p.safetensors"),
        ("--prompts", "spaceship"),
        ("--prompts", "@missing.txt"),
        ("--prompts", "water", "--tile", "7"),
        ("--prompts", "water", "--gsd", "0"),
        ("--prompts", "water", "--bands", "red"),
        ("--prompts", "water", "--scene-gsd", "-1"),
        ("--prompts", "water", "-o", "file"),
        ("--prompts", "water", "--threads", "0"),
        ("--prompts", "water", "--batch", "0"),
        ("--prompts", "water", "--batch", "many"),
        (),
    ],
)
def test_words_that_cannot_be_used(
    arguments: tuple[str, ...], models: FakeModels, run: Run, scene: Path
) -> None:
    Path("file").write_text("")
    result = run("infer", scene, *arguments)
    assert result.exit_code == 2
    _one_line(result)
    assert not models.calls


def test_missing_bundle_is_3(run: Run, scene: Path) -> None:
    result = run("infer", scene, "--prompts", "water", "--bundle", "nowhere")
    assert result.exit_code == 3
    _one_line(result)


def test_missing_pack_is_3(models: FakeModels, run: Run, scene: Path) -> None:
    assert run("infer", scene, "--pack", "nowhere.safetensors").exit_code == 3


@pytest.mark.parametrize("content", [None, b"", b"II*\0", b"\x89PNG\r\n\x1a\n", b"hello"])
def test_scene_that_cannot_be_read_is_4_before_any_model(
    content: bytes | None, models: FakeModels, run: Run, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def no_text_encoder(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded before the scene was opened")

    monkeypatch.setattr(t2s_rt.prompts, "build_pack", no_text_encoder)
    path = tmp_path / "bad.tif"
    if content is not None:
        path.write_bytes(content)
    result = run("infer", path, "--prompts", "water", "-o", "out")
    assert result.exit_code == 4
    _one_line(result)
    assert _files(Path("out")) == []


def test_checks_come_in_their_order(
    models: FakeModels, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise BundleError("no bundle")

    monkeypatch.setattr(t2s_rt.bundle, "load_bundle", broken)
    Path("file").write_text("")
    missing = tmp_path / "missing.tif"
    assert run("infer", missing, "--prompts", ";;", "-o", "file").exit_code == 2
    assert "file" in run("infer", missing, "--prompts", "water", "-o", "file").stderr
    assert run("infer", missing, "--prompts", "water").exit_code == 3


def test_backend_that_is_not_installed_is_5(
    models: FakeModels, run: Run, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise MissingExtraError("the ONNX Runtime backend", "onnxruntime", "cpu")

    monkeypatch.setattr(Models, "open", missing)
    result = run("infer", scene, "--prompts", "water")
    assert result.exit_code == 5 and "t2s-rt[cpu]" in _one_line(result)
    assert _files(Path("map")) == []


def test_backend_that_fails_on_one_tile_is_6(
    models: FakeModels, run: Run, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detect = models.detector.detect

    def shaky(image: Any, pack: Any) -> Any:
        if models.calls["detector"] == 2:
            models.calls.add("detector")
            raise BackendError("device lost")
        return detect(image, pack)

    monkeypatch.setattr(models.detector, "detect", shaky)
    result = run("infer", scene, "--prompts", "building, water")
    assert result.exit_code == 6 and "device lost" in _one_line(result)
    assert _files(Path("map")) == _expected("scene")


def test_unreadable_tile_is_6_and_all_of_them_4(
    models: FakeModels, run: Run, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = SceneReader.tile
    lost = {0}

    def tile(self: SceneReader, window: Any) -> Any:
        if window.index in lost:
            raise SceneReadError("damage")
        return read(self, window)

    monkeypatch.setattr(SceneReader, "tile", tile)
    assert run("infer", scene, "--prompts", "water", "-o", "some").exit_code == 6
    lost.update(range(100))
    result = run("infer", scene, "--prompts", "water", "-o", "none")
    assert result.exit_code == 4 and _files(Path("none")) == []


def test_planted_fault_is_70_and_leaves_no_output(
    models: FakeModels, run: Run, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(*_: Any) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(models.segmenter, "encode", planted)
    result = run("infer", scene, "--prompts", "building")
    assert result.exit_code == 70
    line = _one_line(result)
    (report,) = Path().glob("t2s-rt-fault-*.txt")
    assert report.name in line and "planted" in report.read_text()
    assert not [name for name in _files(Path("map")) if not name.startswith(".")]


def test_finished_outputs_are_never_replaced_unasked(
    models: FakeModels, run: Run, scene: Path
) -> None:
    assert run("infer", scene, "--prompts", "water").exit_code == 0
    before = {path: path.read_bytes() for path in Path("map").iterdir()}
    result = run("infer", scene, "--prompts", "building")
    assert result.exit_code == 2 and "--overwrite" in _one_line(result)
    assert {path: path.read_bytes() for path in Path("map").iterdir()} == before
    assert run("infer", scene, "--prompts", "building", "--overwrite").exit_code == 0


def test_outputs_of_a_run_are_no_scenes_of_the_next(
    models: FakeModels, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    save(folder / "a.tif", paint_scene(64, 64))
    assert run("infer", folder, "--prompts", "water", "-o", folder).exit_code == 0
    assert run("infer", folder, "--prompts", "water", "-o", folder, "--overwrite").exit_code == 0
    assert _files(folder) == sorted([*_expected("a"), "a.tif"])


def _command(seconds: float, *arguments: object) -> list[str]:
    words = [str(argument) for argument in arguments]
    return [sys.executable, "-m", "tests.runtime.cli.colours", str(seconds), *words]


def _wait_for_tiles(process: subprocess.Popen[bytes], journal: Path, tiles: int) -> None:
    for _ in range(1200):
        if journal.exists() and journal.read_bytes().count(b'"kind": "tile"') >= tiles:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    pytest.fail("the run did not get anywhere")


def _pixels(path: Path) -> Any:
    with rasterio.open(path) as source:
        return source.read()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_run_that_is_broken_off_goes_on_and_ends_alike(
    how: signal.Signals, scene: Path, tmp_path: Path
) -> None:
    arguments = ("infer", scene, "--prompts", "building, water", "-o", tmp_path / "out")
    process = subprocess.Popen(
        _command(0.5, *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # whoever starts the tests in the background may have SIGINT ignored, which is inherited
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    _wait_for_tiles(process, tmp_path / "out/.scene.t2s-work/journal.jsonl", 3)
    os.kill(process.pid, how)
    _, errors = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert errors.decode().splitlines()[-1].startswith("error: interrupted")
    else:
        assert process.returncode == -9
    assert _files(tmp_path / "out") == [".scene.t2s-work"]
    again = subprocess.run(
        _command(0, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    assert "done before" in again.stderr and "resumed" in again.stdout
    assert _files(tmp_path / "out") == _expected("scene")
    subprocess.run(
        _command(0, *arguments[:-1], tmp_path / "whole"), cwd=ROOT, capture_output=True, check=True
    )
    for name in ("scene.labels.tif", "scene.confidence.tif"):
        one, other = _pixels(tmp_path / "out" / name), _pixels(tmp_path / "whole" / name)
        np.testing.assert_array_equal(one, other)


def test_folder_that_was_broken_off_goes_on(
    models: FakeModels, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = paint_scene(64, 64, ("building", (10, 40, 10, 40)))
    for name in ("a.tif", "b.tif", "c.tif"):
        save(tmp_path / "in" / name, image)
    detect, stop = models.detector.detect, {"at": 2}

    def stopping(image: Any, pack: Any) -> Any:
        if models.calls["detector"] == stop["at"]:
            raise KeyboardInterrupt
        return detect(image, pack)

    monkeypatch.setattr(models.detector, "detect", stopping)
    arguments = ("infer", tmp_path / "in", "--prompts", "building", "-o", "out")
    assert run(*arguments).exit_code == 130
    stop["at"] = -1
    models.calls.clear()
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    assert models.calls["detector"] == 1 and "before the interruption" in result.stderr
    assert _files(Path("out")) == _expected("a", "b", "c")
    assert run(*arguments).exit_code == 2


def test_float16_graphs_run_on_the_cpu_and_the_report_says_how(
    run: Run, example_scene: Path, tmp_path: Path
) -> None:
    labels = {}
    for precision in ("fp32", "fp16"):
        out = tmp_path / precision
        result = run(
            *("infer", example_scene, "--route", "boxes", "--prompts", "building; road"),
            *("--precision", precision, "--cache", tmp_path / "engines", "-o", out),
        )
        assert result.exit_code == 0, result.stderr
        assert f"backend: onnxruntime-cpu, {precision} (auto: no tensorrt" in result.stdout
        saved = json.loads((out / f"{example_scene.stem}.json").read_text())
        assert saved["precision"] == precision
        assert saved["backend_choice"].startswith("auto: ")
        assert saved["settings"]["options"]["engines"] == str(tmp_path / "engines")
        told = [text for text in saved["warnings"] if "computes float16 graphs in float32" in text]
        assert len(told) == (precision == "fp16")
        assert ("computes float16 graphs in float32" in result.stderr) == (precision == "fp16")
        with rasterio.open(out / f"{example_scene.stem}.labels.tif") as source:
            labels[precision] = source.read(1)
    assert (labels["fp32"] == 1).any()
    assert (labels["fp32"] == labels["fp16"]).mean() > 0.98
