"""Planted faults: an overflow, a constant that vanishes, an operator that digits matter to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.export.graph_text import parse, run

from t2s_engines.criteria import (
    COSINE_FLOOR,
    FLOORS,
    box_iou,
    figures,
    mask_iou,
)
from t2s_engines.graphs.graph import Graph
from t2s_engines.graphs.ranking import given_ranking
from t2s_engines.graphs.rounding import rounding_graph
from t2s_engines.graphs.running import running
from t2s_export.errors import ExportError
from t2s_export.precision import (
    Calibration,
    calibration_inputs,
    choose_islands,
    islands_by_rule,
    typed_float16,
)
from t2s_export.precision.view import GraphView
from t2s_rt.evaluation.agreement import PROMISED, PROMISED_COSINE

SIZE = 16


def matrix(seed: int) -> NDArray[np.float32]:
    values: NDArray[np.float64] = np.random.default_rng(seed).normal(size=(SIZE, SIZE))
    return np.asarray(values / SIZE**0.5, dtype=np.float32)


def chain(middle: str) -> Graph:
    """Two products with ``middle`` between them: it makes ``m`` of ``a`` and may use ``k``."""
    graph = parse(
        f"g (float[B,{SIZE}] x) => (float[B,{SIZE}] image_embedding)"
        f"{{ [first] a = MatMul(x, v) {middle} [last] image_embedding = MatMul(m, w) }}"
    )
    graph.constants.update(v=matrix(1), w=matrix(2))
    return graph


def inputs(count: int = 2) -> list[Calibration]:
    generator = np.random.default_rng(0)
    rows = [generator.normal(size=(64, SIZE)).astype(np.float32) for _ in range(count)]
    return [calibration_inputs(f"rows {i}", {"x": row}) for i, row in enumerate(rows)]


def rounded(graph: Graph, islands: dict[str, str], x: NDArray[Any]) -> NDArray[np.float32]:
    with running(rounding_graph(typed_float16(graph, islands))) as session:
        return np.asarray(session({"x": x})["image_embedding"])


def test_a_planted_overflow_is_found_and_cured() -> None:
    graph = chain("[up] b = Mul(a, k) [down] m = Div(b, k)")
    graph.constants["k"] = np.array(3e4, np.float32)
    x = inputs(1)[0].feeds["x"]
    assert not np.isfinite(rounded(graph, {}, x)).all(), "the plant must overflow"
    decision = choose_islands("mask_encoder", graph, inputs(), trials=12)
    assert set(decision.islands) == {"up", "down"}
    assert decision.islands["up"].startswith("range: ")
    assert decision.met and decision.after["cosine image_embedding"] > 0.9999
    assert decision.moved == () and decision.trials == 1
    assert np.isfinite(rounded(graph, decision.islands, x)).all()


def test_values_near_the_limit_have_no_headroom() -> None:
    graph = chain("[up] b = Mul(a, k) [down] m = Div(b, k)")
    graph.constants["k"] = np.array(4e3, np.float32)  # about 16000: finite, on these rows
    x = inputs(1)[0].feeds["x"]
    assert np.isfinite(rounded(graph, {}, x)).all()
    decision = choose_islands("mask_encoder", graph, inputs(), trials=12)
    assert set(decision.islands) == {"up", "down"}
    assert decision.largest < 65504 / 8


def test_readers_of_a_large_value_are_found_through_moves() -> None:
    graph = chain(
        "[up] b = Mul(a, k) [t] c = Transpose<perm=[0,1]>(b) [down] d = Div(c, k) [r] m = Relu(d)"
    )
    graph.constants["k"] = np.array(3e4, np.float32)
    decision = choose_islands("mask_encoder", graph, inputs(), trials=12)
    assert set(decision.islands) == {"up", "down"}
    typed = typed_float16(graph, decision.islands)
    assert typed.types()["c"].elem_type == 1


def test_values_that_only_move_are_not_measured_again() -> None:
    graph = parse(
        "g (float[B,4] x) => (float[B,8] y, float[8,4] z) <float[4,4] w = "
        "{1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8}, float[4,4] big = {1,2,3,4,5,6,7,9999,1,2,3,4,5,6,7,8}>"
        "{ a = MatMul(x, w) t = Transpose<perm=[0,1]>(a) y = Concat<axis=1>(t, a) "
        "z = Concat<axis=0>(t, big) }"
    )
    # z holds a constant that may be larger than what moves into it
    assert GraphView(graph).made_anew() == {"a", "z"}


def test_a_constant_that_vanishes_is_found() -> None:
    graph = chain("[down] b = Mul(a, tiny) [up] m = Mul(b, huge)")
    graph.constants["tiny"] = np.array(1e-8, np.float32)
    graph.constants["huge"] = np.array(1e8, np.float32)
    decision = choose_islands("mask_encoder", graph, inputs(), trials=12)
    assert {"down", "up"} <= set(decision.islands)
    assert "changes by 1" in decision.islands["down"]
    assert "changes by inf" in decision.islands["up"]
    assert decision.met


def sensitive() -> Graph:
    """A sum that loses its small summand in float16, and a difference that needs it."""
    graph = chain("[sum] b = Add(a, k) [difference] c = Sub(b, k) [relu] m = Relu(c)")
    graph.constants["k"] = np.full(SIZE, 4096.0, np.float32)  # well within range
    return graph


def test_a_planted_sensitive_operator_is_found() -> None:
    graph = sensitive()
    decision = choose_islands("mask_encoder", graph, inputs(), trials=24)
    assert decision.before["cosine image_embedding"] < 0.99
    assert decision.after["cosine image_embedding"] >= 0.99933
    assert {"sum", "difference"} <= set(decision.islands)
    assert {"first", "last"}.isdisjoint(decision.islands)
    assert all(why.startswith("error: ") for why in decision.islands.values())
    assert decision.moved
    assert all("to sum" in label or "to difference" in label for label in decision.moved)
    assert "100.0 % of the multiplications are float16: 2 groups" in decision.summary
    value = decision.before["cosine image_embedding"]
    assert f"cosine image_embedding would be {value:.4f}, below 0.9993" in decision.summary


def test_a_small_budget_still_ends_with_every_floor_held() -> None:
    decision = choose_islands("mask_encoder", sensitive(), inputs(), trials=11)
    assert decision.met
    assert decision.trials <= 11


def chaotic() -> Graph:
    """The fraction of a product's last digits decides: any rounding at all draws it anew."""
    graph = chain("[up] b = Mul(a, k) [floor] c = Floor(b) [down] m = Sub(b, c)")
    graph.constants["k"] = np.full(SIZE, 4000.0, np.float32)  # within range
    return graph


def test_a_float32_graph_is_never_called_float16_without_a_word() -> None:
    decision = choose_islands("mask_encoder", chaotic(), inputs())
    assert decision.met, "what is written holds its floors"
    assert "first" in decision.islands
    assert decision.flop_share <= 0.5
    assert f"{100 * decision.flop_share:.1f} % of the multiplications are float16" in (
        decision.summary
    )
    assert "most of a float16 file's gain is lost" in decision.summary
    assert decision.as_record()["summary"] == decision.summary
    assert decision.as_record()["float16_multiplications"] == round(decision.flop_share, 4)


def test_what_holds_by_rules_is_said_in_few_words() -> None:
    decision = choose_islands("mask_encoder", chain("[relu] m = Relu(a)"), inputs())
    assert decision.trials == 1
    assert decision.summary == "100.0 % of the multiplications are float16"


def test_a_decision_repeats_and_names_its_inputs() -> None:
    one, two = (choose_islands("mask_encoder", sensitive(), inputs(), trials=12) for _ in "12")
    assert one.as_record() == two.as_record()
    record = one.as_record()
    assert [entry["name"] for entry in record["calibration"]] == ["rows 0", "rows 1"]
    assert len({entry["sha256"] for entry in record["calibration"]}) == 2
    assert record["floors"] == {"cosine image_embedding": 0.99933}
    assert record["before"]["cosine image_embedding"] < record["after"]["cosine image_embedding"]


def test_shares_count_what_is_float16() -> None:
    decision = choose_islands("mask_encoder", sensitive(), inputs(), trials=24)
    # Relu moves without rounding, so it does not count
    assert decision.node_share == pytest.approx(2 / 4)
    assert decision.flop_share == 1.0


def test_a_decision_needs_inputs_and_trials() -> None:
    with pytest.raises(ExportError, match="found 0 and 12"):
        choose_islands("mask_encoder", sensitive(), [], trials=12)
    with pytest.raises(ExportError, match="found 2 and 3"):
        choose_islands("mask_encoder", sensitive(), inputs(), trials=3)


def test_masks_at_minus_ten_thousand_are_no_overflow() -> None:
    graph = parse(
        f"g (float[B,{SIZE}] x, bool[{SIZE}] mask) => (float[B,{SIZE}] image_embedding)"
        "<float one = {1}, float masked = {-10000}>"
        "{ [cast] a = Cast<to=1>(mask) [not] b = Sub(one, a) [bias] c = Mul(b, masked)"
        "  [scores] d = MatMul(x, v) [masking] e = Add(d, c) "
        "[softmax] image_embedding = Softmax(e) }"
    )
    graph.constants["v"] = matrix(1)
    mask = np.arange(SIZE) % 3 > 0
    feeds = [calibration_inputs(item.name, {**item.feeds, "mask": mask}) for item in inputs()]
    decision = choose_islands("mask_encoder", graph, feeds, trials=12)
    assert decision.islands == {"softmax": "softmax"}
    assert decision.met


def test_floors_keep_a_third_of_what_is_promised_in_hand() -> None:
    assert FLOORS["box IoU mean"] == pytest.approx(0.99 + 0.01 / 3, abs=1e-5)
    assert FLOORS["mask IoU worst"] == pytest.approx(0.98)
    assert all(PROMISED[name] < floor < 1 for name, floor in FLOORS.items())
    assert PROMISED_COSINE < COSINE_FLOOR < 1


def test_figures_of_another_graph_are_below_their_floors() -> None:
    generator = np.random.default_rng(3)
    left = {
        "logits": generator.normal(size=(1, 30, 4)).astype(np.float32),
        "boxes": generator.uniform(0.2, 0.4, (1, 30, 4)).astype(np.float32),
    }
    feeds = {"text_token_mask": np.ones((1, 4), bool)}
    order = generator.permutation(30)
    same = figures("detector", left, {k: v[:, order] for k, v in left.items()}, feeds)
    assert min(same.values()) == pytest.approx(1.0)
    moved = {**left, "boxes": left["boxes"] + np.float32(0.02)}
    assert figures("detector", left, moved, feeds)["box IoU mean"] < FLOORS["box IoU mean"]
    broken = {**left, "boxes": np.full_like(left["boxes"], np.nan)}
    assert set(figures("detector", left, broken, feeds).values()) == {-1.0}


def test_iou_of_boxes_and_masks() -> None:
    boxes = np.array([[0.5, 0.5, 0.2, 0.2], [0.6, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]])
    np.testing.assert_allclose(box_iou(boxes[:1], boxes), [[1, 1 / 3, 0]])
    one = np.zeros((3, 4, 4), bool)
    two = np.zeros((3, 4, 4), bool)
    one[0, :2], two[0, 1:3] = True, True
    one[1, 0] = True
    np.testing.assert_allclose(mask_iou(one, two), [1 / 3, 0, 1])


def test_rules_hold_for_hand_written_norms_and_gates() -> None:
    graph = parse(
        """g (float[B,4] x) => (float[B,4] y) <float k = {1.702},
        float[4,4] w = {1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8}> {
        [scaled] a = Mul(x, k)
        [gate] b = Sigmoid(a)
        [activation] c = Mul(x, b)
        [length] d = ReduceL2<axes=[1]>(c)
        [unit] e = Div(c, d)
        [product] f = MatMul(e, w)
        [score] y = Sigmoid(f)
        }"""
    )
    found = islands_by_rule(graph)
    # the gate of x * sigmoid(k x) is no island: its argument bounds it
    assert found == {
        "length": "vector length",
        "unit": "vector length",
        "score": "sigmoid",
    }


def test_a_given_ranking_replaces_the_graphs_own() -> None:
    graph = parse(
        "g (float[2,5] x) => (float[2,3] y) <int64[1] k = {3}>"
        "{ [rank] v, i = TopK(x, k) [rows] y = GatherElements<axis=1>(x, i) }"
    )
    x = np.array([[5, 1, 4, 2, 3], [1, 2, 3, 4, 5]], np.float32)
    given, rankings = given_ranking(graph)
    assert rankings == {"i/given": "i"}
    assert list(graph.inputs) == ["x"], "the graph given must not change"
    rows = np.array([[4, 0, 1], [0, 1, 2]])
    found = run(given, {"x": x, "i/given": rows})["y"]
    np.testing.assert_array_equal(found, np.take_along_axis(x, rows, 1))
    plain = chain("[relu] m = Relu(a)")
    assert given_ranking(plain) == (plain, {})
