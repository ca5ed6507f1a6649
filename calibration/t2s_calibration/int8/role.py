"""One role calibrated: from its float graph and tiles to a recipe for each target."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from t2s_calibration.int8.inputs import calls_of
from t2s_calibration.int8.judge import Judge
from t2s_calibration.int8.layers import Layer, share_of_products
from t2s_calibration.int8.observe import Observed, groups_of, observe
from t2s_calibration.int8.quantise import TARGETS, Scheme, measured_outputs
from t2s_calibration.int8.ranges import Method, Range, choose_range
from t2s_calibration.int8.recipe import Recipe, base_entry, base_graph
from t2s_calibration.int8.search import Choice, choose_layers
from t2s_calibration.int8.smoothing import Smoothing, choose_smoothing, smoothed, smoothing_places
from t2s_engines.doctor.host import int8_products
from t2s_engines.doctor.machine import Machine
from t2s_engines.graphs.graph import Array, Graph
from t2s_engines.verify.tiles import VerifyTile
from t2s_rt.bundle import Bundle
from t2s_rt.contracts import Role
from t2s_rt.pipeline import Progress
from t2s_rt.prompts import PromptPack

__all__ = ["Demands", "RoleCalibration", "Seen", "look", "recipes_of", "schemes_for"]


def schemes_for(targets: Collection[str], bits: str = "auto") -> tuple[Scheme, ...]:
    """Schemes by target.

    Args:
        targets: ``cpu`` and ``tensorrt``.
        bits: of weights on processors, ``7`` or ``8``; ``auto`` goes by the processor at hand.
    """
    reduced = bits == "7" or (bits == "auto" and int8_products(Machine.here()) is False)
    return tuple(Scheme(name, name == "cpu" and reduced) for name in TARGETS if name in targets)


@dataclass(frozen=True)
class Demands:
    """What is asked of every graph.

    Attributes:
        schemes: one for each target.
        method: of the ranges.
        smoothing: whether outliers may move into weights.
        budget: least value of every limited figure against float32.
        sensitivity: measure each layer alone in any case.
    """

    schemes: tuple[Scheme, ...]
    method: Method = "auto"
    smoothing: bool = True
    budget: float = 0.97
    sensitivity: bool = False


@dataclass(frozen=True, eq=False)
class Seen:
    """What the layers of a role saw; independent of target and budget.

    Attributes:
        role: of the graph.
        smoothings: chosen.
        layers: of the float32 graph.
        observed: values of the smoothed float32 graph.
        images: name and SHA-256 of each tile.
    """

    role: Role
    smoothings: tuple[Smoothing, ...]
    layers: tuple[Layer, ...]
    observed: Observed
    images: tuple[tuple[str, str], ...]

    def ranges(self, scheme: Scheme, method: Method) -> dict[str, Range]:
        """Ranges of layers' inputs by layer name and of outputs by value name."""
        by_value: dict[str, Range] = {}

        def of(value: str) -> Range:
            if value not in by_value:
                histogram = self.observed.histograms[value]
                by_value[value] = choose_range(histogram, method, scheme.symmetric)
            return by_value[value]

        inputs = {layer.name: of(layer.input) for layer in self.layers}
        return inputs | {name: of(name) for name in measured_outputs(self.layers, scheme)}


@dataclass(frozen=True, eq=False)
class RoleCalibration:
    """The outcome for one role and target.

    Attributes:
        recipe: that gives the graph.
        choice: of its layers.
        share: of the layers' multiplications that are int8.
        trials: graphs that were judged.
    """

    recipe: Recipe
    choice: Choice
    share: float
    trials: int


def look(
    bundle: Bundle,
    role: Role,
    pack: PromptPack,
    tiles: Sequence[VerifyTile],
    demands: Demands,
    progress: Progress,
) -> Seen:
    """Show a role's float32 graph the tiles: once for outliers by channel, once for ranges."""
    entry = bundle.graph(role, "fp32")
    graph, layers = base_graph(entry)

    def feeds() -> Iterator[dict[str, Array]]:
        for tile in tiles:
            yield from calls_of(entry, tile.image, pack)

    # tiles are of one size, and so are their calls
    calls = len(tiles) * len(calls_of(entry, tiles[0].image, pack))
    places = smoothing_places(graph, layers) if demands.smoothing else {}
    known = {layer.name: layer for layer in layers}
    peaks = {known[names[0]].input for names in places.values()}
    values = {layer.input for layer in layers}
    for scheme in demands.schemes:
        values.update(measured_outputs(layers, scheme))
    passes = _passes(graph, peaks) + _passes(graph, values)
    progress.begin(f"{role}: ranges", calls * passes, 0)
    try:
        smoothings: tuple[Smoothing, ...] = ()
        if peaks:
            seen = observe(
                graph, peaks, feeds, channels=True, step=lambda: progress.tile("done")
            ).channels
            smoothings = choose_smoothing(graph, layers, places, seen)
        even = smoothed(graph, smoothings)
        observed = observe(even, values, feeds, step=lambda: progress.tile("done"))
    finally:
        progress.end()
    images = tuple((tile.name, tile.sha256) for tile in tiles)
    return Seen(role, smoothings, layers, observed, images)


def recipes_of(
    bundle: Bundle,
    seen: Seen,
    pack: PromptPack,
    tiles: Sequence[VerifyTile],
    demands: Demands,
    progress: Progress,
) -> list[RoleCalibration]:
    """A recipe for each target, judged on tiles that ranges do not come from.

    Raises:
        GraphError: a graph cannot be quantised or run.
    """
    entry = bundle.graph(seen.role, "fp32")
    graph, _ = base_graph(entry)
    found = []
    with Judge(bundle, entry, graph, pack, tiles) as judge:
        for scheme in demands.schemes:
            found.append(_recipe(bundle, seen, scheme, demands, judge, progress))
    return found


def _recipe(
    bundle: Bundle,
    seen: Seen,
    scheme: Scheme,
    demands: Demands,
    judge: Judge,
    progress: Progress,
) -> RoleCalibration:
    source = base_entry(bundle, seen.role, scheme.target)
    base, layers = base_graph(source)
    ranges = seen.ranges(scheme, demands.method)
    usable = [layer for layer in layers if layer.name in ranges]
    whole = Recipe(
        seen.role, scheme, source.content_sha256, frozenset(layer.name for layer in usable),
        ranges, seen.smoothings,
    )  # fmt: skip
    before = judge.trials
    choice = choose_layers(
        lambda names: replace(whole, layers=frozenset(names)).graph(base),
        usable,
        judge,
        demands.budget,
        sensitivity=demands.sensitivity,
        progress=progress,
        title=f"{seen.role} for {scheme.target}",
    )
    recipe = replace(whole, layers=choice.layers, notes=_notes(seen, demands, usable, choice))
    share = share_of_products(layers, choice.layers)
    return RoleCalibration(recipe, choice, share, judge.trials - before)


def _notes(seen: Seen, demands: Demands, layers: Sequence[Layer], choice: Choice) -> dict[str, Any]:
    return {
        "images": [{"name": name, "sha256": sha256} for name, sha256 in seen.images],
        "method": demands.method,
        "budget": demands.budget,
        "met": choice.met,
        "figures": _rounded(choice.figures),
        "figures of all layers in int8": _rounded(choice.everything),
        "float layers": [layer.name for layer in layers if layer.name not in choice.layers],
        "shortfall of each layer alone": _rounded(choice.harm),
    }


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in figures.items()}


def _passes(graph: Graph, values: Collection[str]) -> int:
    return len(groups_of(graph, graph.types(), values))
