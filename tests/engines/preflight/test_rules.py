"""Every rule refuses what it should, for the releases that it should, and lets the rest pass."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from t2s_engines.errors import PreflightError
from t2s_engines.graphs.graph import Graph
from t2s_engines.preflight import RELEASES, check, preflight
from t2s_engines.preflight.forms import FORMS, UNCHECKED
from t2s_engines.preflight.releases import operators
from t2s_rt.errors import UsageError

ALL = list(RELEASES)
NEW = ["10.1", "10.16", "11.1"]


def parse(text: str, opset: int = 17) -> Graph:
    return Graph.from_model(
        onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g {text}')
    )


def failing(graph: Graph, named: str) -> list[str]:
    """Releases that report a problem which matches."""
    report = preflight(graph)
    return [
        release
        for release, problems in report.problems.items()
        if any(re.search(named, str(problem)) for problem in problems)
    ]


PASSING = {
    "pixels in, floats out": (17, """(uint8[B,4,4,3] x) => (float[B,3,4,4] y) <float[1] s = {255}>
        { a = Cast<to = 1>(x) b = Div(a, s) y = Transpose<perm = [0, 3, 1, 2]>(b) }"""),
    "pixels out": (17, "(float[4] x) => (uint8[4] y) { y = Cast<to = 2>(x) }"),
    "a shape from a shape": (17, """(float[B,4] x) => (float[B] y) <int64[1] i = {0}>
        { s = Shape(x) b = Gather(s, i) r = ReduceSum(x) y = Expand(r, b) }"""),
    "TopK": (17, """(float[1,5000] x) => (float[1,3839] y) <int64[1] k = {3839}>
        { y, i = TopK(x, k) }"""),
    "bool chooses": (17, """(bool[4] c, float[4] a) => (float[4] y)
        { n = Not(c) f = Cast<to = 1>(n) y = Where(c, a, f) }"""),
    "half with half": (17, """(float[4] x) => (float[4] y)
        { a = Cast<to = 10>(x) b = Add(a, a) y = Cast<to = 1>(b) }"""),
    "GridSample of opset 16": (17, """(float[1,2,4,4] x, float[1,3,3,2] g) => (float[1,2,3,3] y)
        { y = GridSample<mode = "bilinear", align_corners = 0>(x, g) }"""),
    "LayerNormalization": (17, """(float[2,3] x) => (float[2,3] y) <float[3] w = {1, 1, 1}>
        { y = LayerNormalization(x, w, w) }"""),
    "ScatterND": (17, """(float[2] x, float[1] u) => (float[2] y) <int64[1,1] i = {0}>
        { y = ScatterND(x, i, u) }"""),
    "ScatterElements": (17, """(float[2] x, float[1] u) => (float[2] y) <int64[1] i = {0}>
        { y = ScatterElements(x, i, u) }"""),
    "Einsum": (17, """(float[2,3] x, float[3,4] z) => (float[2,4] y)
        { y = Einsum<equation = "ij,jk->ik">(x, z) }"""),
    "Resize": (17, """(float[1,1,4,4] x) => (float[1,1,8,8] y) <float[4] s = {1, 1, 2, 2}>
        { y = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">(x, , s) }
        """),
    "symmetric int8": (17, """(float[4] x) => (float[4] y) <float s = {1}, int8 z = {0}>
        { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"""),
    "pooling": (17, """(float[1,1,4,4] x) => (float[1,1,2,2] y)
        { a = MaxPool<kernel_shape = [2, 2], dilations = [1, 1]>(x)
          y = AveragePool<kernel_shape = [2, 2]>(a) }"""),
    "Dropout": (17, """(float[4] x) => (float[4] y) <float r = {0.5}, bool t = {0}>
        { y = Dropout(x, r, t) }"""),
    "BatchNormalization": (17, """(float[1,2,4] x) => (float[1,2,4] y) <float[2] w = {1, 1}>
        { y = BatchNormalization(x, w, w, w, w) }"""),
    "int64 bounds of Slice": (17, """(float[4] x) => (float[K] y)
        <int64[1] a = {1}, int64[1] b = {9223372036854775807}> { y = Slice(x, a, b) }"""),
    "a constant axis": (17, """(float[2,3] x) => (float[2,3] y) <int64 a = {1}>
        { y = CumSum(x, a) }"""),
    "constant axes": (17, """(float[2,3] x) => (float[3,1] y) <int64[1] a = {0}, int64[1] b = {1}>
        { s = ReduceSum(x, a) t = Squeeze(s, a) y = Unsqueeze(t, b) }"""),
    "OneHot": (17, """(int32[4] x) => (float[4,3] y) <int64 d = {3}, float[2] v = {0, 1}>
        { y = OneHot(x, d, v) }"""),
    "a matrix of fixed size": (17, "(float[3,3] x) => (float[3,3] y) { y = EyeLike(x) }"),
    "eight dimensions": (17, """(float[1,1,1,1,1,1,1,2] x) => (float[1,1,1,1,1,1,1,2] y)
        { y = Relu(x) }"""),
}  # fmt: skip


@pytest.mark.parametrize("name", PASSING)
def test_good_forms_pass_for_every_release(name: str) -> None:
    opset, text = PASSING[name]
    check(parse(text, opset))


FAILING: dict[str, tuple[int, str, str, list[str]]] = {
    # operators
    "NonZero": (17, "(float[4] x) => (int32[1,K] y) { n = NonZero(x) y = Cast<to = 6>(n) }",
                "NonZero.*depends on data", ALL),
    "Compress": (17, """(float[4] x) => (float[K] y)
                 { c = Cast<to = 9>(x) y = Compress(x, c) }""", "Compress", ALL),
    "Det": (17, "(float[3,3] x) => (float y) { y = Det(x) }", "Det.*lacks it", ALL),
    "Bernoulli": (17, "(float[4] x) => (float[4] y) { y = Bernoulli(x) }", "Bernoulli", ALL),
    "random numbers": (17, "(float[4] x) => (float[4] y) { y = RandomNormalLike(x) }",
                       "seed is ignored", ALL),
    "sequences": (17, """(float[4] x) => (float[4] y) { s = SequenceConstruct(x)
                  i = Constant<value = int64 {0}>() y = SequenceAt(s, i) }""",
                  "SequenceConstruct.*lacks it", ALL),
    "Gelu": (20, "(float[4] x) => (float[4] y) { y = Gelu(x) }", "Gelu.*lacks it", ["8.6"]),
    "Attention": (23, """(float[1,2,3,4] q) => (float[1,2,3,4] y) { y = Attention(q, q, q) }""",
                  "Attention.*lacks it", ["8.6", "10.1"]),
    "an operator of a later opset": (16, """(float[2,3] x, float[3] w) => (float[2,3] y)
        { y = LayerNormalization(x, w) }""", "opset 16 has no such operator", ALL),
    # opset and border
    "opset 18": (18, "(float[4] x) => (float[4] y) { y = Relu(x) }", "opset 18", ["8.6"]),
    "opset 21": (21, "(float[4] x) => (float[4] y) { y = Relu(x) }", "opset 21", ["8.6", "10.1"]),
    "opset 8": (8, "(float[4] x) => (float[4] y) { y = Relu(x) }", "opset 8", NEW),
    "int64 out": (17, "(float[4] x) => (int64[4] y) { y = Cast<to = 7>(x) }",
                  "int64 at the border in 'y'", ALL),
    "nine dimensions": (17, """(float[1,1,1,1,1,1,1,2] x) => (float[2] y)
        <int64[1] a = {0}, int64[1] b = {-1}>
        { u = Unsqueeze(x, a) v = Relu(u) y = Reshape(v, b) }""", "9 dimensions", ALL),
    # element types
    "float64": (17, "(double[4] x) => (double[4] y) { y = Relu(x) }", "float64", ALL),
    "float64 within": (17, """(float[4] x) => (float[4] y)
                       { a = Cast<to = 11>(x) y = Cast<to = 1>(a) }""", "'a' is float64", ALL),
    "bfloat16": (17, """(float[4] x) => (float[4] y)
                 { a = Cast<to = 16>(x) b = Add(a, a) y = Cast<to = 1>(b) }""",
                 "'a' is bfloat16", ["8.6"]),
    "arithmetic on pixels": (17, """(uint8[4] x) => (float[4] y) <uint8[4] a = {1, 2, 3, 4}>
                             { b = Add(x, a) y = Cast<to = 1>(b) }""", "Add.*on uint8", ALL),
    "moved pixels": (17, """(uint8[4,2] x) => (float[2,4] y)
                     { a = Transpose(x) y = Cast<to = 1>(a) }""", "Transpose.*on uint8", ALL),
    "pixels inside": (17, """(float[4] x) => (float[4] y)
                      { a = Cast<to = 2>(x) y = Cast<to = 1>(a) }""", "uint8 inside", ALL),
    "comparison of bools": (17, "(bool[4] x, bool[4] z) => (bool[4] y) { y = Equal(x, z) }",
                            "Equal.*on bool", ALL),
    "a bool to be padded": (17, """(bool[4] x) => (bool[6] y) <int64[2] p = {1, 1}>
                            { y = Pad(x, p) }""", "Pad.*on bool", ALL),
    "a condition of floats": (17, """(float[4] c, float[4] a) => (float[4] y)
                              { y = Where(c, a, a) }""", "condition is float32", ALL),
    "a maximum of int32": (17, """(int32[4] x) => (int32[4] y) <int64[1] a = {0}>
        { b = Cast<to = 9>(x) c = ReduceMax<axes = [0]>(x) y = Where(b, x, c) }""",
        "ReduceMax.*on int32", ["8.6"]),
    "int64 beyond int32": (17, """(int32[2] x) => (int32[2] y) <int64[2] k = {1, 4294967296}>
        { a = Cast<to = 7>(x) b = Add(a, k) y = Cast<to = 6>(b) }""", "beyond int32", ["8.6"]),
    "GridSample on int32": (17, """(int32[1,2,4,4] x, float[1,3,3,2] g) => (int32[1,2,3,3] y)
        { y = GridSample(x, g) }""", "GridSample.*on int32", ALL),
    # strong typing
    "half and single": (17, """(float[4] x) => (float[4] y)
        { a = Cast<to = 10>(x) y = Add(x, a) }""", "mixes float32 .* and float16", ALL),
    "a grid of another type": (17, """(float[1,2,4,4] x, float16[1,3,3,2] g) =>
        (float[1,2,3,3] y) { y = GridSample(x, g) }""", "GridSample.*mixes", ALL),
    "a scale of another type": (17, """(float16[2,3] x) => (float16[2,3] y)
        <float[3] w = {1, 1, 1}> { y = LayerNormalization(x, w) }""",
        "LayerNormalization.*mixes", ALL),
    "a power of another type": (17, "(float[4] x, float16 p) => (float[4] y) { y = Pow(x, p) }",
                                "Pow.*mixes", ALL),
    "int32 and int64": (17, """(int32[4] x) => (int32[4] y) <int64[4] k = {1, 2, 3, 4}>
        { y = Mul(x, k) }""", "Mul.*mixes int32 .* and int64", ALL),
    "the last of many": (17, """(float[4] x, float16[4] z) => (float[12] y)
        { y = Concat<axis = 0>(x, x, z) }""", "Concat.*mixes", ALL),
    # shapes
    "a size from data": (17, """(float[4] x) => (float[K] y) <int64[1] one = {1}>
        { m = ReduceMax(x) k = Cast<to = 7>(m) s = Reshape(k, one) y = ConstantOfShape(s) }""",
        "a size from data \\('s'\\)", ALL),
    "a computed K": (17, "(float[1,4] x, int32[1] k) => (float[1,K] y) "
                     "{ l = Cast<to = 7>(k) y, i = TopK(x, l) }", "K must be a constant", ALL),
    "computed axes": (17, """(float[1,4] x, int32[1] k) => (float[4] y)
                      { l = Cast<to = 7>(k) y = Squeeze(x, l) }""", "axes must be a const", ALL),
    "a computed axis": (17, "(float[4] x, int32 k) => (float[4] y) { y = CumSum(x, k) }",
                        "CumSum.*axis must be a constant", ALL),
    "computed reduction": (17, """(float[4,1] x, int32[1] k) => (float y)
        { l = Cast<to = 7>(k) y = ReduceSum<keepdims = 0>(x, l) }""", "axes must be", ALL),
    "a computed depth": (17, """(int32[4] x, int32 k) => (float[4,K] y) <float[2] v = {0, 1}>
        { y = OneHot(x, k, v) }""", "depth must be a constant", ALL),
    "computed axes of Slice": (17, """(float[4] x, int32[1] k) => (float[2] y)
        <int64[1] a = {1}, int64[1] b = {3}> { l = Cast<to = 7>(k) y = Slice(x, a, b, l) }""",
        "Slice.*axes must be", ["8.6", "10.1"]),
    "computed axes of Pad": (18, """(float[4] x, int32[1] k) => (float[6] y)
        <int64[2] p = {1, 1}, float v = {0}> { l = Cast<to = 7>(k) y = Pad(x, p, v, l) }""",
        "Pad.*axes must be", ["10.1"]),
    "a matrix of dynamic size": (17, "(float[N,N] x) => (float[N,N] y) { y = EyeLike(x) }",
                                 "not fixed", ALL),
    # forms
    "a large K": (17, """(float[1,5000] x) => (float[1,3840] y) <int64[1] k = {3840}>
                  { y, i = TopK(x, k) }""", "below 3840", ALL),
    "an unsorted TopK": (17, """(float[1,8] x) => (float[1,4] y) <int64[1] k = {4}>
                         { y, i = TopK<sorted = 0>(x, k) }""", "must sort", ALL),
    "a scatter that adds": (17, """(float[2] x, float[1] u) => (float[2] y) <int64[1,1] i = {0}>
        { y = ScatterND<reduction = "add">(x, i, u) }""", "only without reduction", ALL),
    "elements that add": (17, """(float[2] x, float[1] u) => (float[2] y) <int64[1] i = {0}>
        { y = ScatterElements<reduction = "mul">(x, i, u) }""", "only without reduction", ALL),
    "ScatterND of opset 18": (18, """(float[2] x, float[1] u) => (float[2] y)
        <int64[1,1] i = {0}> { y = ScatterND(x, i, u) }""",
        "ScatterND.*opset 17 or lower", ["10.1"]),
    "ellipsis": (17, """(float[2,3] x) => (float[2] y)
                 { y = Einsum<equation = "...i->...">(x) }""", "no ellipsis", ["8.6"]),
    "diagonal": (17, """(float[3,3] x) => (float[3] y) { y = Einsum<equation = "ii->i">(x) }""",
                 "a diagonal", ["8.6"]),
    "broadcasting in Einsum": (17, """(float[1,3] x, float[2,3] z) => (float[2,3] y)
        { y = Einsum<equation = "ij,ij->ij">(x, z) }""", "broadcasting", ["8.6"]),
    "the mean too": (17, """(float[2,3] x) => (float[2,3] y, float[2,1] m)
        <float[3] w = {1, 1, 1}> { y, m = LayerNormalization(x, w) }""", "only its first", ALL),
    "GridSample of opset 20": (20, """(float[1,2,4,4] x, float[1,3,3,2] g) =>
        (float[1,2,3,3] y) { y = GridSample<mode = "linear">(x, g) }""", "TensorRT#4646", ALL),
    "GridSample on five": (20, """(float[1,2,4,4,4] x, float[1,3,3,3,3] g) =>
        (float[1,2,3,3,3] y) { y = GridSample(x, g) }""", "only four dimensions", ALL),
    "cubic": (17, """(float[1,1,4,4] x) => (float[1,1,8,8] y) <float[4] s = {1, 1, 2, 2}>
              { y = Resize<mode = "cubic">(x, , s) }""", "mode 'cubic'", ALL),
    "crop": (17, """(float[1,1,4,4] x) => (float[1,1,8,8] y) <float[4] s = {1, 1, 2, 2}>
        { y = Resize<coordinate_transformation_mode = "tf_crop_and_resize">(x, , s) }""",
        "tf_crop_and_resize", ALL),
    "antialias": (18, """(float[1,1,4,4] x) => (float[1,1,2,2] y) <float[4] s = {1, 1, 0.5, 0.5}>
        { y = Resize<mode = "linear", antialias = 1>(x, , s) }""", "no antialiasing", ALL),
    "not larger": (18, """(float[1,1,4,4] x) => (float[1,1,2,2] y) <int64[4] s = {1, 1, 2, 2}>
        { y = Resize<keep_aspect_ratio_policy = "not_larger">(x, , , s) }""",
        "keep_aspect_ratio_policy", ALL),
    "two axes": (18, """(float[1,1,4,4] x) => (float[1,1,2,2] y) <int64[2] s = {2, 2}>
                 { y = Resize<axes = [2, 3]>(x, , , s) }""", "axes \\[2, 3\\]", ALL),
    "tf nearest": (17, """(float[1,1,4,4] x) => (float[1,1,8,8] y) <float[4] s = {1, 1, 2, 2}>
        { y = Resize<coordinate_transformation_mode = "tf_half_pixel_for_nn",
          nearest_mode = "floor">(x, , s) }""", "only with round_prefer_floor", ALL),
    "uint8 quantisation": (17, """(float[4] x) => (float[4] y) <float s = {1}>
        { q = QuantizeLinear(x, s) y = DequantizeLinear(q, s) }""", "quantises to uint8", ALL),
    "a zero point": (17, """(float[4] x) => (float[4] y) <float s = {1}, int8 z = {3}>
        { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }""",
        "QuantizeLinear.*zero point", ALL),
    "an int32 bias": (17, """(float[4] x) => (float[4] y)
        <float s = {1}, int32[4] b = {1, 2, 3, 4}> { c = DequantizeLinear(b, s) y = Add(x, c) }""",
        "DequantizeLinear.*on int32", ALL),
    "a computed scale": (17, """(float[4] x, float s) => (float[4] y) <int8 z = {0}>
        { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }""",
        "scale must be a constant", ALL),
    "one-dimensional pooling": (17, """(float[1,1,4] x) => (float[1,1,2] y)
        { y = MaxPool<kernel_shape = [3]>(x) }""", "1 spatial dimensions", ALL),
    "places of maxima": (17, """(float[1,1,4,4] x) => (float[1,1,3,3] y, int32[1,1,3,3] i)
        { y, j = MaxPool<kernel_shape = [2, 2]>(x) i = Cast<to = 6>(j) }""",
        "only its first", ALL),
    "dilated pooling": (17, """(float[1,1,6,6] x) => (float[1,1,4,4] y)
        { y = MaxPool<kernel_shape = [2, 2], dilations = [2, 2]>(x) }""", "no dilations", NEW),
    "dilated means": (19, """(float[1,1,6,6] x) => (float[1,1,4,4] y)
        { y = AveragePool<kernel_shape = [2, 2], dilations = [2, 2]>(x) }""", "no dila", NEW),
    "training": (17, """(float[4] x) => (float[4] y) <float r = {0.5}, bool t = {1}>
                 { y = Dropout(x, r, t) }""", "training mode", ALL),
    "training statistics": (17, """(float[1,2,4] x) => (float[1,2,4] y) <float[2] w = {1, 1}>
        { y, m, v = BatchNormalization<training_mode = 1>(x, w, w, w, w) }""", "training", ALL),
    "Attention on three": (23, """(float[1,3,8] q) => (float[1,3,8] y)
        { y = Attention<q_num_heads = 2, kv_num_heads = 2>(q, q, q) }""",
        "3 dimensions", ["10.16", "11.1"]),
    "Attention with softcap": (23, """(float[1,2,3,4] q) => (float[1,2,3,4] y)
        { y = Attention<softcap = 2.0>(q, q, q) }""", "softcap", ["10.16", "11.1"]),
    "Attention with a cache": (23, """(float[1,2,3,4] q) => (float[1,2,3,4] y)
        { y, k, v = Attention(q, q, q, , q, q) }""", "cache", ["10.16", "11.1"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILING)
def test_bad_forms_are_named_for_the_releases_concerned(name: str) -> None:
    opset, text, named, releases = FAILING[name]
    graph = parse(text, opset)
    assert failing(graph, named) == releases, "\n".join(preflight(graph).lines())
    with pytest.raises(PreflightError):
        check(graph, releases)


def test_every_form_rule_has_been_seen_to_fail_and_to_pass() -> None:
    def seen(cases: list[str]) -> set[str]:
        return {op for op in FORMS if any(re.search(rf"\b{op}\b", text) for text in cases)}

    assert seen([text for _, text, _, _ in FAILING.values()]) == set(FORMS)
    assert seen([text for _, text in PASSING.values()]) >= set(FORMS) - {"Attention"}  # no 8.6
    good = parse("(float[1,2,3,4] q) => (float[1,2,3,4] y) { y = Attention(q, q, q) }", 23)
    check(good, ["10.16", "11.1"])


def test_control_flow_is_refused() -> None:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy")
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])],
        )
        for name, op in (("then_branch", "Relu"), ("else_branch", "Neg"))
    }
    node = helper.make_node("If", ["c"], ["y"], **branches)
    body = helper.make_graph([node], "g", [condition, x], [y])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)])
    assert failing(Graph.from_model(model), "If .*control flow") == ALL


def test_a_border_without_a_rank_is_refused() -> None:
    graph = parse("(float[4] x) => (float[4] y) { y = Relu(x) }")
    graph.inputs["x"] = type(graph.inputs["x"])(TensorProto.FLOAT, None)
    assert failing(graph, "'x' has no known rank") == ALL


def test_a_value_of_no_known_type_is_refused() -> None:
    graph = parse("(float[4] x) => (float[4] y) { a = Cast(x) y = Cast<to = 1>(a) }")  # to what?
    assert failing(graph, "'a' has no known tensor type") == ALL


def test_grid_sample_is_warned_of_where_it_was_reported_wrong() -> None:
    report = preflight(parse(PASSING["GridSample of opset 16"][1]))
    assert report.ok
    assert [release for release, found in report.warnings.items() if found] == ["10.16", "11.1"]
    (warning,) = report.warnings["11.1"]
    assert "TensorRT#4813" in warning.found and "gather form" in warning.remedy


def test_conditions_without_a_rule_are_passed_on() -> None:
    graph = parse(
        "(float[1,1,4,4] x) => (float[1,1,3,3] y) { y = LpPool<kernel_shape = [2, 2]>(x) }"
    )
    warnings = preflight(graph).warnings
    assert not warnings["8.6"]  # no condition there
    assert "dilations" in warnings["10.16"][0].found


def test_every_condition_of_the_table_has_a_rule_or_is_passed_on() -> None:
    from t2s_engines.preflight import forms
    from t2s_engines.preflight import operators as rules

    conditional = {op for release in ALL for op, row in operators(release).items() if row.note}
    constant = {*forms._CONSTANT, *(op for op, _ in forms._CONSTANT_ONCE)}
    handled = {*FORMS, *UNCHECKED, *constant, *rules._CONTROL_FLOW, *rules._RANDOM}
    assert conditional <= handled


def test_the_highest_format_version_is_that_of_the_highest_opset() -> None:
    from t2s_engines.preflight.releases import find_release

    for release in map(find_release, ALL):
        same = {row[1] for row in helper.VERSION_TABLE if row[2] == release.opsets[1]}
        assert release.ir_version == min(same)


def test_the_table_names_operators_of_onnx() -> None:
    known = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    legacy = {"ImageScaler", "ParametricSoftplus", "ScaledTanh"}  # experimental ones of long ago
    for release in ALL:
        assert len(operators(release)) > 100
        assert set(operators(release)) - known <= legacy | {"GroupNormalization"}


def test_a_release_without_a_table_is_named() -> None:
    with pytest.raises(UsageError, match=r"out of 8.6, 10.1, 10.16, 11.1, found '7.2'"):
        preflight(parse("(float[4] x) => (float[4] y) { y = Relu(x) }"), ["7.2"])


def test_many_faults_are_counted_and_not_all_listed() -> None:
    body = " ".join(f"a{i} = NonZero(x)" for i in range(20))
    graph = parse(f"(float[4] x) => (float[4] y) {{ {body} y = Relu(x) }}")
    with pytest.raises(PreflightError, match="and 12 more"):
        check(graph)


def test_what_only_some_releases_lack_is_said_so() -> None:
    opset, text, _, _ = FAILING["Gelu"]
    with pytest.raises(PreflightError, match=r"Gelu .*\[8.6\]"):
        check(parse(text, opset))
    check(parse(text, opset), NEW)


def test_the_report_is_short_plain_text() -> None:
    graph = parse("(float[4] x) => (float[4] y) { a = NonZero(x) b = NonZero(x) y = Relu(x) }")
    lines = list(preflight(graph, ["8.6", "11.1"]).lines())
    assert lines[:2] == ["TensorRT 8.6: 2 problems", "TensorRT 11.1: 2 problems"]
    assert lines[2].startswith("  problem (8.6, 11.1): NonZero in 'a': ")
    assert lines[2].endswith("[and 1 more like it]")
    assert len(lines) == 3
    passing = preflight(parse("(float[4] x) => (float[4] y) { y = Relu(x) }"), ["8.6"])
    assert list(passing.lines()) == ["TensorRT 8.6: passes"]


def test_constants_of_a_shared_array_stay_as_they_are() -> None:
    graph = parse(PASSING["TopK"][1])
    before = {k: np.array(v) for k, v in graph.constants.items()}
    preflight(graph)
    assert graph.constants.keys() == before.keys()
