"""Each clean-up pass on a small graph: what goes, and that no output changes by a bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.export.graph_text import parse, run

from t2s_engines.errors import GraphError
from t2s_engines.graphs.graph import Graph
from t2s_export.graphs import cleanup
from t2s_export.graphs.shape_passes import fold_shapes, remove_expands

SameResult = Callable[..., Graph]
X = {"x": np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 3, 4)}


def operators(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.nodes]


def test_identities_and_same_type_casts_go(same_result: SameResult) -> None:
    graph = same_result(
        """g (float[B,3,4] x) => (float[B,3,4] y) {
            a = Identity(x) b = Cast<to = 1>(a) c = Relu(b) d = Identity(c) y = Identity(d) }""",
        cleanup.clean,
        X,
    )
    assert operators(graph) == ["Relu"]


def test_identity_between_input_and_output_stays(same_result: SameResult) -> None:
    graph = same_result(
        "g (float[B,3,4] x) => (float[B,3,4] y, float[B,3,4] z) { y = Identity(x) z = Relu(x) }",
        cleanup.clean,
        X,
    )
    assert sorted(operators(graph)) == ["Identity", "Relu"]


def test_one_value_that_is_two_outputs_keeps_both_names(same_result: SameResult) -> None:
    graph = same_result(
        "g (float[B,3,4] x) => (float[B,3,4] y, float[B,3,4] z) { y = Relu(x) z = Identity(y) }",
        cleanup.clean,
        X,
    )
    assert list(graph.outputs) == ["y", "z"]


def test_slices_of_different_axes_become_one(same_result: SameResult) -> None:
    graph = same_result(
        """g (float[2,3,4] x) => (float[1,2,2] y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] end = {4}> {
            a = Slice(x, zero, one, zero, one)
            b = Slice(a, one, end, one, one)
            y = Slice(b, zero, end, two, two) }""",
        cleanup.merge_slices,
        X,
    )
    assert operators(graph) == ["Slice"]


@pytest.mark.parametrize("axis", [1, -2], ids=["same", "from the end"])
def test_slices_of_one_axis_stay(same_result: SameResult, axis: int) -> None:
    graph = same_result(
        f"""g (float[2,3,4] x) => (float[2,1,4] y)
        <int64[1] one = {{1}}, int64[1] axis = {{{axis}}}, int64[1] end = {{3}}> {{
            a = Slice(x, one, end, one) y = Slice(a, one, end, axis) }}""",
        cleanup.merge_slices,
        X,
    )
    assert operators(graph) == ["Slice", "Slice"]


def test_a_slice_that_is_read_twice_stays(same_result: SameResult) -> None:
    graph = same_result(
        """g (float[2,3,4] x) => (float[1,1,4] y, float[1,3,4] z)
        <int64[1] zero = {0}, int64[1] one = {1}> {
            a = Slice(x, zero, one, zero) y = Slice(a, zero, one, one) z = Relu(a) }""",
        cleanup.merge_slices,
        X,
    )
    assert operators(graph) == ["Slice", "Slice", "Relu"]


def test_constant_arithmetic_is_computed(same_result: SameResult) -> None:
    graph = same_result(
        """g (float[B,3,4] x) => (float[B,3,4] y)
        <float[4] a = {1, 2, 3, 4}, float[1] b = {0.5}> {
            c = Mul(a, b) d = Sqrt(c) y = Add(x, d) }""",
        cleanup.fold_constants,
        X,
    )
    assert operators(graph) == ["Add"]


def test_a_constant_that_would_grow_a_lot_is_not_folded() -> None:
    graph = parse(
        """g (float[B,3,4] x) => (float[1000,1000] y)
        <int64[2] s = {1000, 1000}, float[1] a = {1}> { y0 = Expand(a, s) y = Relu(y0) }"""
    )
    assert not cleanup.fold_constants(graph)
    assert operators(graph) == ["Expand", "Relu"]


def test_random_numbers_are_not_folded() -> None:
    graph = parse(
        """g (float[4] x) => (float[4] y) <float[4] a = {1, 2, 3, 4}> {
            r = RandomNormalLike(a) y = Add(x, r) }"""
    )
    assert not cleanup.fold_constants(graph)


def test_equal_constants_and_equal_nodes_are_shared(same_result: SameResult) -> None:
    graph = same_result(
        """g (float[B,3,4] x) => (float[B,3,4] y)
        <float[4] a = {1, 2, 3, 4}, float[4] b = {1, 2, 3, 4}, float[1,4] other = {1, 2, 3, 4}> {
            c = Mul(x, a) d = Mul(x, b) e = Mul(x, other) f = Add(c, d) y = Add(e, f) }""",
        cleanup.clean,
        X,
    )
    assert graph.operator_counts() == {"Mul": 2, "Add": 2}  # [4] and [1,4] are no duplicates
    assert len(graph.constants) == 2


def test_nodes_that_differ_in_an_attribute_are_kept(same_result: SameResult) -> None:
    graph = same_result(
        """g (float[B,3,4] x) => (float[B,3,4] y) {
            a = Softmax<axis = 1>(x) b = Softmax<axis = 2>(x) y = Add(a, b) }""",
        cleanup.clean,
        X,
    )
    assert graph.operator_counts() == {"Softmax": 2, "Add": 1}


def test_signed_zeros_and_types_keep_constants_apart() -> None:
    graph = parse(
        """g (float[2] x) => (float[2] y)
        <float[2] a = {0, 0}, int32[2] b = {0, 0}, float[2] c = {0, 0}, float[2] d = {0, 0}> {
            e = Div(x, a) f = Cast<to = 1>(b) g = Div(e, c) h = Div(g, d) y = Add(h, f) }"""
    )
    graph.constants["c"] = np.array([0.0, -0.0], dtype=np.float32)
    cleanup.merge_duplicates(graph)
    assert list(graph.constants) == ["a", "b", "c"]


def test_dead_nodes_and_constants_go(same_result: SameResult) -> None:
    graph = same_result(
        """g (float[B,3,4] x) => (float[B,3,4] y) <float[4] unused = {1, 2, 3, 4}> {
            a = Exp(x) b = Add(a, unused) y = Relu(x) }""",
        Graph.remove_dead,
        X,
    )
    assert operators(graph) == ["Relu"]
    assert graph.constants == {}


BATCH_RESHAPE = """g (float[B,3,4] x) => (float[B,2,6] y)
    <int64 zero = {0}, int64[1] axis = {0}, int64[1] two = {2}, int64[1] six = {6}> {
        s = Shape(x) b = Gather<axis = 0>(s, zero) b1 = Unsqueeze(b, axis)
        t = Concat<axis = 0>(b1, two, six) y = Reshape(x, t) }"""


def test_a_reshape_that_keeps_the_batch_needs_no_shape_arithmetic(same_result: SameResult) -> None:
    graph = same_result(BATCH_RESHAPE, cleanup.clean, X)
    assert operators(graph) == ["Reshape"]
    assert list(graph.constants.values())[0].tolist() == [0, 2, 6]


def test_a_reshape_that_moves_the_batch_gets_one_minus_one(same_result: SameResult) -> None:
    text = BATCH_RESHAPE.replace("[B,2,6] y", "[2,B,6] y").replace(
        "(b1, two, six)", "(two, b1, six)"
    )
    graph = same_result(text, cleanup.clean, X)
    assert operators(graph) == ["Reshape"]
    assert list(graph.constants.values())[0].tolist() == [2, -1, 6]


def test_two_unknown_numbers_keep_their_arithmetic(same_result: SameResult) -> None:
    # [B, C, 4] to [C, B, 4]: neither stays in its place, so neither can be left out
    graph = same_result(
        """g (float[B,C,4] x) => (float[C,B,4] y)
        <int64[1] four = {4}, int64[1] i0 = {0}, int64[1] i1 = {1}> {
            s = Shape(x) b = Gather<axis = 0>(s, i0) c = Gather<axis = 0>(s, i1)
            t = Concat<axis = 0>(c, b, four) y = Reshape(x, t) }""",
        cleanup.clean,
        X,
    )
    assert graph.operator_counts()["Concat"] == 1


def test_a_shape_that_is_static_becomes_a_constant(same_result: SameResult) -> None:
    graph = same_result(
        """g (float[B,3,4] x) => (float[B,3,4] y) <int64 one = {1}> {
            s = Shape(x) n = Gather<axis = 0>(s, one) f = Cast<to = 1>(n) y = Div(x, f) }""",
        cleanup.clean,
        X,
    )
    assert operators(graph) == ["Div"]
    assert list(graph.constants.values())[0] == 3


def test_expand_with_minus_one_becomes_one_concat(same_result: SameResult) -> None:
    # what the exporter writes for token.expand(B, -1, -1)
    graph = same_result(
        """g (float[B,3,4] x) => (float[B,4,4] y)
        <float[1,1,4] token = {1, 2, 3, 4}, int64 zero = {0}, int64[1] axis = {0},
         int64[1] keep = {-1}, int64[1] rank = {3}, int64 minus = {-1}> {
            s = Shape(x) b = Gather<axis = 0>(s, zero) b1 = Unsqueeze(b, axis)
            t = Concat<axis = 0>(b1, keep, keep)
            ones = ConstantOfShape<value = int64[1] {1}>(rank)
            minuses = Mul(ones, minus) is = Equal(t, minuses) u = Where(is, ones, t)
            e = Expand(token, u) y = Concat<axis = 1>(e, x) }""",
        cleanup.clean,
        X,
    )
    counts = graph.operator_counts()
    assert counts["Equal"] == counts["Where"] == 0
    assert counts["Expand"] == 1


def test_an_expand_that_broadcasting_does_anyway_goes(same_result: SameResult) -> None:
    graph = same_result(
        """g (float[B,3,4] x) => (float[B,3,4] y) {
            n = ReduceL2<axes = [-1]>(x) s = Shape(x) e = Expand(n, s) y = Div(x, e) }""",
        cleanup.clean,
        X,
    )
    assert operators(graph) == ["ReduceL2", "Div"]


def test_an_expand_that_changes_the_result_stays(same_result: SameResult) -> None:
    graph = same_result(
        """g (float[B,3,4] x) => (float[B,3,4] y) <float[1,1,1] a = {2}> {
            s = Shape(x) e = Expand(a, s) y = Relu(e) }""",
        remove_expands,
        X,
    )
    assert "Expand" in operators(graph)


def test_the_batch_is_not_measured_on_uint8_pixels(same_result: SameResult) -> None:
    graph = same_result(
        """g (uint8[B,3,4] x) => (float[B,3,8] y, int64[1] n) <int64[1] i = {0}> {
            s = Shape(x) n = Gather<axis = 0>(s, i)
            f = Cast<to = 1>(x) y = Concat<axis = 2>(f, f) }""",
        cleanup.clean,
        {"x": np.arange(24, dtype=np.uint8).reshape(2, 3, 4)},
    )
    assert operators(graph) == ["Cast", "Shape", "Gather", "Concat"]
    assert graph.nodes[1].input[0] == graph.nodes[0].output[0]


def test_pixels_are_transposed_after_the_cast(same_result: SameResult) -> None:
    graph = same_result(
        """g (uint8[B,3,4] x) => (float[B,4,3] y) {
            t = Transpose<perm = [0, 2, 1]>(x) f = Cast<to = 1>(t) y = Relu(f) }""",
        cleanup.clean,
        {"x": np.arange(24, dtype=np.uint8).reshape(2, 3, 4)},
    )
    assert operators(graph) == ["Cast", "Transpose", "Relu"]


def test_symbols_are_not_confused_with_each_other(same_result: SameResult) -> None:
    graph = same_result(
        """g (float[B,4] x, float[N,4] z) => (int64[1] y) <int64[1] i = {0}> {
            s = Shape(x) a = Gather<axis = 0>(s, i) t = Shape(z) b = Gather<axis = 0>(t, i)
            y = Sub(a, b) }""",
        fold_shapes,
        {"x": np.zeros((5, 4), np.float32), "z": np.zeros((2, 4), np.float32)},
    )
    assert graph.operator_counts()["Gather"] == 2


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_cleaned_graph_still_takes_every_batch(batch: int) -> None:
    graph = parse(BATCH_RESHAPE)
    cleanup.clean(graph)
    x = np.arange(batch * 12, dtype=np.float32).reshape(batch, 3, 4)
    np.testing.assert_array_equal(run(graph, {"x": x})["y"], x.reshape(batch, 2, 6))


def test_names_say_where_a_node_comes_from_and_nothing_of_the_machine() -> None:
    graph = parse(
        "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { a = Mul(x, w) y = Add(a, w) }"
    )
    graph.nodes[0].name = "/blocks.0/attn/Mul_17"
    graph.nodes[1].doc_string = "/home/somebody/module.py(12): forward"
    cleanup.clean(graph, {"w": "blocks.0.weight"})
    assert [node.name for node in graph.nodes] == ["blocks.0/attn/Mul", "Add"]
    assert list(graph.constants) == ["blocks.0.weight"]
    assert b"somebody" not in graph.to_model("g").SerializeToString()


def test_the_bytes_are_the_same_whatever_the_names_were() -> None:
    def exported(prefix: str) -> bytes:
        graph = parse(
            f"""g (float[B,3,4] x) => (float[B,3,4] y) <float[4] {prefix}1 = {{1, 2, 3, 4}}> {{
                {prefix}a = Mul(x, {prefix}1) y = Softmax<axis = 1>({prefix}a) }}"""
        )
        cleanup.clean(graph)
        content: bytes = graph.to_model("g").SerializeToString(deterministic=True)
        return content

    assert exported("v") == exported("other_")


def test_functions_and_foreign_operator_sets_are_refused() -> None:
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy")
    body = helper.make_graph([node], "g", [x], [y])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model: Any = helper.make_model(body, opset_imports=opsets)
    with pytest.raises(GraphError, match="com.microsoft"):
        Graph.from_model(model)


def test_every_kind_of_constant_node_is_read() -> None:
    graph = parse(
        """g (float[2] x) => (float[2] y, int64[2] z) {
            a = Constant<value = float[2] {1, 2}>() b = Constant<value_float = 2.0>()
            c = Constant<value_ints = [3, 4]>() d = Mul(a, b) y = Add(x, d) z = Identity(c) }"""
    )
    cleanup.clean(graph)
    out = run(graph, {"x": np.zeros(2, np.float32)})
    assert out["y"].tolist() == [2, 4]
    assert out["z"].tolist() == [3, 4]
    assert isinstance(graph.to_model("g"), onnx.ModelProto)
