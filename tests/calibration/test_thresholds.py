"""``calibrate thresholds``: what is planted is found, and packs carry it to where maps are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from t2s_calibration.thresholds.choice import GRID, choose, mean_iou
from t2s_calibration.thresholds.planes import ScoredTile, bare
from t2s_export.nano_bundle import THRESHOLDS
from t2s_rt.bundle import load_bundle
from t2s_rt.cli.main import cli
from t2s_rt.evaluation import ConfusionMatrix
from t2s_rt.prompts import load_pack
from t2s_rt.routes.decision import MapRule, decide
from t2s_rt.synthetic.__main__ import write_folder

TARGETS = np.array([0, 1, 2], np.uint8)
NAMES = ("other", "a", "b")


def _tile(truth: NDArray[np.uint8], scores: NDArray[np.floating]) -> ScoredTile:
    return ScoredTile(truth, np.rint(scores * 255).astype(np.uint8))


def _planted(border: float, seed: int) -> ScoredTile:
    """Class a is right exactly where it scores above the border; b scores nothing."""
    scores = np.zeros((2, 40, 40))
    scores[0] = np.random.default_rng(seed).uniform(0, 1, (40, 40))
    return _tile((scores[0] > border).astype(np.uint8), scores)


@given(st.sampled_from(GRID[:-1]), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_planted_threshold_is_found(border: float, seed: int) -> None:
    tiles = [_planted(border, seed)]
    found = choose(tiles, 0.3, TARGETS, NAMES, 3)
    assert found.after > 0.9
    assert abs(found.thresholds[0] - border) <= 0.1
    # a class that scores nothing keeps the default
    assert found.thresholds[1] == 0.3
    assert found.after == mean_iou(tiles, found.thresholds, TARGETS, NAMES, 3)
    assert found.before == mean_iou(tiles, (0.3, 0.3), TARGETS, NAMES, 3) <= found.after


def test_noise_moves_nothing() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, (50, 50)).astype(np.uint8)
    sure = np.stack([truth == 1, truth == 2]).astype(np.float64)
    assert choose([_tile(truth, sure)], 0.35, TARGETS, NAMES, 3).thresholds == (0.35, 0.35)


@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(GRID), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_pixels_are_decided_as_maps_are(seed: int, limits: list[float]) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 256, (3, 12, 12)).astype(np.uint8)
    truth = rng.integers(0, 4, (12, 12)).astype(np.uint8)
    rule = MapRule(np.asarray(limits, np.float32), (False,) * 3, (False,) * 3)
    names, targets = ("n", "a", "b", "c"), np.arange(4, dtype=np.uint8)
    # on steps of 1/255 a limit between two of them must fall the same way
    labels, _ = decide(np.asarray(scores / 255, np.float32), rule)
    matrix = ConfusionMatrix(names)
    matrix.add(truth, labels)
    found = mean_iou([ScoredTile(truth, scores)], limits, targets, names, 4)
    assert found == pytest.approx(matrix.miou(range(4)), abs=0.02)


def _invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    write_folder(root, 910_000, 3, 128, 0.3)
    return root


def test_a_pack_learns_and_eval_goes_by_it(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "fitted.safetensors"
    command = ("calibrate", "thresholds", "synthetic", scenes, "--route", "dense", "-o", out)
    result = _invoke(*command)
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(out.with_suffix(".json").read_text())
    dense = record["routes"]["dense"]
    assert record["schema_version"] == 1 and record["tiles"] == 3
    assert dense["miou_after"] >= dense["miou_before"]
    pack = load_pack(out, load_bundle())
    moved = {n: v for n, v in dense["classes"].items() if v != dense["default"]}
    assert moved, "three small scenes move some threshold of nano"
    fitted = {c.name: c.thresholds["dense"] for c in pack.classes if "dense" in c.thresholds}
    assert fitted == moved
    # what the bundle says about other routes stays
    boxes = {c.name: c.thresholds["detector"] for c in pack.classes if "detector" in c.thresholds}
    assert boxes == {name: value["detector"] for name, value in THRESHOLDS.items()}
    assert all(not entry.thresholds for entry in bare(pack).classes)
    for name, words in (("plain", ()), ("fitted", ("--pack", out))):
        where = tmp_path / name
        done = _invoke("eval", "synthetic", scenes, "--route", "dense", *words, "-o", where)
        assert done.exit_code == 0, done.output
    plain, fitted = (
        json.loads((tmp_path / name / "metrics.json").read_text())["miou"]
        for name in ("plain", "fitted")
    )
    assert fitted > plain
    assert fitted == pytest.approx(dense["miou_after"], abs=0.01)
    assert "route dense" in out.with_suffix(".md").read_text()
    before = out.read_bytes()
    again = _invoke(*command)
    assert again.exit_code == 2 and "--overwrite" in again.output
    assert out.read_bytes() == before


def test_outputs_are_checked_before_any_work(scenes: Path, tmp_path: Path) -> None:
    for output in (tmp_path / "none" / "a.safetensors", tmp_path / "a.json"):
        result = _invoke("calibrate", "thresholds", "synthetic", scenes, "-o", output)
        assert result.exit_code == 2 and "expected" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_root_without_labels_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    out = tmp_path / "a.safetensors"
    result = _invoke("calibrate", "thresholds", "loveda", root, "-o", out)
    assert result.exit_code == 4 and not out.exists()
