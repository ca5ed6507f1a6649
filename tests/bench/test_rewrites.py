"""``bench rewrites``: forms that say the same with other operators, and what a race reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from t2s_bench.cli import bench
from t2s_bench.rewrites.forms import fused_attention, tanh_gelu, to_model
from t2s_engines.graphs.files import save_model
from t2s_engines.graphs.graph import Graph
from t2s_rt.bundle import load_bundle
from t2s_rt.contracts import Role


def _graph(role: Role) -> Graph:
    return Graph.from_model(onnx.load(load_bundle().graph(role, "fp32").path))


def _answers(graph: Graph, path: Path, feeds: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    save_model(to_model(graph), path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, feeds)]


def _cosine(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.fixture(scope="module")
def window() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"image": rng.integers(0, 256, (2, 192, 192, 3), dtype=np.uint8)}


def test_fused_attention_says_the_same(tmp_path: Path, window: dict[str, Any]) -> None:
    plain, fused = _graph("clip_dense"), _graph("clip_dense")
    softmaxes = plain.operator_counts()["Softmax"]
    places = fused_attention(fused)
    assert 0 < places <= softmaxes
    counts = fused.operator_counts()
    assert counts["MultiHeadAttention"] == places
    assert counts["Softmax"] == softmaxes - places
    for a, b in zip(
        _answers(plain, tmp_path / "a.onnx", window),
        _answers(fused, tmp_path / "b.onnx", window),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_attention_with_a_bias_stays_as_it_is() -> None:
    graph = _graph("mask_encoder")
    before = [node.SerializeToString() for node in graph.nodes]
    assert fused_attention(graph) == 0
    assert [node.SerializeToString() for node in graph.nodes] == before


def test_the_tanh_form_is_near_and_not_equal(tmp_path: Path, window: dict[str, Any]) -> None:
    plain, near = _graph("clip_dense"), _graph("clip_dense")
    places = tanh_gelu(near)
    assert places == plain.operator_counts()["Erf"] == near.operator_counts()["FastGelu"]
    first = _answers(plain, tmp_path / "a.onnx", window)[0]
    second = _answers(near, tmp_path / "b.onnx", window)[0]
    assert _cosine(first, second) > 0.999
    assert not np.array_equal(first, second)


def test_every_race_has_a_ratio_and_says_what_it_costs(tmp_path: Path) -> None:
    record_path = tmp_path / "rewrites.json"
    arguments = ["rewrites", "--graphs", "clip_dense", "--repeat", "3", "-o", str(record_path)]
    result = CliRunner().invoke(bench, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record = json.loads(record_path.read_text(encoding="utf-8"))
    names = [race["rewrite"] for race in record["races"]]
    assert len(names) == len(set(names)) == 4
    for race in record["races"]:
        low, high = race["ratio_95"]
        assert 0 < low <= race["ratio"] <= high
        assert -1e-9 <= race["moved"] < 1e-2
        assert race["rewrite"] in result.output
    assert set(record["windows"]["clip_dense"]) == {"1", "3", "9"}
