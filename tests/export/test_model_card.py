"""The model card is filled from facts, and says so where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2s_export.model_card import NanoSizes, nano_documents
from t2s_export.nano.checkpoints import CHECKPOINT_DIR, STAGES, CheckpointInfo
from t2s_export.nano.models import build_model
from t2s_rt.bundle import load_bundle, sha256_file
from t2s_rt.errors import BundleError
from t2s_rt.synthetic import HELD_OUT_SEEDS

SIZES = NanoSizes(0.3, 512, {"detector": "512 px", "sam": "512 px", "clip": "256 px"})
CHECKPOINTS = {"clip.safetensors": "ab" * 32}
HISTORY = ({"minutes": 39.6, "steps": 1234, "images": 9872, "device": "cpu", "seed": 7},)


def card(figures: Path) -> str:
    modules = {stage: build_model(stage) for stage in STAGES}
    infos = {stage: CheckpointInfo(stage, "9.8.7", {}, HISTORY) for stage in STAGES}
    return nano_documents(modules, infos, SIZES, CHECKPOINTS, figures)["MODEL_CARD.md"]


def test_facts_come_from_checkpoints_and_generator(tmp_path: Path) -> None:
    text = card(tmp_path / "none.json")
    assert "| 9.8.7 | 40 min, 1,234 steps, 9,872 images, device cpu, seed 7 |" in text
    assert f"{HELD_OUT_SEEDS.start} to {HELD_OUT_SEEDS.stop - 1}" in text
    assert "No figures were recorded" in text
    assert "$" not in text


def figures(path: Path, checkpoints: dict[str, str]) -> Path:
    section = {"title": "Held-out", "text": "| AP50 | 0.61 |", "checkpoints": checkpoints}
    path.write_text(json.dumps({"sections": {"real": section, "synthetic": section}}))
    return path


def test_measured_figures_become_sections(tmp_path: Path) -> None:
    text = card(figures(tmp_path / "figures.json", CHECKPOINTS))
    assert text.count("### Held-out\n\n| AP50 | 0.61 |") == 2
    assert "No figures" not in text and "other weights" not in text
    assert f"| clip.safetensors | `{'ab' * 32}` |" in text


def test_figures_of_other_weights_say_so(tmp_path: Path) -> None:
    text = card(figures(tmp_path / "figures.json", {"clip.safetensors": "cd" * 32}))
    assert text.count("measured with other weights") == 2


def test_the_committed_card_holds_figures_of_the_committed_weights() -> None:
    bundle = load_bundle()
    text = bundle.root.joinpath("MODEL_CARD.md").read_text(encoding="utf-8")
    assert "other weights" not in text and "No figures" not in text
    for graph in bundle.manifest.graphs:
        name = str(graph.source["checkpoint"])
        digest = sha256_file(CHECKPOINT_DIR / name)
        assert graph.source["sha256"] == digest and digest in text


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"sections": {"a": {"title": 1}}}', '{"sections": 3}']
)
def test_figures_in_another_form_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "figures.json"
    path.write_text(content)
    with pytest.raises(BundleError, match=r"figures\.json: expected"):
        card(path)
