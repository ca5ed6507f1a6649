"""float16 storage keeps every number, and files above the limit get a data file beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.export.graph_text import parse, run

from t2s_engines.errors import GraphError
from t2s_engines.graphs.files import save_model
from t2s_engines.graphs.graph import Graph
from t2s_export.graphs.storage import fits_float16, store_float16

X = {"x": np.linspace(-1, 1, 32, dtype=np.float32).reshape(2, 16)}


def matmul(weight: np.ndarray) -> Graph:
    graph = parse(
        "g (float[B,16] x) => (float[B,K] y) <float[16,1] w = {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}>"
        "{ y = MatMul(x, w) }"
    )
    graph.constants["w"] = weight
    return graph


def half_weights(seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(16, 32)).astype(np.float16)
    return values.astype(np.float32)


def test_stored_weights_compute_the_same_bits() -> None:
    graph = matmul(half_weights())
    before = run(graph, X)["y"]
    report = store_float16(graph)
    assert report.stored == ("w",)
    assert report.bytes_after * 2 == report.bytes_before
    assert graph.constants["w"].dtype == np.float16
    np.testing.assert_array_equal(run(graph, X)["y"], before)
    onnx.checker.check_model(graph.to_model("g"), full_check=True)


def test_a_constant_that_would_lose_digits_stays() -> None:
    weight = half_weights()
    weight[3, 3] = np.float32(1 / 3)
    graph = matmul(weight)
    report = store_float16(graph)
    assert (report.stored, report.kept) == ((), ("w",))
    assert graph.constants["w"].dtype == np.float32


def test_a_tolerance_allows_rounding_but_never_overflow() -> None:
    weight = half_weights()
    weight[3, 3] = np.float32(1 / 3)
    assert store_float16(matmul(weight), tolerance=1e-3).stored == ("w",)
    weight[3, 3] = 70000.0
    assert store_float16(matmul(weight), tolerance=1e-3).kept == ("w",)


@pytest.mark.parametrize("value", [65520.0, -1e6, np.inf, np.nan])
def test_what_float16_cannot_hold_is_refused_at_any_tolerance(value: float) -> None:
    assert not fits_float16(np.array([1.0, value], dtype=np.float32), tolerance=1e9)


def test_tiny_numbers_that_vanish_in_float16_stay() -> None:
    assert not fits_float16(np.array([1e-9], dtype=np.float32), tolerance=0.01)


@given(arrays.arrays(np.float16, 8, elements=st.floats(-65504, 65504, width=16, allow_nan=False)))
def test_every_float16_number_is_lossless(values: np.ndarray) -> None:
    assert fits_float16(values.astype(np.float32))


@given(
    arrays.arrays(np.float32, 4, elements=st.floats(-60000, 60000, width=32, allow_subnormal=False))
)
def test_without_tolerance_only_lossless_arrays_pass(values: np.ndarray) -> None:
    same = bool((values.astype(np.float16).astype(np.float32) == values).all())
    assert fits_float16(values) == same


def test_small_constants_and_integers_are_left_alone() -> None:
    graph = parse(
        "g (float[B,4] x) => (float[B,4] y) <float[4] w = {1, 2, 3, 4}> { y = Mul(x, w) }"
    )
    assert store_float16(graph).stored == ()


def test_above_the_limit_constants_go_beside_the_graph(tmp_path: Path) -> None:
    graph = matmul(half_weights())
    before = run(graph, X)["y"]
    path = tmp_path / "graph.onnx"
    files = save_model(graph.to_model("g"), path, external_limit=1000)
    assert [file.name for file in files] == ["graph.onnx", "graph.onnx.data"]
    assert files[1].stat().st_size >= 16 * 32 * 4
    assert files[0].stat().st_size < 1000
    np.testing.assert_array_equal(run(Graph.from_model(onnx.load(path)), X)["y"], before)


def test_writing_again_does_not_append_to_the_data_file(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    sizes = []
    for _ in range(2):
        files = save_model(matmul(half_weights()).to_model("g"), path, external_limit=1000)
        sizes.append(files[1].stat().st_size)
    assert sizes[0] == sizes[1]


def test_a_graph_that_the_checker_refuses_is_no_success(tmp_path: Path) -> None:
    model = matmul(half_weights()).to_model("g")
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(GraphError, match=r"graph\.onnx.*NoSuchOperator"):
        save_model(model, tmp_path / "graph.onnx")
