"""The search for islands: which groups of operators must return to float32, and how few will do.

A group rounded alone, on one calibration input, shows its part of the error. Errors of roundings
that know nothing of each other add up in squares, so the parts say about how much error stays when
some groups move. Three steps, each within its number of runs:

1. *Measure*: every kind of operator alone; then, as long as runs last, the group that has most
   error and costs most to move is halved by depth, and both halves are measured.
2. *Rank*: groups go in the order of error taken away for each unit of cost.
3. *Prove*: as many as the squares say are moved, and all calibration inputs are run; then more or
   fewer, by bisection. What is taken was run, or has no float16 left and is the float32 graph.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from t2s_engines.criteria import Figures, floor_of
from t2s_export.precision.groups import Group, groups_of, halves
from t2s_export.precision.rules import Islands
from t2s_export.precision.shares import ProductSizes
from t2s_export.precision.view import GraphView

__all__ = ["PROVING_TRIALS", "IslandSearch", "badness"]

PROVING_TRIALS = 6
"""Runs on all inputs that are kept for step 3: bisection among up to 63 groups."""
_NODE_COST = 0.1
"""Cost of moving all operators, where moving all multiplications costs 1: sums move memory only,
and each border costs a Cast."""
_FINE_ENOUGH = 0.001
"""Share of the error times cost below which halving a group cannot pay."""


def badness(found: Figures) -> float:
    """The worst figure's distance from 1, in units of what its floor allows; 1 is just enough."""
    return max(((1.0 - v) / (1.0 - floor_of(name)) for name, v in found.items()), default=0.0)


class IslandSearch:
    """One search in one graph.

    Args:
        view: the float32 graph.
        islands: nodes that are float32 already, with reasons.
        before: figures with those islands, at least one of them below its floor.
        sizes: multiplications of the matrix products.
        measure: figures on one calibration input, given the islands.
        prove: figures on all calibration inputs, given the islands.

    Attributes:
        sensitivity: figures of the groups, each rounded alone, by label.
        moved: groups that returned to float32.
        islands: with those of the groups that were moved.
    """

    def __init__(
        self,
        view: GraphView,
        islands: Islands,
        before: Figures,
        sizes: ProductSizes,
        measure: Callable[[Mapping[str, str]], Figures],
        prove: Callable[[Mapping[str, str]], Figures],
    ) -> None:
        self._view, self._given, self._before = view, islands, before
        self._sizes, self._measure, self._prove = sizes, measure, prove
        self._computing = sum(view.computes(node) for node in view.graph.nodes)
        self._failing = [name for name, value in before.items() if value < floor_of(name)]
        self._found: dict[Group, Figures] = {}
        self.sensitivity: dict[str, Figures] = {}
        self.moved: list[Group] = []
        self.islands = islands

    def run(self, measurements: int) -> Figures:
        """Search, and give the figures of what was found.

        Args:
            measurements: runs on one input that step 1 may cost, beyond one for each kind.
        """
        ranked = self._ranked(self._divided(measurements))
        count, found = self._fewest(ranked)
        self.moved = ranked[:count]
        self.islands = self._with(self.moved)
        return found

    def _divided(self, measurements: int) -> list[Group]:
        """Step 1."""
        groups = groups_of(self._view, self._given)
        for group in groups:
            self._look_at(group)
        while measurements >= 2:
            shares = self._shares(groups)
            weight = {g: s * self._cost(g) for g, s in shares.items() if len(g.nodes) > 1}
            worst = max(weight, key=lambda group: weight[group], default=None)
            if worst is None or weight[worst] < _FINE_ENOUGH:
                break
            parts = halves(worst)
            for part in parts:
                self._look_at(part)
            measurements -= 2
            place = groups.index(worst)
            groups[place : place + 1] = parts
        return groups

    def _ranked(self, groups: Sequence[Group]) -> list[Group]:
        """Step 2."""
        shares = self._shares(groups)
        return sorted(groups, key=lambda group: shares[group] / self._cost(group), reverse=True)

    def _fewest(self, ranked: Sequence[Group]) -> tuple[int, Figures]:
        """Step 3: how many of the first groups are enough, and the figures then."""
        low, high = 0, len(ranked)  # too few; certainly enough
        count, found = self._expected(ranked), Figures()
        for _ in range(PROVING_TRIALS):
            if high - low <= 1:
                break
            tried = self._prove(self._with(ranked[:count]))
            if badness(tried) <= 1.0:
                high, found = count, tried
            else:
                low = count
            count = (low + high) // 2
        return high, found or self._prove(self._with(ranked[:high]))

    def _expected(self, ranked: Sequence[Group]) -> int:
        """The number of groups that the sum of squares says is enough, between none and all."""
        squares = {name: self._squares(name, ranked) for name in self._failing}
        for count in range(1, len(ranked)):
            kept = ranked[count:]
            if all(
                (1 - self._before[name]) ** 2 * sum(part[g] for g in kept) / sum(part.values())
                <= (1 - floor_of(name)) ** 2
                for name, part in squares.items()
                if any(part.values())
            ):
                return count
        return len(ranked) // 2

    def _look_at(self, group: Group) -> None:
        """Round one group alone."""
        kept = frozenset(group.nodes)
        others = {
            node.name: ""
            for node in self._view.graph.nodes
            if self._view.computes(node) and node.name not in kept
        }
        self._found[group] = self.sensitivity[group.label] = self._measure(others)

    def _squares(self, name: str, groups: Collection[Group]) -> dict[Group, float]:
        return {g: (1.0 - self._found[g].get(name, 1.0)) ** 2 for g in groups}

    def _shares(self, groups: Collection[Group]) -> dict[Group, float]:
        """Each group's largest share of the squared error in any figure that is too low."""
        largest = dict.fromkeys(groups, 0.0)
        for name in self._failing:
            squares = self._squares(name, groups)
            total = sum(squares.values())
            for group, square in squares.items():
                largest[group] = max(largest[group], square / total if total else 0.0)
        return largest

    def _cost(self, group: Group) -> float:
        """What moving a group costs, a share of what moving everything would cost."""
        nodes = len(group.nodes) / self._computing
        return (self._sizes.share(group.nodes) + _NODE_COST * nodes) / (1 + _NODE_COST)

    def _with(self, groups: Sequence[Group]) -> Islands:
        """The islands together with all nodes of some groups."""
        more = {name: f"error: {group.label}" for group in groups for name in group.nodes}
        return {**self._given, **more}
