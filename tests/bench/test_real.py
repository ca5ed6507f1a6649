"""``bench real``: the labelled real images beside what needs no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from t2s_bench.cli import bench
from t2s_bench.real import measure
from t2s_bench.real.images import SETS
from t2s_bench.real.tables import verdict_table
from t2s_bench.real.verdicts import best_route, verdicts
from t2s_rt.errors import SceneError
from t2s_rt.routes import ROUTES


def _found(**maps: tuple[float, dict[str, float | None]]) -> dict[str, Any]:
    empty = (0.0, {"building": 0.0, "water": None})
    return {
        "title": "set",
        "maps": {
            name: {"miou": miou, "iou": iou}
            for name, (miou, iou) in {
                **dict.fromkeys((*ROUTES, "kmeans", "largest"), empty),
                **maps,
            }.items()
        },
    }


def test_the_best_route_must_beat_both_baselines() -> None:
    found = _found(
        fused=(0.4, {"building": 0.5, "water": None}),
        dense=(0.3, {"building": 0.9, "water": None}),
        kmeans=(0.2, {"building": 0.6, "water": None}),
        largest=(0.4, {"building": 0.1, "water": None}),
    )
    assert best_route(found) == "fused"
    assert [(v.measure, v.value, v.baseline, v.beaten) for v in verdicts(found)] == [
        ("mean", 0.4, 0.4, False),
        ("building", 0.5, 0.6, False),
    ]
    assert verdict_table({"sets": {"set": found}}).count("| no |") == 2


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"img_0\.png: expected a file of the project's test data"):
        list(SETS[0].items(tmp_path))


def test_a_real_image_becomes_figures_and_a_sheet(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "SETS", [one for one in SETS if one.name == "vaihingen"])
    words = [
        "real", str(test_data), "-o", str(tmp_path / "real.json"), "--card",
        str(tmp_path / "figures.json"), "--sheets", str(tmp_path),
    ]  # fmt: skip
    result = CliRunner().invoke(bench, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "real.json").read_text())
    maps = record["sets"]["vaihingen"]["maps"]
    assert set(maps) == {*ROUTES, "kmeans", "largest"}
    # the most frequent class of the crop's labels, which another reader counts too
    path = test_data / "labelled/isprs_vaihingen/ann_area1_0_0_512_512.png"
    labels = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    counts = np.bincount(labels.ravel(), minlength=7)[1:7].tolist()
    largest = [v for v in maps["largest"]["iou"].values() if v]
    assert largest == [pytest.approx(max(counts) / sum(counts))]
    assert "ISPRS Vaihingen" in result.output
    section = json.loads((tmp_path / "figures.json").read_text())["sections"]["real"]
    assert section["checkpoints"] == record["checkpoints"]
    assert cv2.imread(str(tmp_path / "real_vaihingen.png")) is not None
