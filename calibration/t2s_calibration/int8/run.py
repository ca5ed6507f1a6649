"""The whole of ``t2s-rt calibrate int8``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from t2s_calibration.int8.accuracy import Labelled, judge_labelled
from t2s_calibration.int8.bundle import stored_recipes, write_bundle
from t2s_calibration.int8.recipe import Recipe
from t2s_calibration.int8.report import markdown, record_of
from t2s_calibration.int8.role import Demands, RoleCalibration, look, recipes_of
from t2s_calibration.int8.samples import choose_tiles
from t2s_calibration.int8.speed import Gain, gain_of
from t2s_engines.verify.judging import Target
from t2s_engines.verify.pictures import write_pictures
from t2s_engines.verify.tiles import VerifyTile, empty_tiles
from t2s_engines.verify.verification import Outcome, verify_targets
from t2s_rt.backends import open_session
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.bundle.folder import check_target, whole_folder
from t2s_rt.contracts import Role
from t2s_rt.errors import OutputError
from t2s_rt.pipeline import Progress
from t2s_rt.prompts import PromptPack

__all__ = ["Calibration", "Plan", "calibrate_int8", "rebuild_int8"]

REPORT_FOLDER = "calibration"
_OVERWRITE = "--overwrite"
_BACKEND = "onnxruntime-cpu"
_ATTEMPTS = 3
"""Times that the budget of the graphs is halved where the labelled tiles lose too much."""


@dataclass(frozen=True)
class Plan:
    """What a calibration is to do.

    Attributes:
        roles: graphs to quantise.
        demands: of every graph.
        images: tiles that ranges come from.
        judged: further tiles that decide, and that figures are of.
        labelled: tiles with labels that decide in the end; None where there are none.
        loss: of mIoU on these that is allowed.
        threads: of ONNX Runtime; None takes one per core.
    """

    roles: tuple[Role, ...]
    demands: Demands
    images: int = 32
    judged: int = 4
    labelled: Labelled | None = None
    loss: float = 0.01
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class Calibration:
    """What came of it.

    Attributes:
        bundle: the new one.
        roles: outcome of each role and target.
        gains: times by role, for graphs of the target cpu.
        outcomes: of ``verify`` on the judged tiles, by target.
        labelled: mIoU in fp32 and int8, where there were labels.
        record: for ``report.json``.
    """

    bundle: Bundle
    roles: tuple[RoleCalibration, ...]
    gains: dict[Role, Gain]
    outcomes: dict[str, Outcome]
    labelled: dict[str, Any] | None
    record: dict[str, Any] = field(default_factory=dict)


def calibrate_int8(
    bundle: Bundle,
    pack: PromptPack,
    scenes: Sequence[Path],
    output: Path,
    plan: Plan,
    progress: Progress,
    overwrite: bool = False,
) -> Calibration:
    """Calibrate, write the bundle with its int8 graphs, and say what it costs and gains.

    Args:
        bundle: with float graphs.
        pack: classes that agreement is judged by, and the detector's caption.
        scenes: files and folders; none takes synthetic scenes.
        output: folder of the new bundle, whole or not at all.
        plan: see there.
        progress: who watches.
        overwrite: replace a bundle that is there.

    Raises:
        OutputError: something is there already, or cannot be written.
        SceneError: scenes or labelled tiles cannot be read.
        BundleError, BackendError, GraphError: graphs are missing or cannot be run or quantised.
    """
    _check_output(output, bundle, overwrite)
    tiles = choose_tiles(scenes, bundle, plan.images + plan.judged)
    shown, judged = _parted(tiles, plan.judged)
    seen = [look(bundle, role, pack, shown, plan.demands, progress) for role in plan.roles]
    demands = plan.demands
    with whole_folder(output, overwrite, _OVERWRITE) as folder:
        labelled = _reference_figures(bundle, plan, folder, progress)
        for attempt in range(_ATTEMPTS):
            roles = [
                one
                for part in seen
                for one in recipes_of(bundle, part, pack, judged, demands, progress)
            ]
            made = write_bundle(bundle, folder, [one.recipe for one in roles])
            if labelled is None or plan.labelled is None:
                break
            _judge(made, plan, labelled, folder, progress)
            if labelled["loss"] <= plan.loss or attempt == _ATTEMPTS - 1:
                break
            progress.note(
                f"int8 loses {100 * labelled['loss']:.1f} points of mIoU, more than "
                f"{100 * plan.loss:g}: the graphs are held to half the distance from fp32"
            )
            demands = replace(demands, budget=1 - (1 - demands.budget) / 2)
        found = _judged_whole(made, pack, judged, tuple(roles), labelled, plan, progress)
        record = _write_report(found, demands, (shown, judged), folder / REPORT_FOLDER)
    return replace(found, bundle=load_bundle(output), record=record)


def rebuild_int8(
    bundle: Bundle,
    stored: Bundle,
    roles: Sequence[Role],
    targets: Sequence[str],
    output: Path,
    overwrite: bool = False,
) -> tuple[Bundle, list[Recipe]]:
    """Make int8 graphs again from the ranges that a bundle keeps, bit by bit, without images.

    Raises:
        OutputError: something is there already, or cannot be written.
        BundleError: there are no such ranges, or they belong to other weights.
    """
    _check_output(output, bundle, overwrite)
    recipes = stored_recipes(stored, roles, targets)
    with whole_folder(output, overwrite, _OVERWRITE) as folder:
        write_bundle(bundle, folder, recipes)
    return load_bundle(output), recipes


def _parted(tiles: Sequence[VerifyTile], judged: int) -> tuple[list[VerifyTile], list[VerifyTile]]:
    """Tiles for ranges and others for figures, spread evenly; a single tile serves both."""
    if len(tiles) < 2:
        return list(tiles), list(tiles)
    count = min(judged, max(1, len(tiles) // 2))
    picked = {((2 * k + 1) * len(tiles)) // (2 * count) for k in range(count)}
    return (
        [tile for index, tile in enumerate(tiles) if index not in picked],
        [tile for index, tile in enumerate(tiles) if index in picked],
    )


def _reference_figures(
    bundle: Bundle, plan: Plan, folder: Path, progress: Progress
) -> dict[str, Any] | None:
    if plan.labelled is None:
        return None
    record = judge_labelled(
        bundle,
        plan.labelled,
        "fp32",
        folder / REPORT_FOLDER / "labelled-fp32",
        progress,
        plan.threads,
    )
    return {
        "dataset": plan.labelled.dataset,
        "split": plan.labelled.split,
        "route": plan.labelled.route,
        "tiles": record["tiles"],
        "allowed_loss": plan.loss,
        "fp32": record["miou"],
    }


def _judge(
    made: Bundle, plan: Plan, labelled: dict[str, Any], folder: Path, progress: Progress
) -> None:
    if plan.labelled is None:
        return
    place = folder / REPORT_FOLDER / "labelled"
    record = judge_labelled(made, plan.labelled, "int8", place, progress, plan.threads)
    labelled["int8"] = record["miou"]
    labelled["loss"] = float(labelled["fp32"] or 0.0) - float(record["miou"] or 0.0)


def _judged_whole(
    made: Bundle,
    pack: PromptPack,
    judged: Sequence[VerifyTile],
    roles: tuple[RoleCalibration, ...],
    labelled: dict[str, Any] | None,
    plan: Plan,
    progress: Progress,
) -> Calibration:
    """All graphs of a target together, as ``verify`` judges them; times where this can tell."""
    outcomes: dict[str, Outcome] = {}
    shown = [*judged, *empty_tiles(made)]
    for scheme in plan.demands.schemes:
        entries = [made.graph(role, "int8", scheme.target) for role in plan.roles]
        targets = [
            Target(e, lambda e=e: open_session(e, _BACKEND, threads=plan.threads))  # type: ignore[misc]
            for e in entries
        ]
        outcomes[scheme.target] = verify_targets(
            made, pack, targets, shown, threads=plan.threads, progress=progress
        )
    gains: dict[Role, Gain] = {}
    if any(scheme.target == "cpu" for scheme in plan.demands.schemes):
        progress.begin("times", len(plan.roles), 0)
        try:
            for role in plan.roles:
                gains[role] = gain_of(made, role, pack, judged[0].image, plan.threads)
                progress.tile("done")
        finally:
            progress.end()
    return Calibration(made, roles, gains, outcomes, labelled)


def _write_report(
    found: Calibration,
    demands: Demands,
    tiles: tuple[Sequence[VerifyTile], Sequence[VerifyTile]],
    folder: Path,
) -> dict[str, Any]:
    try:
        folder.mkdir(exist_ok=True)
        pictures = [
            path
            for target, outcome in found.outcomes.items()
            for path in _pictures(outcome, folder / target)
        ]
        record = record_of(found, demands, tiles)
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        (folder / "report.json").write_text(text, encoding="utf-8")
        page = markdown(record, [path.relative_to(folder) for path in pictures])
        (folder / "report.md").write_text(page, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error})") from error
    return record


def _pictures(outcome: Outcome, folder: Path) -> list[Path]:
    folder.mkdir()
    return write_pictures(outcome, folder)


def _check_output(output: Path, bundle: Bundle, overwrite: bool) -> None:
    """Before any work: all of it would be lost."""
    if output.resolve() == bundle.root:
        raise OutputError(f"{output}: expected another folder than the bundle's own; name it -o")
    check_target(output, overwrite, _OVERWRITE)
