"""Which layers stay float: as few as possible, so that the whole keeps its accuracy budget.

All layers are int8 first; mostly that is enough. Else each layer is quantised alone on the worst
call, which says what harm it does, and layers go back to float in the order of harm for each
multiplication, as many as bisection says are needed. What is taken was judged on all calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from t2s_calibration.int8.judge import Judge, shortfall
from t2s_calibration.int8.layers import Layer
from t2s_engines.criteria import Figures
from t2s_engines.graphs.graph import Graph

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
        met: whether the budget holds.
    """

    layers: frozenset[str]
    figures: Figures
    everything: Figures
    harm: dict[str, float] = field(default_factory=dict)
    met: bool = True


def choose_layers(
    make: Make,
    layers: Sequence[Layer],
    judge: Judge,
    budget: float,
    *,
    sensitivity: bool = False,
    step: Callable[[str], None] | None = None,
) -> Choice:
    """Search for one graph.

    Args:
        make: from names of layers to the graph that has these in int8.
        layers: that may become int8.
        judge: of the role.
        budget: least value of every limited figure.
        sensitivity: measure each layer alone even where all together keep the budget.
        step: told what is being tried.
    """
    say = step or (lambda _: None)
    names = [layer.name for layer in layers]
    say("all layers in int8")
    whole = make(names)
    everything = judge.figures(whole)
    enough = shortfall(everything, budget) <= 1.0
    if enough and not sensitivity:
        return Choice(frozenset(names), everything, everything)
    harm: dict[str, float] = {}
    call = judge.worst_call(whole)
    for number, name in enumerate(names):
        say(f"layer {number + 1} of {len(names)} alone")
        harm[name] = shortfall(judge.figures(make([name]), only=call), budget)
    if enough:
        return Choice(frozenset(names), everything, everything, harm)
    total = sum(layer.products for layer in layers)
    cost = {layer.name: max(_CHEAP, layer.products / total) for layer in layers}
    ranked = sorted(names, key=lambda name: harm[name] / cost[name], reverse=True)
    low, high = 0, len(ranked)
    best: Figures = {}
    while high - low > 1:
        count = (low + high) // 2
        say(f"{count} of {len(ranked)} layers in float")
        found = judge.figures(make(ranked[count:]))
        if shortfall(found, budget) <= 1.0:
            high, best = count, found
        else:
            low = count
    kept = frozenset(ranked[high:])
    return Choice(kept, best or judge.figures(make(kept)), everything, harm)
