"""Which operators of a graph stay float32, decided from rules and from calibration inputs.

Three steps. Rules hold for any weights (``rules``). One float32 run finds values and constants
that float16 cannot hold (``ranges``). Then the rounding graph of what is left, which computes what
the float16 file says with float32 arithmetic, is compared with the float32 graph; where a figure
of the role is below its floor, groups of operators are rounded alone, one group a trial, and the
worst return to float32: one, then two more, four more, until every floor holds, and then fewer
again as far as trials last. It always ends so: a graph without float16 is the float32 graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from t2s_engines.graphs.graph import Array, Graph
from t2s_engines.graphs.maxima import absolute_maxima
from t2s_engines.graphs.rounding import rounding_graph
from t2s_engines.graphs.running import running
from t2s_export.errors import ExportError
from t2s_export.precision.calibration import Calibration
from t2s_export.precision.criteria import Figures, figures, floor_of, summary
from t2s_export.precision.groups import Group, float16_nodes, groups_of
from t2s_export.precision.ranges import HEADROOM, constant_islands, range_islands
from t2s_export.precision.ranking import given_ranking
from t2s_export.precision.rules import Islands, islands_by_rule
from t2s_export.precision.shares import ProductSizes
from t2s_export.precision.typed import typed_float16
from t2s_export.precision.view import GraphView
from t2s_rt.contracts import Role

__all__ = ["DEFAULT_TRIALS", "Decision", "choose_islands"]

DEFAULT_TRIALS = 12
"""Runs of a whole graph that a decision may cost; a full-size graph takes seconds each."""
_CLOSING_TRIALS = 6
"""Of them, those kept for proving what was chosen: enough to move every group by doubling."""


@dataclass(frozen=True)
class Decision:
    """What was decided, from what, and what it gives.

    Attributes:
        role: of the graph.
        islands: nodes that compute in float32, each with its reason.
        calibration: the inputs used.
        largest: largest magnitude on them among values that may be float16, masks aside.
        before: figures with the islands of rules and ranges alone.
        after: figures with all islands.
        unaided: the same for a graph that ranks for itself, where the others were given the
            float32 graph's ranking; for the record. Empty for a graph that ranks nothing.
        sensitivity: figures of the worst groups, each rounded alone, by the group's label.
        moved: labels of the groups that returned to float32.
        trials: rounding graphs that were run on all calibration inputs.
        node_share: share of the computing nodes that are float16.
        flop_share: share of the multiplications in matrix products that are float16.
    """

    role: Role
    islands: Islands
    calibration: tuple[Calibration, ...]
    largest: float
    before: Figures
    after: Figures
    trials: int
    node_share: float
    flop_share: float
    unaided: Figures = field(default_factory=dict)
    sensitivity: Mapping[str, Figures] = field(default_factory=dict)
    moved: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether every figure is at its floor or above."""
        return _badness(self.after) <= 1.0

    def as_record(self) -> dict[str, Any]:
        """For ``bundle.json``: rules as counts, measured islands by name."""
        measured = ("range: ", "constant: ")
        return {
            "calibration": [{"name": c.name, "sha256": c.sha256} for c in self.calibration],
            "rules": dict(
                Counter(
                    why
                    for why in self.islands.values()
                    if not why.startswith((*measured, "error: "))
                )
            ),
            "ranges": {k: why for k, why in self.islands.items() if why.startswith(measured)},
            "largest": float(f"{self.largest:.3g}"),
            "headroom": HEADROOM,
            "before": _rounded(self.before),
            "after": _rounded(self.after),
            "unaided": _rounded(self.unaided),
            "floors": {name: floor_of(name) for name in self.after},
            "sensitivity": {label: _rounded(f) for label, f in self.sensitivity.items()},
            "moved": list(self.moved),
            "trials": self.trials,
            "float16_nodes": round(self.node_share, 4),
            "float16_multiplications": round(self.flop_share, 4),
        }


def choose_islands(
    role: Role,
    graph: Graph,
    calibration: Sequence[Calibration],
    *,
    trials: int = DEFAULT_TRIALS,
) -> Decision:
    """Decide which nodes of ``graph`` stay float32.

    Args:
        role: whose criteria hold.
        graph: a clean float32 graph whose constants are float32; not changed.
        calibration: inputs to measure on, at least one; images should be real ones or look so.
        trials: rounding graphs that may be run on all of them. Few trials mean coarse groups.

    Raises:
        ExportError: no calibration inputs, or ``trials`` below 8.
        GraphError: the graph cannot be rounded or run.
    """
    if not calibration or trials < _CLOSING_TRIALS + 2:
        raise ExportError(
            f"expected at least one calibration input and {_CLOSING_TRIALS + 2} trials to decide "
            f"the precision of {role}, found {len(calibration)} and {trials}"
        )
    view = GraphView(graph)
    islands = islands_by_rule(graph)
    maxima = absolute_maxima(graph, [item.feeds for item in calibration])
    by_range, largest = range_islands(view, {**_input_maxima(calibration), **maxima})
    islands = {**by_range, **islands}
    islands |= constant_islands(view, islands)
    trial = _Trial(role, graph, calibration)
    before = after = trial.figures(islands)
    search = _Search(view, islands, trial, trials)
    if _badness(before) > 1.0:
        after = search.run()
    float16 = float16_nodes(view, search.islands)
    computing = sum(view.computes(node) for node in graph.nodes)
    return Decision(
        role=role,
        islands=search.islands,
        calibration=tuple(calibration),
        largest=largest,
        before=before,
        after=after,
        unaided=trial.unaided(search.islands),
        sensitivity=search.sensitivity,
        moved=tuple(search.moved),
        trials=trial.count,
        node_share=len(float16) / max(1, computing),
        flop_share=trial.sizes.share({node.name for node in float16}),
    )


class _Trial:
    """The float32 graph's outputs, and how far a choice of islands is from them."""

    def __init__(self, role: Role, graph: Graph, calibration: Sequence[Calibration]) -> None:
        self.role, self.graph = role, graph
        self.given, rankings = given_ranking(graph)
        self.sizes = ProductSizes(graph)
        self.count = 0
        measured = self.sizes.measured()
        types = self.given.inputs
        measured.outputs |= {value: types[name] for name, value in rankings.items()}
        with running(measured) as run:
            found = [run(item.feeds) for item in calibration]
        self.sizes.read(found[0])
        self.feeds = [item.feeds for item in calibration]
        self.ranks = [{n: outputs[v] for n, v in rankings.items()} for outputs in found]
        self.expected: list[dict[str, Array]] = [
            {name: outputs[name] for name in graph.outputs} for outputs in found
        ]

    def figures(self, islands: Mapping[str, str]) -> Figures:
        """Figures of the rounding graph over all inputs, ranked as the float32 graph ranks."""
        feeds = [{**own, **ranks} for own, ranks in zip(self.feeds, self.ranks, strict=True)]
        return self._figures(self.given, islands, feeds, paired=True)

    def unaided(self, islands: Mapping[str, str]) -> Figures:
        """Figures of the rounding graph with its own ranking; none if it ranks nothing."""
        if self.given is self.graph:
            return {}
        return self._figures(self.graph, islands, self.feeds, paired=False)

    def _figures(
        self,
        graph: Graph,
        islands: Mapping[str, str],
        feeds: Sequence[Mapping[str, Array]],
        paired: bool,
    ) -> Figures:
        self.count += 1
        with running(rounding_graph(typed_float16(graph, islands))) as run:
            return summary(
                [
                    figures(self.role, expected, run(own), own, paired)
                    for own, expected in zip(feeds, self.expected, strict=True)
                ]
            )


class _Search:
    """Groups of operators return to float32 until the figures hold."""

    def __init__(self, view: GraphView, islands: Islands, trial: _Trial, trials: int) -> None:
        self.view, self.islands, self.trial, self.trials = view, islands, trial, trials
        self.sensitivity: dict[str, Figures] = {}
        self.moved: list[str] = []

    def run(self) -> Figures:
        """Measure every group, move the worst; the figures of what is left in float16."""
        groups = groups_of(self.view, self.islands, self.trials - 1 - _CLOSING_TRIALS)
        ranked = sorted(groups, key=self._measure, reverse=True)
        chosen, step = 0, 1
        found = Figures()
        while chosen < len(ranked):
            before, chosen = chosen, min(chosen + step, len(ranked))
            step *= 2
            found = self.trial.figures(self._with(ranked[:chosen]))
            if _badness(found) <= 1.0:
                chosen, found = self._fewer(ranked, before, chosen, found)
                break
        self.moved = [group.label for group in ranked[:chosen]]
        self.islands = self._with(ranked[:chosen])
        return found

    def _fewer(
        self, ranked: list[Group], low: int, high: int, found: Figures
    ) -> tuple[int, Figures]:
        """Bisect how many groups are enough, between too few and enough, while trials last."""
        while high - low > 1 and self.trial.count < self.trials:
            middle = (low + high) // 2
            tried = self.trial.figures(self._with(ranked[:middle]))
            if _badness(tried) <= 1.0:
                high, found = middle, tried
            else:
                low = middle
        return high, found

    def _with(self, groups: list[Group]) -> Islands:
        """The islands together with all nodes of some groups."""
        more = {name: f"error: {g.label}" for g in groups for name in sorted(g.nodes)}
        return {**self.islands, **more}

    def _measure(self, group: Group) -> float:
        """How bad it is to round one group alone."""
        others = {
            node.name: ""
            for node in self.view.graph.nodes
            if self.view.computes(node) and node.name not in group.nodes
        }
        found = self.trial.figures(others)
        self.sensitivity[group.label] = found
        return _badness(found)


def _badness(found: Figures) -> float:
    """The worst figure's distance from 1, in units of what its floor allows."""
    return max(((1.0 - v) / (1.0 - floor_of(name)) for name, v in found.items()), default=0.0)


def _input_maxima(calibration: Sequence[Calibration]) -> dict[str, float]:
    largest: dict[str, float] = {}
    for item in calibration:
        for name, value in item.feeds.items():
            if value.dtype == np.float32:
                size = float(np.abs(value).max(initial=0.0))
                largest[name] = max(size, largest.get(name, 0.0))
    return largest


def _rounded(found: Figures) -> dict[str, float]:
    return {name: round(value, 7) for name, value in found.items()}
