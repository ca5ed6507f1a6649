"""The proof of the official models, on small ones: what it finds, and that it can fail."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.export.sam.conftest import SMALL
from tests.oracles import originals
from torch import nn

from t2s_bench.cli import bench
from t2s_bench.models.measure import MODELS, merge_record
from t2s_bench.models.prove import faults, prove
from t2s_bench.readme import render_readme
from t2s_bench.reference.case import Case
from t2s_bench.reference.packages import MissingOriginalError, require
from t2s_bench.reference.sam import decoder_case
from t2s_bench.reference.stages import Stages, figures
from t2s_bench.reference.weights import randomise_deep
from t2s_engines import timing
from t2s_export.architectures.sam import MaskDecoderGraph, Sam
from t2s_rt.errors import MissingExtraError, UsageError

ROOT = Path(__file__).parents[2]


def small_case(change: str = "", *, boxes: bool = False) -> Case:
    """SAM's decoder at a small size; ``change`` names a tensor that differs in ours."""
    original = originals.sam_like(SMALL)
    randomise_deep(original, 1)
    ours = Sam(SMALL).eval()
    ours.load_state_dict(original.state_dict())
    if change:
        with torch.no_grad():
            ours.state_dict()[change].mul_(1.5)
    original.requires_grad_(False)
    grid = SMALL.grid
    embedding = torch.randn(1, 32, grid, grid, generator=torch.Generator().manual_seed(2))
    graph = MaskDecoderGraph(ours)
    return decoder_case(original, graph, embedding, SMALL.image_size, boxes=boxes)


@pytest.fixture(scope="module")
def row() -> dict[str, Any]:
    found = prove(small_case(), repeat=1)
    machine = {"cores": 2, "cpu": "x", "cpu_flags": ["avx2"], "versions": {}, "date": "2026-11-25"}
    return {"model": "sam_vit_b", **found, "command": "t2s-rt bench models", "machine": machine}


def test_equal_weights_prove_equal(row: dict[str, Any]) -> None:
    assert faults(row) == []
    assert row["onnx"]["mask_logits"]["max_abs"] < 1e-4
    assert {"prompt encoder", "two-way layer 1", "iou head", "mask upscaling"} <= set(row["stages"])
    assert row["nodes"] > 100 and row["bytes"] > 10_000 and row["export_s"] > 0
    assert row["timing"]["torch"]["median"] > 0
    half = row["fp16"]["mask_logits"]
    assert 0.999 < half["cosine"] < 1 and half["max_abs"] > row["onnx"]["mask_logits"]["max_abs"]
    json.dumps(row, allow_nan=False)


def test_another_weight_is_found_where_it_is() -> None:
    name = "mask_decoder.output_hypernetworks_mlps.2.layers.1.weight"
    found = faults({"model": "m", **prove(small_case(name), repeat=None)})
    assert any("stage hypernetwork 2" in sentence for sentence in found)
    assert not any("hypernetwork 1" in sentence or "two-way" in sentence for sentence in found)
    assert any("mask_logits: cosine" in sentence for sentence in found)


@pytest.mark.parametrize(
    ("where", "change", "words"),
    [
        (("stages", "iou head"), {"cosine": 0.99}, "stage iou head"),
        (("onnx", "mask_logits"), {"cosine": 0.9999}, "expected 0.99999"),
        (("onnx", "iou"), {"max_abs": 2e-3}, "off by 0.002"),
        (("onnx", "iou"), {"spread": 0.0}, "constant"),
        (("fp16", "iou"), {"cosine": 0.99}, "in fp16"),
    ],
)
def test_every_limit_is_a_limit(
    row: dict[str, Any], where: tuple[str, str], change: dict[str, float], words: str
) -> None:
    worse = copy.deepcopy(row)
    worse[where[0]][where[1]].update(change)
    (sentence,) = faults(worse)
    assert words in sentence


def test_figures_refuse_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="shape"):
        figures(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="finite"):
        figures(np.zeros(3), np.array([0, np.nan, 1]))
    same = figures(np.eye(3), np.eye(3))
    assert (same.max_abs, same.cosine) == (0.0, 1.0) and same.spread > 0
    assert figures(np.tile(np.arange(3.0), (4, 1)), np.zeros((4, 3))).spread == 0.0


def test_a_stage_that_never_ran_is_told() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)  # type: ignore[no-any-return]

    model = Both()
    stages = Stages()
    stages.watch("used", model.used, lambda args, _, output: output + 1.0)
    stages.watch("idle", model.idle, lambda args, _, output: output)
    with pytest.raises(RuntimeError, match="idle"), stages.running():
        model(torch.randn(3, 2))
    assert stages.figures["used"].max_abs == pytest.approx(1.0)
    model(torch.randn(3, 2))  # nothing is watched any more
    assert len(stages.figures) == 1


def test_candidates_take_turns_and_disturbed_samples_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    # the second sample of each is slow, because something else was running
    samples = {"a": [(1.0, True), (9.0, False), (2.0, True)], "b": [(3.0, False)] * 4}

    def sample(run: Any) -> tuple[float, bool]:
        run()
        taken = samples[order[-1]]
        return taken[(order.count(order[-1]) - 2) % len(taken)]

    monkeypatch.setattr(timing, "_sample", sample)
    found = timing.interleave({n: lambda n=n: order.append(n) for n in "ab"}, 2)  # type: ignore[misc]
    assert order == list("abababab" + "ab")  # one of each to warm up, then twice the samples
    assert found["a"].fastest == 1.0 and found["a"].samples == 3 and not found["a"].disturbed
    assert found["b"].disturbed and found["b"].samples == 4 and found["b"].median == 3.0


def test_records_are_merged_row_by_row(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    merge_record(path, [{**row, "model": "ViT-B-16", "nodes": 1}])
    merge_record(path, [row])
    merge_record(path, [{**row, "model": "ViT-B-16", "nodes": 2}])
    rows: Sequence[dict[str, Any]] = json.loads(path.read_text())["rows"]
    assert [(entry["model"], entry["nodes"]) for entry in rows] == [
        ("sam_vit_b", row["nodes"]),
        ("ViT-B-16", 2),
    ]
    page = "<!-- figures: models -->\nold\n<!-- end of figures -->\n"
    page += "<!-- figures: stages -->\nold\n<!-- end of figures -->\n"
    written = render_readme(page, tmp_path)
    assert "old" not in written and f"| {row['nodes']} |" in written
    assert "fp16 cosine" in written and "t2s-rt bench models" in written
    path.write_text('{"nodes": 3}')
    with pytest.raises(UsageError, match="record of `bench models`"):
        merge_record(path, [row])


def test_unknown_models_are_refused_with_the_known_ones() -> None:
    result = CliRunner().invoke(bench, ["models", "--only", "sam_vit_b,resnet"])
    assert isinstance(result.exception, UsageError)
    assert "resnet" in str(result.exception)
    assert all(name in str(result.exception) for name in MODELS)


def test_a_missing_package_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = CliRunner().invoke(bench, ["models"])
    assert isinstance(result.exception, MissingExtraError)
    assert "'onnx'" in str(result.exception) and "t2s-rt[export]" in str(result.exception)
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingOriginalError, match=r"segment_anything.*requirements\.txt"):
        require(["segment_anything"])


def test_the_page_has_the_figures_of_the_record(tmp_path: Path) -> None:
    page = ROOT / "docs" / "models.md"
    text = page.read_text()
    assert text.count("<!-- figures: ") == 2
    assert render_readme(text, ROOT / "bench" / "records") == text


def test_random_weights_are_spread_everywhere() -> None:
    original = originals.sam_like(SMALL)
    randomise_deep(original, 1)
    for name, tensor in original.state_dict().items():
        assert tensor.isfinite().all() and float(tensor.std()) > 0.01, name
