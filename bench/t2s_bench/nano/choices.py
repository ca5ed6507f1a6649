"""Why defaults are what they are: ``python -m t2s_bench.nano.choices bench/records/choices.json``.

Tries the overlap of dense CLIP's windows, the thresholds and the kinds of classes on scenes that
neither training nor any other figure uses. Takes some minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import track

from t2s_bench.card import checkpoints_of
from t2s_bench.every_route import EveryRoute
from t2s_bench.inputs import default_pack
from t2s_bench.machine import describe_machine, one_line, write_record
from t2s_bench.markdown import table
from t2s_bench.nano.boxes import BoxFigures
from t2s_bench.nano.maps import to_truth
from t2s_bench.nano.truth import DETECTED, HeldOut
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.evaluation import ConfusionMatrix
from t2s_rt.models import Models
from t2s_rt.prompts import PromptPack
from t2s_rt.prompts.bank import Kind
from t2s_rt.routes import RouteName, RouteSettings
from t2s_rt.synthetic import CLASSES, GENERATOR_VERSION, render, scene_spec

__all__ = ["choices_table", "compare_choices"]

TUNING_SEEDS = range(800_000, 800_024)
_BOX_SEEDS = range(800_000, 800_200)
"""More of them for false boxes, which only scenes without a class can have."""
_BOX_THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5)
_SIZE = 512


def compare_choices() -> dict[str, Any]:
    """mIoU over the named classes of every choice, and false boxes, as a JSON-ready record."""
    bundle = load_bundle()
    choices = list(_choices(default_pack(bundle)))
    false_boxes = _false_boxes(bundle)
    return {
        "what": "choices that need no training",
        "generator_version": GENERATOR_VERSION,
        "scenes": len(TUNING_SEEDS),
        "size": _SIZE,
        "checkpoints": checkpoints_of(bundle),
        "machine": describe_machine(),
        "choices": [
            {
                "choice": title,
                "route": route,
                "miou": _miou(bundle, pack, settings, route, overlap),
            }
            for title, pack, settings, route, overlap in track(choices, "choices", transient=True)
        ],
        "box_scenes": len(_BOX_SEEDS),
        "false_boxes": [{"threshold": t, "per_absent_image": v} for t, v in false_boxes.items()],
    }


def choices_table(record: Mapping[str, Any]) -> str:
    """A record of :func:`compare_choices` as Markdown."""
    rows = ((one["choice"], one["route"], f"{one['miou']:.3f}") for one in record["choices"])
    return (
        table(("choice", "route", "mIoU"), rows)
        + "\n\n"
        + table(
            ("boxes shown from a score of", *DETECTED),
            (
                (f"{one['threshold']:g}", *(f"{one['per_absent_image'][n]:.2f}" for n in DETECTED))
                for one in record["false_boxes"]
            ),
        )
        + f"\n\nFalse boxes per image without the class, {record['box_scenes']} scenes."
        f"\n\n{record['scenes']} scenes of {record['size']} x {record['size']} pixels, generator "
        f"{record['generator_version']}; `python -m t2s_bench.nano.choices "
        f"bench/records/choices.json`; {one_line(record['machine'])}."
    )


def _choices(
    pack: PromptPack,
) -> Iterator[tuple[str, PromptPack, RouteSettings, RouteName, float | None]]:
    plain = RouteSettings()
    routes: tuple[RouteName, ...] = ("dense", "fused")
    for overlap in (0.0, 1 / 3, 0.5):
        for route in routes:
            yield f"windows overlap by {overlap:.0%}", pack, plain, route, overlap
    for threshold in (0.1, 0.2, 0.4):
        yield f"dense threshold {threshold}", pack, RouteSettings(dense=threshold), "dense", None
    for threshold in _BOX_THRESHOLDS:
        title = f"boxes from a score of {threshold:g}"
        yield title, _shown_from(pack, threshold), plain, "fused", None
    for name in ("building", "car"):
        yield f"{name} from boxes and dense CLIP", _kind(pack, name, "both"), plain, "fused", None


def _kind(pack: PromptPack, name: str, kind: Kind) -> PromptPack:
    classes = (replace(c, kind=kind) if c.name == name else c for c in pack.classes)
    return replace(pack, classes=tuple(classes))


def _shown_from(pack: PromptPack, threshold: float) -> PromptPack:
    """The pack with one detector threshold for all its classes."""
    classes = (replace(c, thresholds={**c.thresholds, "detector": threshold}) for c in pack.classes)
    return replace(pack, classes=tuple(classes))


def _false_boxes(bundle: Bundle) -> dict[float, dict[str, float]]:
    """False boxes per image that lacks the class, by threshold and class."""
    figures = BoxFigures(default_pack(bundle))
    with Models.open(bundle, roles={"detector"}) as models:
        for seed in track(_BOX_SEEDS, "false boxes", transient=True):
            figures.add(models, HeldOut.of(seed, _SIZE, bundle))
    return {threshold: figures.false_boxes(threshold) for threshold in _BOX_THRESHOLDS}


def _miou(
    bundle: Bundle,
    pack: PromptPack,
    settings: RouteSettings,
    route: RouteName,
    overlap: float | None,
) -> float:
    names = [entry.name for entry in CLASSES]
    matrix, means = ConfusionMatrix(names), to_truth(pack)
    with EveryRoute(bundle, (route,), settings, clip_overlap=overlap) as routes:
        for seed in TUNING_SEEDS:
            spec = scene_spec(seed, _SIZE)
            scene = render(spec)
            labels = routes.label(scene.image, pack, spec.gsd)[route]
            matrix.add(scene.classes, means[labels])
    return matrix.miou(range(1, len(names)))


if __name__ == "__main__":
    found = compare_choices()
    print(choices_table(found))
    write_record(found, Path(sys.argv[1]))
