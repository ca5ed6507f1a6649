"""The allow-list of operators: what TensorRT 8.6 to 11 cannot import is refused by name."""

from __future__ import annotations

import json
from importlib.resources import files

import onnx
import pytest
from onnx import TensorProto, helper
from tests.export.graph_text import parse

from t2s_engines.graphs.graph import Graph
from t2s_export.errors import OperatorError
from t2s_export.graphs.operators import check_operators, operator_problems


def problems(text: str) -> str:
    return "\n".join(operator_problems(parse(text)))


def test_a_plain_graph_passes() -> None:
    check_operators(
        parse(
            """g (uint8[B,4,4,3] x) => (float[B,3,4,4] y) <float[1] s = {255}> {
                a = Cast<to = 1>(x) b = Div(a, s) y = Transpose<perm = [0, 3, 1, 2]>(b) }"""
        )
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("g (float[4] x) => (int64[1,K] y) { y = NonZero(x) }", "NonZero"),
        ("g (float[4] x) => (float[K] y) { c = Cast<to = 9>(x) y = Compress(x, c) }", "Compress"),
        ("g (float[4] x) => (float[4] y) { y = Bernoulli(x) }", "Bernoulli"),
        ("g (float[3,3] x) => (float y) { y = Det(x) }", "Det"),
        ("g (double[4] x) => (double[4] y) { y = Relu(x) }", "float64"),
        ("g (float[4] x) => (float[4] y) { a = Cast<to = 11>(x) y = Cast<to = 1>(a) }", "float64"),
        ("g (float[4] x) => (int64[4] y) { y = Cast<to = 7>(x) }", "int64 at the border in 'y'"),
        (
            "g (uint8[4] x) => (float[4] y) <uint8[4] a = {1, 2, 3, 4}> "
            "{ b = Add(x, a) y = Cast<to = 1>(b) }",
            "on uint8",
        ),
        (
            "g (bool[4] x, bool[4] z) => (bool[4] y) { y = Equal(x, z) }",
            "Equal in '' \\(on bool",
        ),
        (
            "g (float[1,4] x, int64[1] k) => (float[1,K] y) { y, i = TopK(x, k) }",
            "K must be a constant",
        ),
        (
            "g (float[1,5000] x) => (float[1,4000] y) <int64[1] k = {4000}> { y, i = TopK(x, k) }",
            "below 3840",
        ),
        (
            "g (float[1,8] x) => (float[1,4] y) <int64[1] k = {4}> "
            "{ y, i = TopK<sorted = 0>(x, k) }",
            "must sort",
        ),
        (
            'g (float[2,3] x) => (float[2] y) { y = Einsum<equation = "...i->..."> (x) }',
            "no ellipsis",
        ),
        (
            "g (float[4] x) => (float[4] y) { s = SequenceConstruct(x) i = Constant<value = "
            "int64 {0}>() y = SequenceAt(s, i) }",
            "SequenceConstruct",
        ),
        (
            "g (float[2,3] x) => (float[2,3] y, float[2,1] m) <float[3] w = {1, 1, 1}> "
            "{ y, m = LayerNormalization(x, w) }",
            "only its first output",
        ),
    ],
)
def test_what_some_release_cannot_import_is_named(text: str, named: str) -> None:
    with pytest.raises(OperatorError, match=named):
        check_operators(parse(text))


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
    with pytest.raises(OperatorError, match="If .*control flow"):
        check_operators(Graph.from_model(model))


def test_many_faults_are_counted_and_not_all_listed() -> None:
    body = " ".join(f"a{i} = NonZero(x)" for i in range(20))
    text = f"g (float[4] x) => (float[4] y) {{ {body} y = Relu(x) }}"
    with pytest.raises(OperatorError, match="and 12 more"):
        check_operators(parse(text))


def test_the_table_holds_only_operators_of_our_opset() -> None:
    table = json.loads(
        files("t2s_export.graphs").joinpath("tensorrt_operators.json").read_text("utf-8")
    )
    known = {
        schema.name
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.since_version <= 17
    }
    assert set(table["operators"]) <= known
    assert not {"If", "Loop", "Scan", "NonZero", "NonMaxSuppression"} & set(table["operators"])
