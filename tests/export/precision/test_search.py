"""The search on errors that are known: additive in squares, additive, and chaotic.

A long graph of products and sums stands for a model; what rounding does to it is a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from tests.export.graph_text import parse

from t2s_engines.criteria import Figures, floor_of
from t2s_export.precision.search import PROVING_TRIALS, IslandSearch
from t2s_export.precision.shares import ProductSizes
from t2s_export.precision.view import GraphView

LENGTH = 48
FIGURE = "box IoU mean"
ALLOWED = 1 - floor_of(FIGURE)
Together = Callable[[list[float]], float]


def in_squares(errors: list[float]) -> float:
    return float(sum(error**2 for error in errors) ** 0.5)


class Model:
    """``product_i`` and ``sum_i`` in turn, each with an error if it is float16."""

    def __init__(self, errors: Mapping[str, float], together: Together = in_squares) -> None:
        lines = " ".join(
            f"[product_{i}] p{i} = MatMul(x{i}, w) [sum_{i}] x{i + 1} = Add(x{i}, p{i})"
            for i in range(LENGTH)
        )
        graph = parse(
            f"g (float[4,2] x0) => (float[4,2] x{LENGTH}) <float[2,2] w = {{1,2,3,4}}> {{{lines}}}"
        )
        self.view = GraphView(graph)
        self.sizes = ProductSizes(graph)
        self.errors, self.together = errors, together
        self.measured: list[set[str]] = []
        self.proven: list[Figures] = []

    def weigh(self, multiplications: Callable[[int], float]) -> None:
        self.sizes.multiplications = {f"product_{i}": multiplications(i) for i in range(LENGTH)}

    def figures(self, islands: Mapping[str, str]) -> Figures:
        half = [e for name, e in self.errors.items() if name not in islands]
        return {FIGURE: 1 - self.together(half), "cosine logits": 1.0}

    def search(self, measurements: int = 14) -> tuple[IslandSearch, Figures]:
        def measure(islands: Mapping[str, str]) -> Figures:
            self.measured.append(set(self.errors) - set(islands))
            return self.figures(islands)

        def prove(islands: Mapping[str, str]) -> Figures:
            self.proven.append(self.figures(islands))
            return self.proven[-1]

        before = self.figures({})
        assert before[FIGURE] < floor_of(FIGURE), "the plant must miss its floor"
        search = IslandSearch(self.view, {}, before, self.sizes, measure, prove)
        found = search.run(measurements)
        assert len(self.measured) <= 3 + measurements
        assert len(self.proven) <= PROVING_TRIALS + 1
        assert found == self.figures(search.islands), "what is taken was run"
        assert found[FIGURE] >= floor_of(FIGURE)
        return search, found

    def moved_share(self, search: IslandSearch) -> float:
        return self.sizes.share(search.islands.keys())


def names() -> list[str]:
    return [f"{kind}_{i}" for i in range(LENGTH) for kind in ("product", "sum")]


def test_one_culprit_among_many_moves_nearly_alone() -> None:
    model = Model({**dict.fromkeys(names(), ALLOWED / 100), "product_31": 3 * ALLOWED})
    model.weigh(lambda _: 1.0)
    search, _ = model.search()
    assert "product_31" in search.islands
    assert len(search.islands) == 1
    assert model.moved_share(search) == pytest.approx(1 / LENGTH)


def test_sums_move_before_products() -> None:
    model = Model(dict.fromkeys(names(), 1.2 * ALLOWED / (2 * LENGTH) ** 0.5))
    model.weigh(lambda _: 1.0)
    search, _ = model.search()
    assert {group.kind for group in search.moved} == {"sums"}
    assert model.moved_share(search) == 0.0


def test_cheap_products_move_before_dear_ones() -> None:
    """As in a detector: the last layers have few rows, and their errors reach the boxes whole."""
    model = Model({f"product_{i}": 1.2 * ALLOWED / LENGTH**0.5 for i in range(LENGTH)})
    model.weigh(lambda i: 100.0 if i < 36 else 1.0)
    search, _ = model.search()
    moved = set(search.islands)
    # 1 - 1 / 1.2**2 = 31 % of the squares must go: the twelve cheap ones have 25 %
    assert moved >= {f"product_{i}" for i in range(36, LENGTH)}
    assert model.moved_share(search) < 0.2


def test_errors_that_add_up_are_proven_and_not_believed() -> None:
    model = Model({f"product_{i}": 1.3 * ALLOWED / LENGTH for i in range(LENGTH)}, sum)
    model.weigh(lambda _: 1.0)
    search, _ = model.search()
    # 23 % must go, which squares do not say
    assert 0.23 <= model.moved_share(search) <= 0.51


def test_chaos_ends_as_the_float32_graph() -> None:
    """Any rounding at all exchanges everything, as with weights that nobody trained."""
    model = Model(dict.fromkeys(names(), 0.1), lambda half: 0.1 if half else 0.0)
    model.weigh(lambda _: 1.0)
    search, found = model.search()
    assert set(search.islands) == set(names())
    assert found[FIGURE] == 1.0
    assert model.moved_share(search) == 1.0


def test_halving_ends_where_it_cannot_pay() -> None:
    model = Model({**dict.fromkeys(names(), 0.0), "product_5": 2 * ALLOWED})
    model.weigh(lambda _: 1.0)
    model.search(measurements=60)
    # 2 kinds, and log2(48) times both halves
    assert len(model.measured) <= 2 + 2 * 6


def test_sensitivity_is_on_record_by_label() -> None:
    model = Model({f"product_{i}": 2 * ALLOWED / LENGTH**0.5 for i in range(LENGTH)})
    model.weigh(lambda _: 1.0)
    search, _ = model.search(measurements=2)
    first = search.sensitivity["products (48): product_0 to product_47"]
    half = search.sensitivity["products (24): product_24 to product_47"]
    assert 1 - first[FIGURE] == pytest.approx(2 * ALLOWED)
    assert 1 - half[FIGURE] == pytest.approx(2 * ALLOWED / 2**0.5)
    assert search.islands["product_30"] == "error: products (24): product_24 to product_47"
