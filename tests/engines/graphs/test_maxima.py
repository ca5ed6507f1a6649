"""Magnitudes of every value, against numpy; memory; constants beyond protobuf's limit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.export.graph_text import parse

from t2s_engines.graphs import files
from t2s_engines.graphs.graph import Graph, ValueType
from t2s_engines.graphs.maxima import HALF_LIMIT, absolute_maxima


def test_maxima_over_several_inputs_are_numpys() -> None:
    graph = parse(
        """g (float[5] x) => (float[5] y, int32[5] n) <float[1] k = {-3}>
        { a = Mul(x, k) b = Exp(a) y = Neg(b) n = Cast<to = 6>(x) }"""
    )
    random = np.random.default_rng(0)
    inputs = [random.normal(0, 1, 5).astype(np.float32) for _ in range(3)]
    found = absolute_maxima(graph, [{"x": values} for values in inputs])
    stack = np.stack(inputs)
    assert list(found) == ["a", "b", "y"]
    assert found["a"] == np.abs(stack * np.float32(-3)).max()
    np.testing.assert_allclose(found["b"], np.exp(-3 * stack).max(), rtol=1e-6)
    assert found["y"] == found["b"]


def test_only_the_values_asked_for_are_measured() -> None:
    graph = parse("g (float[2] x) => (float[2] y) { a = Exp(x) b = Mul(a, a) y = Neg(b) }")
    found = absolute_maxima(graph, [{"x": np.array([0, 1], np.float32)}], {"b"})
    assert found == {"b": pytest.approx(np.e**2, rel=1e-6)}


def test_an_overflow_shows_by_how_much_and_what_follows_is_infinite() -> None:
    graph = parse(
        """g (float[2] x) => (float[2] y)
        { h = Cast<to = 10>(x) s = Mul(h, h) t = Transpose(s) d = Sub(t, t) y = Cast<to = 1>(d) }"""
    )
    found = absolute_maxima(graph, [{"x": np.array([300, 1], np.float32)}])
    assert found["h"] == 300
    assert found["s"] == 90000 > HALF_LIMIT
    assert found["t"] == np.inf
    assert found["d"] == np.inf  # NaN


def test_no_feeds_no_magnitudes() -> None:
    graph = parse("g (float[2] x) => (float[2] y) { y = Neg(x) }")
    assert absolute_maxima(graph, []) == {"y": 0.0}


def test_an_integer_that_no_float16_holds_is_infinite() -> None:
    graph = parse(
        "g (int32[2] i) => (float[2] y) { h = Cast<to = 10>(i) y = Cast<to = 1>(h) }"
    )  # fmt: skip
    found = absolute_maxima(graph, [{"i": np.array([70000, 1], np.int32)}])
    assert found == {"h": np.inf, "y": np.inf}


def test_constants_beside_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    # 2 GiB of constants take the same way; a small limit stands in for the big one
    save = files.save_model
    monkeypatch.setattr(files, "save_model", lambda model, path: save(model, path, 1000))
    values = np.arange(4096, dtype=np.float16).reshape(64, 64)
    graph = Graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"w": values},
        {"x": ValueType(TensorProto.FLOAT16, (1, 64))},
        {"y": ValueType(TensorProto.FLOAT16, (1, 64))},
        17,
    )
    found = absolute_maxima(graph, [{"x": np.eye(64, dtype=np.float16)[:1] * 2}])
    assert found == {"y": 126.0}


_CHAIN = """
import numpy as np, psutil, threading
from onnx import helper, TensorProto
from t2s_engines.graphs.graph import Graph, ValueType
from t2s_engines.graphs.maxima import absolute_maxima
kind = ValueType(TensorProto.{kind}, (2048, 2048))
nodes = [helper.make_node("Sin", [f"v{{i}}"], [f"v{{i + 1}}"]) for i in range({length})]
graph = Graph(nodes, {{}}, {{"v0": kind}}, {{"v{length}": kind}}, 17)
feed = np.ones((2048, 2048), np.{dtype})
peak, done = 0, threading.Event()
def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, psutil.Process().memory_info().rss)
before = psutil.Process().memory_info().rss
threading.Thread(target=watch).start()
found = absolute_maxima(graph, [{{"v0": feed}}])
done.set()
assert len(found) == {length}
print((peak - before) >> 20)
"""


@pytest.mark.parametrize(("kind", "dtype"), [("FLOAT", "float32"), ("FLOAT16", "float16")])
def test_memory_does_not_grow_with_the_number_of_values(kind: str, dtype: str) -> None:
    script = _CHAIN.format(kind=kind, dtype=dtype, length=60)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    mebibytes = int(done.stdout)
    assert mebibytes < 60 * 16 / 3  # 16 MiB a value; kept, they would take 960
