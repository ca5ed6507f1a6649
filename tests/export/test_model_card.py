"""The model card is filled from facts, and says so where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2s_export.model_card import NanoSizes, nano_documents
from t2s_export.nano.checkpoints import STAGES, CheckpointInfo
from t2s_export.nano.models import build_model
from t2s_rt.errors import BundleError
from t2s_rt.synthetic import HELD_OUT_SEEDS

SIZES = NanoSizes(0.3, 512, {"detector": "512 px", "sam": "512 px", "clip": "256 px"})
HISTORY = ({"minutes": 39.6, "steps": 1234, "images": 9872, "device": "cpu", "seed": 7},)


def card(figures: Path) -> str:
    modules = {stage: build_model(stage) for stage in STAGES}
    infos = {stage: CheckpointInfo(stage, "9.8.7", {}, HISTORY) for stage in STAGES}
    return nano_documents(modules, infos, SIZES, figures)["MODEL_CARD.md"]


def test_facts_come_from_checkpoints_and_generator(tmp_path: Path) -> None:
    text = card(tmp_path / "none.json")
    assert "| 9.8.7 | 40 min, 1,234 steps, 9,872 images, device cpu, seed 7 |" in text
    assert f"{HELD_OUT_SEEDS.start} to {HELD_OUT_SEEDS.stop - 1}" in text
    assert "No figures were recorded" in text
    assert "$" not in text


def test_measured_figures_become_a_table(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    row = {"measure": "AP50 building", "value": "0.61", "data": "200 scenes", "command": "t2s-rt x"}
    path.write_text(json.dumps({"rows": [row]}))
    text = card(path)
    assert "| AP50 building | 0.61 | 200 scenes | `t2s-rt x` |" in text
    assert "No figures" not in text


@pytest.mark.parametrize("content", ["[]", "{", '{"rows": [{"measure": "x"}]}', '{"rows": 3}'])
def test_figures_in_another_form_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "figures.json"
    path.write_text(content)
    with pytest.raises(BundleError, match=r"figures\.json: expected"):
        card(path)
