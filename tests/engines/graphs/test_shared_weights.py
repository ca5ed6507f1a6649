"""Graphs that share a file of weights compute what they did, and the file holds each byte once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from tests.export.graph_text import parse, run

from t2s_engines.graphs.files import SharedWeights, save_model
from t2s_engines.graphs.graph import Graph

X = {"x": np.linspace(-1, 1, 32, dtype=np.float32).reshape(2, 16)}


def weight(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(16, 32)).astype(np.float32)


def graph(first: NDArray[np.float32], second: NDArray[np.float32]) -> Graph:
    made = parse(
        "g (float[B,16] x) => (float[B,32] y) { a = MatMul(x, v) b = MatMul(x, w) y = Add(a, b) }"
    )
    made.constants.update(v=first, w=second)
    return made


def computed(path: Path) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, X)[0])


def test_equal_constants_are_stored_once_and_earlier_graphs_stay_valid(tmp_path: Path) -> None:
    shared = SharedWeights(tmp_path / "model.weights")
    a, b, c = weight(0), weight(1), weight(2)
    models = {"one": graph(a, b), "two": graph(c, a), "three": graph(b, b)}
    for name, value in models.items():
        files = save_model(value.to_model(name), tmp_path / f"{name}.onnx", weights=shared)
        assert files == (tmp_path / f"{name}.onnx", tmp_path / "model.weights")
    assert (tmp_path / "model.weights").stat().st_size == shared.bytes == 3 * a.nbytes
    for name, value in models.items():
        path = tmp_path / f"{name}.onnx"
        np.testing.assert_allclose(computed(path), run(value, X)["y"], rtol=1e-5)
        again = Graph.from_model(onnx.load(path))
        np.testing.assert_array_equal(again.constants["v"], value.constants["v"])


def test_constants_are_aligned(tmp_path: Path) -> None:
    shared = SharedWeights(tmp_path / "model.weights")
    odd = np.arange(1025, dtype=np.uint8)
    made = graph(weight(0), weight(1))
    made.constants["odd"] = odd
    made.constants = dict(sorted(made.constants.items()))  # the odd one is first
    path = tmp_path / "g.onnx"
    save_model(made.to_model("g"), path, weights=shared)
    model = onnx.load(path, load_external_data=False)
    offsets = [
        int(entry.value)
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "offset"
    ]
    assert len(offsets) == 3 and all(offset % 64 == 0 for offset in offsets)
    np.testing.assert_array_equal(Graph.from_model(onnx.load(path)).constants["odd"], odd)


def test_the_folder_may_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    made = graph(weight(0), weight(1))
    shared = SharedWeights(tmp_path / "here" / "model.weights")
    save_model(made.to_model("g"), tmp_path / "here" / "g.onnx", weights=shared)
    os.rename(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir("/")
    expected = run(made, X)["y"]
    np.testing.assert_allclose(computed(tmp_path / "there" / "g.onnx"), expected, rtol=1e-5)


def test_the_graph_file_tells_which_weights_it_has(tmp_path: Path) -> None:
    content = []
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        shared = SharedWeights(tmp_path / "model.weights")
        path = tmp_path / f"{name}.onnx"
        save_model(graph(weight(0), weight(seed)).to_model("g"), path, weights=shared)
        content.append(path.read_bytes())
    assert content[0] != content[1]
    assert content[0] == content[2]


def test_a_graph_without_large_constants_has_no_weights(tmp_path: Path) -> None:
    shared = SharedWeights(tmp_path / "model.weights")
    small = parse("g (float[B] x) => (float[B] y) <float two = {2}> { y = Mul(x, two) }")
    files = save_model(small.to_model("g"), tmp_path / "g.onnx", weights=shared)
    assert files == (tmp_path / "g.onnx",)
    assert not (tmp_path / "model.weights").exists()
