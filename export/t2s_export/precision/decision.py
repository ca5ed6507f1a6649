"""Which operators of a graph stay float32, decided from rules and from calibration inputs.

Three steps. Rules hold for any weights (``rules``). One float32 run finds values and constants
that float16 cannot hold (``ranges``). Then the rounding graph of what is left, which computes what
the float16 file says with float32 arithmetic, is compared with the float32 graph; where a figure
of the role is below its floor, the groups of operators that cost least and harm most return to
float32, until every floor holds (``search``). It always ends so: a graph without float16 is the
float32 graph. How much of the arithmetic is left in float16 is part of what is decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from t2s_engines.criteria import Figures, figures, floor_of, summary
from t2s_engines.graphs.graph import Array, Graph
from t2s_engines.graphs.maxima import absolute_maxima
from t2s_engines.graphs.ranking import given_ranking
from t2s_engines.graphs.rounding import rounding_graph
from t2s_engines.graphs.running import running
from t2s_export.errors import ExportError
from t2s_export.precision.calibration import Calibration
from t2s_export.precision.groups import float16_nodes
from t2s_export.precision.ranges import HEADROOM, constant_islands, range_islands
from t2s_export.precision.rules import Islands, islands_by_rule
from t2s_export.precision.search import PROVING_TRIALS, IslandSearch, badness
from t2s_export.precision.shares import ProductSizes
from t2s_export.precision.typed import typed_float16
from t2s_export.precision.view import GraphView
from t2s_rt.contracts import Role

__all__ = ["DEFAULT_TRIALS", "Decision", "choose_islands"]

DEFAULT_TRIALS = 24
"""Runs of a whole graph that a decision may cost; a full-size graph takes seconds each, and only
a graph that misses a floor needs more than one."""
_FEWEST_TRIALS = 1 + 3 + PROVING_TRIALS + 1
"""With rules alone, each kind of operator alone, what was chosen, and the ranking of its own."""
_MOSTLY = 0.75
"""Share of the multiplications below which a float16 file is hardly worth its name."""
_LITTLE_GAIN = (
    "most of a float16 file's gain is lost, so compare it with the fp32 file, and decide on images "
    "of your own (--calibration)"
)


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
        trials: rounding graphs that were run, on one calibration input or all.
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
        return badness(self.after) <= 1.0

    @property
    def summary(self) -> str:
        """How much of the arithmetic is float16, and why no more, in one line for people."""
        share = f"{100 * self.flop_share:.1f} % of the multiplications are float16"
        if not self.moved:
            return share
        floor = ", ".join(
            f"{name} would be {value:.4f}, below {floor_of(name):.4f}"
            for name, value in self.before.items()
            if value < floor_of(name)
        )
        back = f"{share}: {len(self.moved)} groups of operators went back to float32 ({floor})"
        return back if self.flop_share >= _MOSTLY else f"{back}; {_LITTLE_GAIN}"

    def as_record(self) -> dict[str, Any]:
        """For ``bundle.json``: rules as counts, measured islands by name, a summary."""
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
            "summary": self.summary,
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
        trials: rounding graphs that may be run. Few trials mean coarse groups.

    Raises:
        ExportError: no calibration inputs, or too few ``trials``.
        GraphError: the graph cannot be rounded or run.
    """
    if not calibration or trials < _FEWEST_TRIALS:
        raise ExportError(
            f"expected at least one calibration input and {_FEWEST_TRIALS} trials to decide "
            f"the precision of {role}, found {len(calibration)} and {trials}"
        )
    view = GraphView(graph)
    islands = islands_by_rule(graph)
    maxima = absolute_maxima(graph, [item.feeds for item in calibration], view.made_anew())
    by_range, largest = range_islands(view, {**_input_maxima(calibration), **maxima})
    islands = {**by_range, **islands}
    islands |= constant_islands(view, islands)
    trial = _Trial(role, graph, calibration)
    before = after = trial.figures(islands)
    search = IslandSearch(view, islands, before, trial.sizes, trial.measure, trial.figures)
    if badness(before) > 1.0:
        after = search.run(trials - _FEWEST_TRIALS)
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
        moved=tuple(group.label for group in search.moved),
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
        self.count = self._worst = 0
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
        """Figures of the rounding graph over all inputs, ranked as the float32 graph ranks.

        The input that was worst is remembered: ``measure`` takes it alone.
        """
        found = self._figures(self.given, islands, range(len(self.feeds)), paired=True)
        self._worst = max(range(len(found)), key=lambda index: badness(found[index]))
        return summary(found)

    def measure(self, islands: Mapping[str, str]) -> Figures:
        """The same on one input, for comparisons among groups of operators."""
        return summary(self._figures(self.given, islands, [self._worst], paired=True))

    def unaided(self, islands: Mapping[str, str]) -> Figures:
        """Figures on one input of the rounding graph with its own ranking; none if it has none."""
        if self.given is self.graph:
            return {}
        return summary(self._figures(self.graph, islands, [self._worst], paired=False))

    def _figures(
        self, graph: Graph, islands: Mapping[str, str], inputs: Sequence[int], paired: bool
    ) -> list[Figures]:
        self.count += 1
        found = []
        with running(rounding_graph(typed_float16(graph, islands))) as run:
            for index in inputs:
                own, expected = self.feeds[index], self.expected[index]
                outputs = run({**own, **self.ranks[index]} if paired else own)
                found.append(figures(self.role, expected, outputs, own, paired))
        return found


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
