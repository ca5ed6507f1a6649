"""``infer --backend tensorrt`` from the command line, on a simulated device."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import Result
from tests.doubles import Control, tensorrt_double
from tests.runtime.backends.tensorrt.engines import build_engine, sign
from tests.runtime.cli.conftest import save
from tests.runtime.routes.fakes import paint_scene

from t2s_rt.bundle import load_bundle
from t2s_rt.plans import EngineCache

Run = Callable[..., Result]
DENSE = ("infer", "--route", "dense", "--precision", "fp32", "--prompts", "water, tree")


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    monkeypatch.setenv("T2S_CACHE", str(tmp_path / "cache"))
    with tensorrt_double("10.13") as control:
        yield control


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    image = paint_scene(96, 96, ("building", (8, 40, 8, 60)), ("water", (50, 90, 20, 90)))
    return save(tmp_path / "scene.tif", image)


def _labels(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with rasterio.open(folder / "scene.labels.tif") as source:
        band: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = source.read(1)
    return band


def test_an_engine_needs_a_verdict_or_the_users_word(
    double: Control, run: Run, picture: Path
) -> None:
    arguments = (*DENSE, picture, "--backend", "tensorrt")
    missing = run(*arguments, "-o", "a")
    assert missing.exit_code == 5
    assert "expected an engine of clip_patches fp32 for TensorRT 10.13.3.9" in missing.stderr
    assert "run t2s-rt build" in missing.stderr

    entry = load_bundle().graph("clip_patches", "fp32")
    files = build_engine(entry, EngineCache().root, verdict=None)
    refused = run(*arguments, "-o", "b")
    assert refused.exit_code == 5
    assert "run t2s-rt verify on this device, or take the risk with --allow-unverified" in (
        refused.stderr
    )

    warned = run(*arguments, "-o", "c", "--allow-unverified")
    assert warned.exit_code == 0, warned.stderr
    report = json.loads(Path("c/scene.json").read_text())
    warning = "an engine was not verified, used all the same; run t2s-rt verify on this device"
    assert report["warnings"].count(warning) == 1
    assert warning in warned.stderr

    sign(files.folder, files.sidecar.plan_sha256, "passed")
    trusted = run(*arguments, "-o", "d")
    assert trusted.exit_code == 0, trusted.stderr
    report = json.loads(Path("d/scene.json").read_text())
    assert not [text for text in report["warnings"] if "verified" in text]
    assert report["backend"] == "tensorrt"

    # the words were embedded on the CPU, and the map is the CPU's
    reference = run(*DENSE, picture, "--backend", "onnxruntime-cpu", "-o", "e")
    assert reference.exit_code == 0, reference.stderr
    np.testing.assert_array_equal(_labels(Path("d")), _labels(Path("e")))


def test_without_tensorrt_the_extra_is_named(run: Run, picture: Path) -> None:
    result = run(*DENSE, picture, "--backend", "tensorrt")
    assert result.exit_code == 5
    assert "pip install 't2s-rt[tensorrt]'" in result.stderr
