"""Which layers stay float: as few as possible, so that the whole keeps its accuracy budget.

All layers are int8 first; mostly that is enough. Else each layer is quantised alone on the worst
call, which says what harm it does, and layers go back to float in the order of harm for each
multiplication, as many as bisection says are needed. What is taken was judged on all calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from t2s_calibration.int8.judge import Judge, shortfall
from t2s_calibration.int8.layers import Layer
from t2s_engines.criteria import Figures
from t2s_engines.graphs.graph import Graph
from t2s_rt.pipeline import Progress, SilentProgress

__all__ = ["Choice", "choose_layers"]

_CHEAP = 1e-3
"""Share of all multiplications below which a layer costs nothing to leave in float."""
Make = Callable[[Collection[str]], Graph]


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        layers: names of the int8 layers.
        figures: of the graph with them.
        everything: figures with all layers in int8.
        harm: shortfall of each layer quantised alone, by name; empty where it was not measured.
        met: whether the budget holds; a float16 graph may miss it even without int8.
    """

    layers: frozenset[str]
    figures: Figures
    everything: Figures
    met: bool
    harm: dict[str, float] = field(default_factory=dict)


def choose_layers(
    make: Make,
    layers: Sequence[Layer],
    judge: Judge,
    budget: float,
    *,
    sensitivity: bool = False,
    progress: Progress | None = None,
    title: str = "int8",
) -> Choice:
    """Search for one graph.

    Args:
        make: from names of layers to the graph that has these in int8.
        layers: that may become int8.
        judge: of the role.
        budget: least value of every limited figure.
        sensitivity: measure each layer alone even where all together keep the budget.
        progress: who watches; counts graphs that are judged.
        title: of the graph, for those who watch.
    """
    watcher = progress or SilentProgress()
    names = [layer.name for layer in layers]
    whole = make(names)
    with _steps(watcher, f"{title}: all layers", 1) as step:
        everything = judge.figures(whole)
        step()
    enough = shortfall(everything, budget) <= 1.0
    if enough and not sensitivity:
        return Choice(frozenset(names), everything, everything, True)
    harm: dict[str, float] = {}
    call = judge.worst_call(whole)
    with _steps(watcher, f"{title}: each layer alone", len(names)) as step:
        for name in names:
            harm[name] = shortfall(judge.figures(make([name]), only=call), budget)
            step()
    if enough:
        return Choice(frozenset(names), everything, everything, True, harm)
    total = sum(layer.products for layer in layers)
    cost = {layer.name: max(_CHEAP, layer.products / total) for layer in layers}
    ranked = sorted(names, key=lambda name: harm[name] / cost[name], reverse=True)
    with _steps(watcher, f"{title}: layers in float", len(ranked).bit_length()) as step:
        count, found = _fewest(make, ranked, judge, budget, step)
    kept = frozenset(ranked[count:])
    found = found or judge.figures(make(kept))
    return Choice(kept, found, everything, shortfall(found, budget) <= 1.0, harm)


def _fewest(
    make: Make,
    ranked: Sequence[str],
    judge: Judge,
    budget: float,
    step: Callable[[], None],
) -> tuple[int, Figures]:
    """How many of the first layers have to be float, and the figures then, if they were judged."""
    low, high = 0, len(ranked)  # too few; certainly enough
    best: Figures = {}
    while high - low > 1:
        count = (low + high) // 2
        found = judge.figures(make(ranked[count:]))
        if shortfall(found, budget) <= 1.0:
            high, best = count, found
        else:
            low = count
        step()
    return high, best


@contextmanager
def _steps(progress: Progress, title: str, count: int) -> Iterator[Callable[[], None]]:
    progress.begin(title, count, 0)
    try:
        yield lambda: progress.tile("done")
    finally:
        progress.end()
