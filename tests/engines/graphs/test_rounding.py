"""The rounding graph: fp16 storage, float32 arithmetic, on a provider that hides both."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tests.export.graph_text import parse

from t2s_engines.errors import GraphError
from t2s_engines.graphs.graph import Graph, ValueType
from t2s_engines.graphs.rounding import EXACT, rounding_graph
from t2s_engines.graphs.running import running

LEVELS = ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"]
CHAIN = """g (float[4] x) => (float[4] y) {
    h = Cast<to = 10>(x) a = Mul(h, k) b = Mul(a, k) c = Div(b, k) d = Div(c, k)
    y = Cast<to = 1>(d) }"""


def halves(graph: Graph, **values: Any) -> Graph:
    """Add float16 constants; ONNX text would take their numbers for bit patterns."""
    graph.constants |= {name: np.array(value, np.float16) for name, value in values.items()}
    return graph


def chain() -> Graph:
    return halves(parse(CHAIN), k=300)


def run(graph: Graph, optimise: bool = True, **feeds: NDArray[Any]) -> NDArray[Any]:
    """The only output."""
    with running(graph, optimise=optimise) as session:
        (value,) = session(feeds).values()
    return value


def run_at(level: str, graph: Graph, feeds: dict[str, NDArray[Any]]) -> NDArray[Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.to_model("g").SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    value: NDArray[Any] = session.run(None, feeds)[0]
    return value


@pytest.mark.parametrize("level", LEVELS)
def test_overflow_shows_at_every_level_where_the_plain_graph_hides_it(level: str) -> None:
    graph = chain()
    feeds = {"x": np.array([1, 10, -2, 0], np.float32)}
    # this is why the rounding graph exists: 300 * 300 is no float16, yet ...
    np.testing.assert_allclose(run_at(level, graph, feeds), [1, 10, -2, 0], rtol=1e-2)
    np.testing.assert_array_equal(
        run_at(level, rounding_graph(graph), feeds), [np.inf, np.inf, -np.inf, 0]
    )


def test_the_graph_given_stays_as_it_is() -> None:
    graph = chain()
    before = graph.to_model("g").SerializeToString(deterministic=True)
    rounded = rounding_graph(graph)
    assert graph.to_model("g").SerializeToString(deterministic=True) == before
    assert rounded.inputs == graph.inputs
    assert rounded.outputs == graph.outputs
    onnx.checker.check_model(rounded.to_model("g"), full_check=True)


def test_a_variance_of_large_values_overflows() -> None:
    graph = parse(
        """g (float[1,4] x) => (float[1,1] y) {
            h = Cast<to = 10>(x) m = ReduceMean<axes = [-1]>(h) d = Sub(h, m) s = Mul(d, d)
            v = ReduceMean<axes = [-1]>(s) y = Cast<to = 1>(v) }"""
    )
    values = np.array([[-300, 300, -300, 300]], np.float32)
    assert run(rounding_graph(graph), x=values) == np.inf
    assert run(rounding_graph(graph), x=values / 4) == np.float16(75**2)


def test_a_product_whose_sum_overflows() -> None:
    graph = parse(
        """g (float[1,1024] x) => (float[1,1] y) {
            h = Cast<to = 10>(x) t = Transpose(h) p = MatMul(h, t) y = Cast<to = 1>(p) }"""
    )
    assert run(rounding_graph(graph), x=np.full((1, 1024), 8, np.float32)) == np.inf
    # sums in float32: 2048 + 1 + 1 + ... would stop at 2048 in float16
    assert run(rounding_graph(graph), x=np.ones((1, 1024), np.float32) * 2) == 4096
    alternating = np.concatenate([np.full(512, 8.0), np.full(512, 0.0)])[None]
    assert run(rounding_graph(graph), x=alternating.astype(np.float32)) == 32768


def test_exp_overflows_and_small_products_become_denormal_then_zero() -> None:
    exp = parse("g (float[2] x) => (float[2] y) { h = Cast<to = 10>(x) e = Exp(h) "
                "y = Cast<to = 1>(e) }")  # fmt: skip
    np.testing.assert_array_equal(
        np.isinf(run(rounding_graph(exp), x=np.array([11, 12], np.float32))), [False, True]
    )
    square = parse("g (float[3] x) => (float[3] y) { h = Cast<to = 10>(x) e = Mul(h, h) "
                   "y = Cast<to = 1>(e) }")  # fmt: skip
    values = np.array([1e-4, 1e-3, 2e-2], np.float32)
    halves = values.astype(np.float16).astype(np.float32)
    expected = (halves * halves).astype(np.float16)
    assert expected[0] == 0 and 0 < expected[1] < 6e-5  # underflow; denormal
    np.testing.assert_array_equal(run(rounding_graph(square), x=values), expected)


def test_float16_borders_keep_their_type() -> None:
    graph = halves(
        parse(
            """g (float16[2,2] x) => (float16[2,2] y, float16[2,2] z, float16[2,2] w)
            { y = Transpose(x) z = Mul(y, w) }"""
        ),
        w=[[1, 2], [3, 4]],
    )
    rounded = rounding_graph(graph)
    assert [value.elem_type for value in rounded.outputs.values()] == [TensorProto.FLOAT16] * 3
    values = np.array([[1.5, 300], [60000, 2]], np.float16)
    with running(rounded) as session:
        found = session({"x": values})
    np.testing.assert_array_equal(found["y"], values.T)
    np.testing.assert_array_equal(found["z"], [[1.5, np.inf], [900, 8]])
    np.testing.assert_array_equal(found["w"], [[1, 2], [3, 4]])


def test_casts_of_every_direction() -> None:
    graph = parse(
        """g (int32[3] i, float[3] x) => (float[3] a, int32[3] b, float[3] c) {
            h = Cast<to = 10>(i) a = Cast<to = 1>(h)
            k = Cast<to = 10>(x) b = Cast<to = 6>(k)
            l = CastLike(x, k) c = CastLike(l, x) }"""
    )
    with running(rounding_graph(graph)) as session:
        found = session({"i": np.array([2049, 70000, -3], np.int32),
                         "x": np.array([2049.5, 0.1, -3], np.float32)})  # fmt: skip
    np.testing.assert_array_equal(found["a"], [2048, np.inf, -3])
    np.testing.assert_array_equal(found["b"], [2050, 0, -3])
    np.testing.assert_array_equal(found["c"], np.array([2050, 0.1, -3], np.float16))


def test_attributes_bound_to_the_type_follow() -> None:
    graph = parse(
        """g (int64[1] n, float[3,3] x) => (float[K] y, float[3,3] z)
        { c = ConstantOfShape<value = float16[1] {15872}>(n) y = Cast<to = 1>(c)
          h = Cast<to = 10>(x) e = EyeLike(h) f = EyeLike<dtype = 10>(x) s = Add(e, f)
          z = Cast<to = 1>(s) }"""
    )
    with running(rounding_graph(graph)) as session:
        found = session({"n": np.array([2]), "x": np.zeros((3, 3), np.float32)})
    np.testing.assert_array_equal(found["y"], [1.5, 1.5])
    np.testing.assert_array_equal(found["z"], 2 * np.eye(3))


def test_int_and_bool_nodes_are_untouched() -> None:
    graph = parse(
        """g (int32[3] i, bool[3] b) => (int32[3] y) <int32[3] k = {1, 2, 3}>
        { j = Mul(i, k) y = Where(b, i, j) }"""
    )
    assert rounding_graph(graph).nodes == graph.nodes


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{ h = Cast<to = 10>(x) r = RandomNormalLike(h) y = Cast<to = 1>(r) }", "repeat"),
        ("{ h = Cast<to = 10>(x) r = Bernoulli(h) y = Cast<to = 1>(r) }", "repeat"),
        ("{ h = Cast<to = 10>(x) s = Cast<to = 10>(k) "
         "r = LayerNormalization<stash_type = 10>(h, s) y = Cast<to = 1>(r) }", "stash_type"),
        ("{ h = Cast<to = 10>(x) s = SequenceConstruct(h) i = Constant<value = int64 {0}>() "
         "a = SequenceAt(s, i) y = Cast<to = 1>(a) }", "known type"),
    ],
)  # fmt: skip
def test_what_cannot_be_derived_is_refused(text: str, named: str) -> None:
    with pytest.raises(GraphError, match=named):
        rounding_graph(parse(f"g (float[2,3] x, float[3] k) => (float[2,3] y) {text}"))


# --- operators that need no rounding of their own -------------------------------------------

_FORMS = {
    "Abs": "Abs(x)", "Ceil": "Ceil(x)", "Floor": "Floor(x)", "Neg": "Neg(x)", "Relu": "Relu(x)",
    "Round": "Round(x)", "Sign": "Sign(x)", "Clip": "Clip(x, low, high)",
    "Concat": "Concat<axis = 0>(x, z)", "ConstantOfShape": None,
    "DepthToSpace": "DepthToSpace<blocksize = 2>(x)",
    "SpaceToDepth": "SpaceToDepth<blocksize = 2>(x)",
    "Expand": "Expand(x, five)", "EyeLike": None, "Flatten": "Flatten(x)",
    "Gather": "Gather(x, zero)", "GatherElements": "GatherElements<axis = 3>(x, many)",
    "GatherND": "GatherND(x, zero)", "Identity": "Identity(x)",
    "Max": "Max(x, z)", "Min": "Min(x, z)", "Pad": "Pad(x, pads, high)",
    "ReduceMax": "ReduceMax<axes = [1]>(x)", "ReduceMin": "ReduceMin<axes = [1]>(x)",
    "Reshape": "Reshape(x, flat)", "ScatterElements": "ScatterElements<axis = 3>(x, many, few)",
    "ScatterND": "ScatterND(x, first, z)", "Slice": "Slice(x, zero, one, three)",
    "Split": "Split<axis = 3>(x)", "Squeeze": "Squeeze(x, zero)", "Tile": "Tile(x, repeats)",
    "TopK": "TopK(x, one)", "Transpose": "Transpose(x)", "Trilu": "Trilu(x)",
    "Unsqueeze": "Unsqueeze(x, zero)", "Where": "Where(b, x, z)",
}  # fmt: skip
_CONSTANTS = """int64[1] zero = {0},
    int64[1] one = {1}, int64[1] three = {3}, int64[1] flat = {-1}, int64[1,1,1,2] many = {2, 4},
    int64[1,1] first = {0},
    int64[4] repeats = {1, 2, 1, 1},
    int64[5] five = {2, 1, 4, 4, 6}, int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 0}"""


def test_every_exact_operator_has_a_form_here() -> None:
    assert set(_FORMS) == EXACT


@pytest.mark.parametrize("form", [form for form in _FORMS.values() if form])
def test_exact_operators_give_float16_values_of_float16_values(form: str) -> None:
    outputs = "r, s" if form.startswith(("Split", "TopK")) else "r"
    text = f"""g (float16[1,4,4,6] x, float16[1,4,4,6] z, bool[1,4,4,6] b) => (float16 y)
        <{_CONSTANTS}> {{ {outputs} = {form} y = Identity(r) }}"""
    graph = halves(parse(text), low=-0.7, high=0.9, few=[[[[0.3, 0.7]]]])
    # no casts between what goes in and the operator's result
    typed = rounding_graph(graph)
    operator = form.partition("(")[0].partition("<")[0]
    at = next(i for i, node in enumerate(typed.nodes) if node.op_type == operator)
    raw = typed.nodes[at].output[0]
    random = np.random.default_rng(0)
    draw = [random.normal(0, 3, (1, 4, 4, 6)).astype(np.float16) for _ in range(2)]
    shown = Graph(typed.nodes, typed.constants, typed.inputs,
                  {raw: ValueType(TensorProto.FLOAT, None)}, typed.opset)  # fmt: skip
    feeds = {"x": draw[0], "z": draw[1], "b": random.random((1, 4, 4, 6)) < 0.5}
    value = run_at(LEVELS[0], shown, feeds)
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, value.astype(np.float16).astype(np.float32))
    assert np.unique(value).size > 1
    assert typed.nodes[at + 1].op_type != "Cast"


def test_a_scatter_that_adds_is_rounded() -> None:
    graph = parse(
        """g (float16[2] x) => (float16[2] y) <int64[1] i = {0}>
        { y = ScatterElements<reduction = "add">(x, i, u) }"""
    )
    halves(graph, u=[1])
    found = run(rounding_graph(graph), x=np.array([2048, 5], np.float16))
    np.testing.assert_array_equal(found, [2048, 5])
    assert any(n.op_type == "Cast" for n in rounding_graph(graph).nodes[-2:])


# --- numpy as the oracle -------------------------------------------------------------------

_BINARY = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
_UNARY = {"Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Floor": np.floor, "Ceil": np.ceil}


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """Steps (operator, operand, operand); operands count values from the first input."""
    steps = []
    for index in range(draw(st.integers(1, 12))):
        operands = st.integers(0, index + 1)
        name = draw(st.sampled_from([*_BINARY, *_UNARY]))
        steps.append((name, draw(operands), draw(operands)))
    return steps


_halves = st.lists(st.floats(width=16, allow_nan=False, allow_infinity=False),
                   min_size=6, max_size=6)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(programs(), _halves, _halves, st.booleans())
def test_random_programs_equal_numpy_bit_for_bit(
    steps: list[tuple[str, int, int]], first: list[float], second: list[float], optimise: bool
) -> None:
    values = [np.array(first, np.float16), np.array(second, np.float16)]
    nodes = []
    for index, (name, left, right) in enumerate(steps):
        operands = [left, right] if name in _BINARY else [left]
        nodes.append(helper.make_node(name, [f"v{i}" for i in operands], [f"v{index + 2}"]))
        wide = [values[i].astype(np.float32) for i in operands]
        with np.errstate(all="ignore"):
            result = (_BINARY | _UNARY)[name](*wide)
            values.append(np.asarray(result).astype(np.float16))
    border = ValueType(TensorProto.FLOAT16, (6,))
    outputs = {f"v{i}": border for i in range(2, len(values))}
    graph = Graph(nodes, {}, {"v0": border, "v1": border}, outputs, 17)
    with running(rounding_graph(graph), optimise=optimise) as session:
        found = session({"v0": values[0], "v1": values[1]})
    for index in range(2, len(values)):
        nan = np.isnan(values[index])
        np.testing.assert_array_equal(np.isnan(found[f"v{index}"]), nan)  # any NaN is NaN
        np.testing.assert_array_equal(
            found[f"v{index}"].view(np.uint16)[~nan], values[index].view(np.uint16)[~nan]
        )
