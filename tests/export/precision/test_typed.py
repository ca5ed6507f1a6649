"""The typed graph: one float type for each node, Casts only where types meet, borders as before."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from tests.export.graph_text import parse, run

from t2s_engines.graphs.graph import Graph
from t2s_engines.preflight import check
from t2s_export.errors import ExportError
from t2s_export.precision import typed_float16, typing_problems

F16, F32 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT

BLOCK = """g (uint8[B,4] x) => (float[B,4] y) <float[4,4] w = {1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8},
    float[4] b = {1,2,3,4}, float[4] s = {1,1,1,1}> {
    [in] a = Cast<to=1>(x)
    [product] m = MatMul(a, w)
    [bias] c = Add(m, b)
    [norm] n = LayerNormalization(c, s, b)
    [one] p = MatMul(n, w)
    [two] q = MatMul(n, w)
    [sum] y = Add(p, q)
}"""


def casts(graph: Graph) -> list[tuple[str, int]]:
    return [(n.input[0], n.attribute[0].i) for n in graph.nodes if n.op_type == "Cast"]


def checked(graph: Graph) -> Graph:
    onnx.checker.check_model(graph.to_model("test"), full_check=True)
    check(graph)
    assert list(typing_problems(graph)) == []
    return graph


def test_casts_stand_only_where_types_meet_and_once_for_each_value() -> None:
    typed = checked(typed_float16(parse(BLOCK), {"norm": "a test"}))
    assert casts(typed) == [
        ("x", F16),  # 0..255 is exact in float16
        ("c", F32),
        ("n", F16),  # one Cast for both products
        ("y/float16", F32),
    ]
    types = typed.types()
    assert types["m"].elem_type == types["p"].elem_type == F16
    assert types["n"].elem_type == F32
    assert typed.outputs["y"].elem_type == F32


def test_constants_have_the_type_of_their_readers() -> None:
    typed = typed_float16(parse(BLOCK), {"norm": "a test"})
    kinds = {name: value.dtype.name for name, value in typed.constants.items()}
    # the bias b is read by both: one copy of each type
    assert kinds == {"w": "float16", "b": "float16", "b/float32": "float32", "s": "float32"}


def test_everything_an_island_gives_the_float32_graph_back() -> None:
    graph = parse(BLOCK)
    typed = typed_float16(graph, {node.name: "a test" for node in graph.nodes if node.name != "in"})
    assert [n.SerializeToString() for n in typed.nodes] == [
        n.SerializeToString() for n in graph.nodes
    ]
    assert {value.dtype.name for value in typed.constants.values()} == {"float32"}


def test_the_graph_given_is_not_changed() -> None:
    graph = parse(BLOCK)
    before = graph.to_model("g").SerializeToString()
    typed_float16(graph, {"norm": "a test"})
    assert graph.to_model("g").SerializeToString() == before


def test_moves_between_islands_stay_float32() -> None:
    graph = parse(
        """g (float[4,4] x) => (float[4,4] y) {
        [first] a = Softmax(x)
        [move] b = Transpose(a)
        [second] c = Softmax(b)
        [third] d = Exp(b)
        [sum] y = Add(c, d)
        }"""
    )
    typed = checked(typed_float16(graph, {"first": "", "second": ""}))
    types = typed.types()
    assert types["b"].elem_type == F32  # as the second island needs its digits
    assert casts(typed) == [("b", F16), ("c", F16), ("y/float16", F32)]


def test_moves_from_an_island_into_float16_move_half_the_bytes() -> None:
    graph = parse(
        """g (float[4,4] x) => (float[4,4] y) {
        [first] a = Softmax(x)
        [move] b = Transpose(a)
        [third] y = Exp(b)
        }"""
    )
    typed = checked(typed_float16(graph, {"first": ""}))
    assert casts(typed) == [("a", F16), ("y/float16", F32)]


def test_masks_are_cast_to_each_type_from_their_source() -> None:
    graph = parse(
        """g (bool[4] mask, float[4] x) => (float[4] y, float[4] z) {
        [cast] a = Cast<to=1>(mask)
        [half] y = Mul(a, x)
        [full] z = Sub(x, a)
        }"""
    )
    typed = checked(typed_float16(graph, {"full": ""}))
    assert set(casts(typed)) == {("mask", F16), ("mask", F32), ("x", F16), ("y/float16", F32)}
    assert len(casts(typed)) == 4


def test_an_output_that_is_read_inside_has_both_forms() -> None:
    graph = parse(
        """g (float[4] x) => (float[4] y, float[4] z) {
        [one] y = Exp(x)
        [two] a = Exp(y)
        [three] b = Softmax(y)
        [four] z = Add(a, b)
        }"""
    )
    typed = checked(typed_float16(graph, {"three": ""}))
    found = run(typed, {"x": np.array([0, 0.5, 1, -1], np.float32)})
    np.testing.assert_allclose(found["y"], np.exp([0, 0.5, 1, -1]), rtol=2e-3)
    assert Counter(source for source, _ in casts(typed))["y"] == 0


def test_shapes_are_asked_of_any_type() -> None:
    graph = parse(
        """g (float[B,4] x) => (float[B,4] y) {
        [exp] a = Exp(x)
        [shape] s = Shape(a)
        [move] b = Reshape(a, s)
        [last] y = Exp(b)
        }"""
    )
    typed = checked(typed_float16(graph, {}))
    assert casts(typed) == [("x", F16), ("y/float16", F32)]


def test_a_constant_that_overflows_is_refused_by_name() -> None:
    graph = parse("g (float[4] x) => (float[4] y) <float big = {70000}> { [mul] y = Mul(x, big) }")
    with pytest.raises(ExportError, match="65504 outside islands, found 7e\\+04 in big"):
        typed_float16(graph, {})
    assert typed_float16(graph, {"mul": ""}).constants["big"] == 70000


def test_islands_that_are_no_nodes_are_refused() -> None:
    with pytest.raises(ExportError, match="islands to be nodes of the graph, found \\['nrom'\\]"):
        typed_float16(parse(BLOCK), {"nrom": ""})


def test_stored_constants_are_refused() -> None:
    graph = typed_float16(parse(BLOCK), {})
    with pytest.raises(ExportError, match="before its constants are stored"):
        typed_float16(graph, {})


def test_typing_problems_finds_mixed_inputs() -> None:
    graph = typed_float16(parse(BLOCK), {"norm": ""})
    (norm,) = (n for n in graph.nodes if n.name == "norm")
    norm.input[1] = "b"  # the float16 copy
    assert list(typing_problems(graph)) == [
        "LayerNormalization in 'norm' reads float16 and float32"
    ]
