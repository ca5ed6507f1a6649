"""The bench on small cases: records that hold what they say, and geometry that loses nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from t2s_bench.cli import bench
from t2s_bench.nano.working import WorkingScene
from t2s_bench.readme import render_readme
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.routes import ROUTES
from t2s_rt.synthetic import GENERATOR_VERSION


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle()


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(bench, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_accuracy_and_speed_become_records_and_tables(tmp_path: Path) -> None:
    _run("nano", "--limit", "2", "--size", "192", "-o", str(tmp_path / "nano.json"), "--card",
         str(tmp_path / "figures.json"), "--sheets", str(tmp_path))  # fmt: skip
    _run("run", "--size", "256", "--repeat", "1", "--parts", "scene", "-o",
         str(tmp_path / "run.json"))  # fmt: skip
    _run("scenes", "--count", "2", "--size", "64", "-o", str(tmp_path / "scenes.json"))
    records = {p.stem: json.loads(p.read_text()) for p in tmp_path.glob("*.json")}
    accuracy, speed = records["nano"], records["run"]
    assert accuracy["generator_version"] == GENERATOR_VERSION and accuracy["scenes"] == 2
    assert set(accuracy["detector"]["classes"]) == {"building", "tree", "car"}
    assert set(accuracy["miou"]) == {*ROUTES, "kmeans", "largest"}
    assert all(0 <= v <= 1 for v in accuracy["miou"].values())
    (section,) = records["figures"]["sections"].values()
    assert section["checkpoints"] == accuracy["checkpoints"]
    assert set(section["checkpoints"]) == {
        "clip.safetensors",
        "detector.safetensors",
        "sam.safetensors",
    }
    assert f"{accuracy['miou']['dense']:.3f}" in section["text"]
    for name in ("predictions", "failures"):
        sheet = cv2.imread(str(tmp_path / f"nano_{name}.png"))
        assert sheet is not None and sheet.std() > 20
    scene = speed["scene"]
    assert scene["tiles"] == 1 and len(scene["warm_s"]) == 1
    assert 0 < scene["warm_s"][0] <= sum(scene["stages_s"].values()) * 2
    assert scene["peak_rss_bytes"] >= scene["rss_before_bytes"] > 0
    assert scene["km2_per_second"] == pytest.approx(
        scene["tiles_per_second"] * (256 * speed["gsd"] / 1000) ** 2
    )
    assert records["scenes"]["per_second"] > 0
    text = "".join(
        f"<!-- figures: {name} -->\nstale\n<!-- end of figures -->\n"
        for name in ("nano", "run", "scenes")
    )
    written = render_readme(text, tmp_path)
    assert "stale" not in written and render_readme(written, tmp_path) == written
    assert f"{accuracy['miou']['dense']:.3f}" in written
    page = tmp_path / "README.md"
    page.write_text(text)
    assert "written" in _run("readme", str(page), "--records", str(tmp_path))
    assert page.read_text() == written
    assert "up to date" in _run("readme", str(page), "--records", str(tmp_path))


@given(st.integers(40, 700), st.floats(0.05, 1.0), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_boxes_come_back_from_the_tile_that_owns_them(side: int, gsd: float, seed: int) -> None:
    bundle = load_bundle()
    working = WorkingScene.of(np.zeros((side, side, 3), np.uint8), gsd, bundle)
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, side, (20, 2))
    high = low + (side - low) * rng.uniform(0.0, 0.2, (20, 2))
    boxes = np.concatenate([low, high], 1).astype(np.float32)
    owners = working.owners(boxes)
    assert math.isclose(working.scale, side / working.image.shape[0])
    for tile, pixels in working.tiles():
        assert pixels.shape == (tile.height, tile.width, 3)
        mine = boxes[owners == tile.index]
        local = working.to_tile(mine, tile)
        inside = (local > 0).all(1) & (local < [tile.width, tile.height] * 2).all(1)
        back = working.to_scene(local[inside], tile)
        np.testing.assert_allclose(back, mine[inside], atol=1e-2 * max(1.0, working.scale))
        centres = (local[:, :2] + local[:, 2:]) / 2
        assert (centres >= -1e-3).all() and (centres <= [tile.width, tile.height]).all()


def test_what_lies_in_the_padding_is_nobodys(bundle: Bundle) -> None:
    side = 100
    working = WorkingScene.of(np.zeros((side, side, 3), np.uint8), bundle.gsd, bundle)
    (tile, pixels) = next(working.tiles())
    assert pixels.shape[0] > side
    boxes = np.array([[10, 10, 30, 30], [110, 10, 130, 30], [10, 150, 30, 180]], np.float32)
    assert working.owners(working.to_scene(boxes, tile)).tolist() == [0, -1, -1]
