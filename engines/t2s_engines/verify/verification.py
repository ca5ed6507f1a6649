"""All graphs on trial together, tile by tile, and the verdict on each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from t2s_engines.verify.chain import Chain
from t2s_engines.verify.figures import Comparison
from t2s_engines.verify.floors import limits_of
from t2s_engines.verify.judging import Judge, Target
from t2s_engines.verify.reference import Reference, chain_roles
from t2s_engines.verify.remedies import fault_text, reports_of
from t2s_engines.verify.sketch import Sketch
from t2s_engines.verify.tally import Tally, base_name
from t2s_engines.verify.tiles import VerifyTile
from t2s_rt.backends import Session
from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.contracts import PRECISIONS, Precision, Role
from t2s_rt.errors import UsageError
from t2s_rt.pipeline import Progress, SilentProgress
from t2s_rt.plans import EngineFiles
from t2s_rt.prompts import PromptPack

__all__ = ["CHAIN_ROLE", "Outcome", "Verdict", "verify_targets"]

CHAIN_ROLE = "chain"
"""In place of a role: all graphs together."""


@dataclass(frozen=True)
class Verdict:
    """What came of one graph, or of all together.

    Attributes:
        role: of the graph, or ``CHAIN_ROLE``.
        precision: of the graph; of the least precise graph of the chain.
        session: one line: what ran where.
        figures: measured.
        floors: least values of some figures.
        ceilings: greatest values of some figures.
        faults: why it failed, each with what to do; none where it passed.
        notes: what a reader should know.
        worst: by figure, index of the tile that it was worst on.
        engine: files of the engine, where it is one.
    """

    role: str
    precision: Precision
    session: str
    figures: Mapping[str, float]
    floors: Mapping[str, float]
    ceilings: Mapping[str, float]
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()
    worst: Mapping[str, int] = field(default_factory=dict)
    engine: EngineFiles | None = None

    @property
    def passed(self) -> bool:
        """Whether every figure keeps its limit and nothing failed."""
        return not self.faults


@dataclass(frozen=True)
class Outcome:
    """Everything that a verification found.

    Attributes:
        bundle: its name.
        tiles: what the graphs were shown.
        verdicts: one for each graph, the chain's last where it was judged.
        sketches: by tile, for pictures.
        colours: RGB of each class, in the order of the class maps.
    """

    bundle: str
    tiles: tuple[VerifyTile, ...]
    verdicts: tuple[Verdict, ...]
    sketches: Mapping[int, Sketch]
    colours: tuple[tuple[int, int, int], ...]

    @property
    def passed(self) -> bool:
        """Whether every verdict is."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def synthetic(self) -> bool:
        """Whether no image of the world took part."""
        return all(tile.synthetic for tile in self.tiles)


def verify_targets(
    bundle: Bundle,
    pack: PromptPack,
    targets: Sequence[Target],
    tiles: Sequence[VerifyTile],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    reference: Callable[[GraphEntry], Session] | None = None,
) -> Outcome:
    """Compare graphs on a device with the float32 graphs on ONNX Runtime's CPU provider.

    Args:
        bundle: whose graphs.
        pack: the classes to look for.
        targets: at most one for each role.
        tiles: what to show them; the empty ones included.
        threads: of the reference; None takes one per core.
        progress: who watches; counts tiles.
        reference: opens a reference session instead of ONNX Runtime, for tests.

    Raises:
        UsageError: no target, or two of one role.
        BundleError, PackError: an fp32 graph or a part of the pack is missing.
        BackendError: the reference itself cannot be run. What a target does wrong is no error
            here but a fault of its verdict.
    """
    roles = [target.role for target in targets]
    if not roles or len(set(roles)) < len(roles):
        raise UsageError(f"expected one graph for each role, found {', '.join(roles) or 'none'}")
    watcher = progress or SilentProgress()
    shown = list(tiles)
    sketches: dict[int, Sketch] = {}
    watcher.begin(bundle.name, len(shown), 0)
    try:
        with Reference(bundle, pack, roles, threads, reference) as known, ExitStack() as stack:
            judges: dict[Role, Judge] = {}
            for target in targets:
                entry = bundle.graph(target.role, "fp32")
                comparison = Comparison(entry, shown, pack, known.settings, Tally(), sketches)
                judges[target.role] = Judge(target, comparison)
                if (session := judges[target.role].open()) is not None:
                    stack.enter_context(session)
            chain = Chain(judges, known, pack, shown, chain_roles(bundle, roles), sketches)
            for index, tile in enumerate(shown):
                seen = known.look(tile, index)
                for role, judge in judges.items():
                    judge.tile(seen.calls.get(role, ()))
                chain.tile(index, seen)
                watcher.tile("done")
            watcher.stage("batches")
            for judge in judges.values():
                judge.finish()
            verdicts = _verdicts(bundle, judges, chain)
    finally:
        watcher.end()
    colours = tuple(item.colour for item in pack.classes)
    return Outcome(bundle.name, tuple(shown), verdicts, sketches, colours)


def _verdicts(bundle: Bundle, judges: Mapping[Role, Judge], chain: Chain) -> tuple[Verdict, ...]:
    verdicts = [_verdict(bundle, judge) for judge in judges.values()]
    if not chain.roles:
        return tuple(verdicts)
    precisions = [judges[role].target.entry.precision for role in chain.roles if role in judges]
    least = max(precisions, key=PRECISIONS.index)
    alone = all(verdict.passed for verdict in verdicts)
    whole = _judged(CHAIN_ROLE, least, "all graphs", chain.tally, tuple(chain.faults))
    if not whole.passed and alone:
        # every graph is near enough alone, and together they are not: none may fly
        verdicts = [
            _with_faults(verdict, whole.faults) if verdict.role in chain.roles else verdict
            for verdict in verdicts
        ]
    return (*verdicts, whole)


def _verdict(bundle: Bundle, judge: Judge) -> Verdict:
    entry, session, engine = judge.target.entry, judge.session, judge.engine
    verdict = _judged(
        entry.role,
        entry.precision,
        f"{entry.role} {entry.precision}" if session is None else session.describe(),
        judge.comparison.tally,
        tuple(judge.faults),
        engine,
    )
    if verdict.passed or engine is None:
        return verdict
    return replace(verdict, notes=(*verdict.notes, *reports_of(bundle, entry, engine)))


def _judged(
    role: str,
    precision: Precision,
    session: str,
    tally: Tally,
    errors: tuple[str, ...],
    engine: EngineFiles | None = None,
) -> Verdict:
    figures = tally.figures()
    floors, ceilings = limits_of(precision).split(figures)
    faults = [f"{role} {precision}: {error}" for error in errors]
    broken = [name for name, floor in floors.items() if not figures[name] >= floor]
    broken += [name for name, ceiling in ceilings.items() if not figures[name] <= ceiling]
    if not figures and not errors:
        faults.append(
            f"{role} {precision}: expected at least one call to compare, found none; "
            "show it scenes that it can work on with --scenes"
        )
    worst = {name: tally.worst_tile(name) for name in figures}
    # what is wrong alone is wrong in batches and when repeated as well
    broken = [name for name in broken if name == base_name(name) or base_name(name) not in broken]
    faults += [
        fault_text(role, precision, name, figures[name], floors.get(name), ceilings.get(name))
        for name in broken
    ]
    return Verdict(
        role, precision, session, figures, floors, ceilings, tuple(faults), tuple(tally.notes),
        worst, engine,
    )  # fmt: skip


def _with_faults(verdict: Verdict, faults: Sequence[str]) -> Verdict:
    return replace(verdict, faults=(*verdict.faults, *faults))
