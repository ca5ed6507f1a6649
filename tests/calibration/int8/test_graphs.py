"""Layers, smoothing and Q/DQ on small graphs, against arithmetic in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from tests.export.graph_text import parse, run

from t2s_calibration.int8.histogram import Histogram
from t2s_calibration.int8.layers import layers_of, share_of_products, with_plain_weights
from t2s_calibration.int8.observe import groups_of, observe
from t2s_calibration.int8.quantise import Scheme, measured_outputs, quantised
from t2s_calibration.int8.ranges import Range, choose_range
from t2s_calibration.int8.smoothing import choose_smoothing, smoothed, smoothing_places
from t2s_engines.graphs.graph import Graph
from t2s_engines.graphs.opset import at_opset
from t2s_engines.preflight import preflight

WIDTH = 32
CPU, REDUCED, TENSORRT = Scheme("cpu"), Scheme("cpu", reduced=True), Scheme("tensorrt")
NEW_RELEASES = ("10.1", "10.16", "11.1")


def _random(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def block() -> Graph:
    """LayerNorm, two products that read it, one bias, a residual sum."""
    graph = parse(
        f"g (float[B,8,{WIDTH}] x) => (float[B,8,{WIDTH}] y) {{"
        " [norm] n = LayerNormalization <axis = -1> (x, scale, shift)"
        " [query] q = MatMul(n, wq) [key] k = MatMul(n, wk)"
        " [mix] m = Mul(q, k)"
        " [out] o = MatMul(m, wo) [bias] p = Add(o, b) [sum] y = Add(x, p) }"
    )
    graph.constants.update(
        scale=np.abs(_random(1, WIDTH)), shift=_random(2, WIDTH), b=_random(3, WIDTH),
        wq=_random(4, WIDTH, WIDTH) / 6, wk=_random(5, WIDTH, WIDTH) / 6,
        wo=_random(6, WIDTH, WIDTH) / 6,
    )  # fmt: skip
    return graph


def inputs(seed: int = 9, count: int = 3) -> list[dict[str, NDArray[Any]]]:
    return [{"x": _random(seed + i, 2, 8, WIDTH)} for i in range(count)]


def ranges_of(graph: Graph, scheme: Scheme) -> dict[str, Range]:
    layers = layers_of(graph)
    outputs = measured_outputs(layers, scheme)
    values = {layer.input for layer in layers} | set(outputs)
    seen = observe(graph, values, inputs).histograms
    found = {n: choose_range(seen[n], "minmax", scheme.symmetric) for n in values}
    return {one.name: found[one.input] for one in layers} | {n: found[n] for n in outputs}


def kinds(graph: Graph) -> Mapping[str, int]:
    return graph.operator_counts()


def test_layers_are_products_with_constant_weights() -> None:
    graph = parse(
        f"g (float[1,4,{WIDTH}] x, float[1,{WIDTH},8,8] i)"
        " => (float[1,4,4] y, float[1,16,8,8] z) {"
        " [cast] w = Cast <to = 1> (half) [first] a = MatMul(x, w)"
        " [turn] t = Transpose <perm = [0, 2, 1]> (a) [attention] s = MatMul(a, t)"
        " [batched] r = MatMul(a, rows) [narrow] u = MatMul(a, thin)"
        " [join] v = MatMul(r, t) [y] y = Add(s, v)"
        " [relu] j = Relu(i) [grouped] c = Conv <group = 2> (j, kg) [conv] z = Conv(j, kc) }"
    )
    graph.constants.update(
        half=_random(1, WIDTH, WIDTH).astype(np.float16), rows=_random(2, 1, WIDTH, WIDTH),
        thin=_random(3, WIDTH, 4), kg=_random(4, 16, WIDTH // 2, 1, 1),
        kc=_random(5, 16, WIDTH, 1, 1),
    )  # fmt: skip
    plain = with_plain_weights(graph)
    # the graph's own input is left alone: the first layer reads pixels or tokens directly
    assert [layer.name for layer in layers_of(plain)] == ["conv"]
    assert "cast" not in {node.name for node in plain.nodes}
    feeds = {"x": _random(6, 1, 4, WIDTH), "i": _random(7, 1, WIDTH, 8, 8)}
    for name, value in run(graph, feeds).items():
        np.testing.assert_array_equal(run(plain, feeds)[name], value)


def test_products_are_counted_by_row_and_weight() -> None:
    layers = layers_of(block())
    assert [layer.name for layer in layers] == ["query", "key", "out"]
    assert {layer.products for layer in layers} == {8 * WIDTH * WIDTH}
    assert share_of_products(layers, {"query"}) == pytest.approx(1 / 3)


def test_groups_give_the_same_counts_as_all_at_once() -> None:
    graph = block()
    values = {"n", "m", "q"}
    assert groups_of(graph, graph.types(), values) == [["n", "q", "m"]]
    single = 4 * 8 * WIDTH
    assert groups_of(graph, graph.types(), values, single) == [["n"], ["q"], ["m"]]
    one, each = (observe(graph, values, inputs, budget=b).histograms for b in (1 << 20, single))
    for name in values:
        assert (one[name].counts == each[name].counts).all()
        true = np.concatenate([_value(graph, name, feeds).ravel() for feeds in inputs()])
        assert one[name].high == true.max() and int(one[name].counts.sum()) == true.size


def _value(graph: Graph, name: str, feeds: Mapping[str, Any]) -> NDArray[np.float32]:
    shown = Graph(
        graph.nodes, graph.constants, graph.inputs,
        {**graph.outputs, name: graph.types()[name]}, graph.opset,
    )  # fmt: skip
    return np.asarray(run(shown, feeds)[name])


def with_outliers() -> Graph:
    graph = block()
    factors = np.ones(WIDTH, np.float32)
    factors[[3, 17]] = 60.0
    graph.constants["scale"] = np.asarray(graph.constants["scale"], np.float32) * factors
    return graph


def test_smoothing_changes_nothing_but_the_error() -> None:
    graph = with_outliers()
    layers = layers_of(graph)
    places = smoothing_places(graph, layers)
    assert places == {"norm": ("key", "query")}
    channels = observe(graph, {"n"}, inputs, channels=True).channels
    (found,) = choose_smoothing(graph, layers, places, channels)
    assert found.gain < 0.5
    even = smoothed(graph, [found])
    feeds = inputs(40, 1)[0]
    true = run(graph, feeds)["y"]
    np.testing.assert_allclose(run(even, feeds)["y"], true, rtol=1e-3, atol=1e-3)
    exact = _value(graph, "q", feeds)
    errors = [
        float(np.square(_value(_all_int8(g, TENSORRT, "query"), "q", feeds) - exact).mean())
        for g in (graph, even)
    ]
    assert errors[1] < 0.7 * errors[0]


def test_a_norm_with_another_reader_is_not_smoothed() -> None:
    graph = block()
    graph.nodes[-1].input[0] = "n"  # the residual sum reads the norm, as in post-norm blocks
    assert smoothing_places(graph, layers_of(graph)) == {}


def test_a_shared_weight_is_not_smoothed() -> None:
    graph = block()
    graph.nodes[4].input[1] = "wk"
    assert smoothing_places(graph, layers_of(graph)) == {}


def _all_int8(graph: Graph, scheme: Scheme, *chosen: str) -> Graph:
    layers = layers_of(graph)
    names = chosen or tuple(layer.name for layer in layers)
    return quantised(graph, layers, names, ranges_of(graph, scheme), scheme)


@pytest.mark.parametrize("scheme", [CPU, REDUCED, TENSORRT], ids=str)
def test_numbers_are_those_of_the_scheme(scheme: Scheme) -> None:
    graph = block()
    found = _all_int8(graph, scheme, "query")
    feeds = inputs(40, 1)[0]
    n = _value(graph, "n", feeds)
    span = ranges_of(graph, scheme)["query"]
    low, high = (-span.size, span.size) if scheme.symmetric else (span.low, span.high)
    step = (high - low) / (254 if scheme.symmetric else 255)
    zero = 0 if scheme.symmetric else np.rint(-low / step)
    levels = (-127, 127) if scheme.symmetric else (0, 255)
    activations = (np.clip(np.rint(n / step) + zero, *levels) - zero) * step
    weights = graph.constants["wq"]
    steps = np.abs(weights).max(0) / (64 if scheme.reduced else 127)
    exact = activations @ (np.rint(weights / steps) * steps)
    spread = float(np.abs(exact).max())
    np.testing.assert_allclose(_value(found, "q", feeds), exact, atol=0.012 * spread)
    stored = [v for v in found.constants.values() if v.dtype == np.int8 and v.ndim == 2]
    assert len(stored) == 1 and np.abs(stored[0].astype(int)).max() <= (
        64 if scheme.reduced else 127
    )


def test_only_the_chosen_layers_see_rounded_numbers() -> None:
    graph = block()
    found = _all_int8(graph, CPU, "query")
    feeds = inputs(40, 1)[0]
    np.testing.assert_array_equal(_value(found, "k", feeds), _value(graph, "k", feeds))
    assert not np.array_equal(_value(found, "q", feeds), _value(graph, "q", feeds))
    assert kinds(found)["QuantizeLinear"] == 1  # the other reader of n has it in float


def test_readers_of_one_tensor_share_its_conversion() -> None:
    assert kinds(_all_int8(block(), CPU))["QuantizeLinear"] == 2  # n once, m once


def test_no_layer_gives_the_float_graph() -> None:
    graph = block()
    assert quantised(graph, layers_of(graph), (), {}, CPU) is graph


def _gemm() -> Graph:
    graph = parse(
        f"g (float[8,{WIDTH}] x) => (float[8,{WIDTH}] y, float[1,16,6,6] z) {{"
        " [relu] a = Relu(x) [gemm] y = Gemm <transB = 1> (a, w, b)"
        " [shape] i = Reshape(a, grid) [conv] c = Conv <pads = [1, 1, 1, 1]> (i, k, d)"
        " [after] z = Relu(c) }"
    )
    graph.constants.update(
        w=_random(1, WIDTH, WIDTH), b=_random(2, WIDTH), grid=np.array([1, 8, 4, 8], np.int64),
        k=_random(3, 16, 8, 3, 3), d=_random(4, 16),
    )  # fmt: skip
    graph.outputs["z"] = type(graph.outputs["z"])(1, (1, 16, 4, 8))
    return with_plain_weights(graph)


def _gemm_int8(scheme: Scheme) -> Graph:
    graph = _gemm()
    layers = layers_of(graph)
    assert [layer.kind for layer in layers] == ["Gemm", "Conv"]
    wide = Range(-16.0, 16.0, "test", 0.0)
    ranges = dict.fromkeys(("gemm", "conv", "c"), wide)
    return quantised(graph, layers, {"gemm", "conv"}, ranges, scheme)


def test_a_processor_gets_integer_biases_and_convolutions() -> None:
    found = _gemm_int8(CPU)
    biases = [v for v in found.constants.values() if v.dtype == np.int32 and v.any()]
    assert len(biases) == 2
    # the convolution's output is quantised as well, or the provider would compute it in float
    assert any(n.op_type == "QuantizeLinear" and n.input[0].startswith("c") for n in found.nodes)
    feeds = {"x": _random(8, 8, WIDTH)}
    for name, value in run(_gemm(), feeds).items():
        assert np.abs(run(found, feeds)[name] - value).max() < 0.08 * np.abs(value).max()


def test_tensorrt_gets_symmetric_pairs_only() -> None:
    found = _gemm_int8(TENSORRT)
    report = preflight(found, NEW_RELEASES)
    assert not any(report.problems.values()), report.problems
    assert not [v for v in found.constants.values() if v.dtype == np.int32]
    assert not any(n.op_type == "QuantizeLinear" and n.input[0] == "c" for n in found.nodes)
    # and the form for processors is not importable: the check above can fail
    assert all(preflight(_gemm_int8(CPU), NEW_RELEASES).problems.values())


def test_over_float16_scales_are_float16() -> None:
    graph = block()
    half = {name: value.astype(np.float16) for name, value in graph.constants.items()}
    typed = parse(
        f"g (float[B,8,{WIDTH}] x) => (float[B,8,{WIDTH}] y) {{"
        " [norm] n32 = LayerNormalization <axis = -1> (x, scale, shift)"
        " [down] n = Cast <to = 10> (n32)"
        " [query] q = MatMul(n, wq) [key] k = MatMul(n, wk)"
        " [mix] m = Mul(q, k) [out] o = MatMul(m, wo) [bias] p = Add(o, b)"
        " [up] p32 = Cast <to = 1> (p) [sum] y = Add(x, p32) }"
    )
    typed.constants.update({name: half[name] for name in ("wq", "wk", "wo", "b")})
    typed.constants.update({name: graph.constants[name] for name in ("scale", "shift")})
    found = quantised(
        typed, layers_of(typed), {"query", "key", "out"}, ranges_of(graph, TENSORRT), TENSORRT
    )
    assert found.opset == 19
    pairs = [n for n in found.nodes if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs and all(found.constants[n.input[1]].dtype == np.float16 for n in pairs)
    onnx.checker.check_model(found.to_model("test"), full_check=True)
    assert not any(preflight(found, NEW_RELEASES).problems.values())
    feeds = inputs(40, 1)[0]
    true = run(graph, feeds)["y"]
    assert np.abs(run(found, feeds)["y"] - true).max() < 0.1 * np.abs(true).max()


def test_a_newer_opset_computes_the_same() -> None:
    graph = parse(
        "g (float[2,40,40] x) => (float[2,40] y, float[2,20,40] z) {"
        " y = ReduceMax <axes = [2], keepdims = 0> (x) a, z = Split <axis = 1> (x, parts) }"
    )
    graph.constants["parts"] = np.array([20, 20], np.int64)
    newer = at_opset(graph, 19)
    assert newer.opset == 19 and newer.to_model("g").ir_version == 9
    feeds = {"x": _random(1, 2, 40, 40)}
    for name, value in run(graph, feeds).items():
        np.testing.assert_array_equal(run(newer, feeds)[name], value)


def test_a_histogram_is_filled_by_every_run() -> None:
    calls = []
    seen = observe(block(), {"n"}, inputs, step=lambda: calls.append(1)).histograms
    assert len(calls) == 3 and isinstance(seen["n"], Histogram)
    assert helper.get_node_attr_value(block().nodes[0], "axis") == -1
