"""Which layers go back to float: planted harm is found, and no more than needed moves."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2s_calibration.int8.judge import Judge, limited, shortfall
from t2s_calibration.int8.layers import Layer
from t2s_calibration.int8.search import choose_layers
from t2s_engines.criteria import Figures
from t2s_engines.graphs.graph import Graph


class Planted:
    """Errors of int8 layers add up; a graph here is the set of its int8 layers."""

    def __init__(self, harm: dict[str, float]) -> None:
        self.harm, self.asked = harm, list[frozenset[str]]()

    def figures(self, graph: Graph, only: int | None = None) -> Figures:
        chosen = cast(frozenset[str], graph)
        self.asked.append(chosen)
        loss = sum(self.harm[name] for name in chosen)
        return {"mask IoU mean": 1 - loss, "mask IoU worst": 0.0, "cosine image_embedding": 0.1}

    def worst_call(self, graph: Graph) -> int:
        return 0


def _make(names: Collection[str]) -> Graph:
    return cast(Graph, frozenset(names))


def _layers(*products: int) -> list[Layer]:
    return [
        Layer(f"layer {i}", "MatMul", f"in {i}", f"w {i}", f"out {i}", size)
        for i, size in enumerate(products)
    ]


def test_only_means_are_limited() -> None:
    found = {"mask IoU mean": 0.98, "mask IoU worst": 0.5, "cosine x": 0.2}
    assert limited(found) == {"mask IoU mean": 0.98}
    assert shortfall(found, 0.96) == pytest.approx(0.5)


def test_all_layers_are_int8_where_that_is_near_enough() -> None:
    judge = Planted(dict.fromkeys(("layer 0", "layer 1"), 0.01))
    found = choose_layers(_make, _layers(1, 1), cast(Judge, judge), 0.97)
    assert found.layers == {"layer 0", "layer 1"} and found.met and not found.harm
    assert len(judge.asked) == 1


def test_sensitivity_is_measured_on_request() -> None:
    judge = Planted({"layer 0": 0.003, "layer 1": 0.012})
    found = choose_layers(_make, _layers(1, 1), cast(Judge, judge), 0.97, sensitivity=True)
    assert found.layers == {"layer 0", "layer 1"}
    assert found.harm == pytest.approx({"layer 0": 0.1, "layer 1": 0.4})


def test_the_cheap_and_harmful_layer_goes_first() -> None:
    judge = Planted({"layer 0": 0.02, "layer 1": 0.02, "layer 2": 0.0})
    found = choose_layers(_make, _layers(1000, 10, 1000), cast(Judge, judge), 0.97)
    assert found.layers == {"layer 0", "layer 2"}
    assert found.figures["mask IoU mean"] == pytest.approx(0.98)
    assert found.everything["mask IoU mean"] == pytest.approx(0.96)


@given(st.lists(st.tuples(st.floats(0.0, 0.2), st.integers(1, 10**6)), min_size=1, max_size=24))
@settings(max_examples=60, deadline=None)
def test_the_budget_always_holds(planted: list[tuple[float, int]]) -> None:
    layers = _layers(*(size for _, size in planted))
    judge = Planted({one.name: harm for one, (harm, _) in zip(layers, planted, strict=True)})
    found = choose_layers(_make, layers, cast(Judge, judge), 0.97)
    assert shortfall(found.figures, 0.97) <= 1.0 + 1e-9
    # its figures are of what was chosen, and one layer more would be too many
    assert found.figures == judge.figures(_make(found.layers))
    if len(found.layers) < len(layers):
        cost = {
            one.name: max(1e-3, one.products / sum(x.products for x in layers)) for one in layers
        }
        out = [one.name for one in layers if one.name not in found.layers]
        last = min(out, key=lambda name: found.harm[name] / cost[name])
        assert shortfall(judge.figures(_make({*found.layers, last})), 0.97) > 1.0
