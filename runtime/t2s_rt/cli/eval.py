"""``t2s-rt eval``: a bundle judged on a labelled data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from t2s_rt.cli._options import (
    allow_unverified_opt,
    backend_opt,
    bundle_opt,
    dataset_args,
    engine_cache_opt,
    output_opt,
    overwrite_opt,
    precision_opt,
    route_opt,
    threads_opt,
)

__all__ = ["evaluate", "register"]


def register(group: click.Group) -> None:
    """Add the command ``eval``."""
    group.add_command(evaluate)


@click.command("eval", short_help="Judge a bundle on a labelled data set.")
@dataset_args("val")
@bundle_opt
@route_opt
@precision_opt
@backend_opt
@engine_cache_opt
@allow_unverified_opt
@threads_opt
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many tiles.")
@output_opt("eval")
@overwrite_opt
def evaluate(
    dataset: str,
    root: Path,
    split: str,
    bundle: Path | None,
    pack: Path | None,
    gsd: float | None,
    limit: int | None,
    output: Path,
    overwrite: bool,
    **options: Any,
) -> None:
    """Judge a bundle on a labelled data set in ROOT.

    ROOT holds the set in its published folders, or a plain pair of folders images/ and labels/
    whose files belong together by name; labels are coded as the set publishes them.

    \b
    t2s-rt eval loveda LoveDA --limit 50 -o eval-loveda
    t2s-rt eval potsdam Potsdam --route dense --pack classes.safetensors
    t2s-rt eval dubai Dubai --gsd 0.5

    Images larger than 2048 pixels are judged in windows. An interrupted evaluation goes on with
    the same command; other settings start anew.

    \b
    Outputs:
      metrics.json    mIoU, IoU per class, pixel accuracy (fractions), confusion matrix, prompts
      metrics.md      the same for people
      confusion.png   the matrix as a picture
      worst_*.png     the worst tiles: image, truth, prediction
    """
    from t2s_rt.backends import BackendOptions
    from t2s_rt.bundle import load_bundle
    from t2s_rt.cli._progress import make_progress, note
    from t2s_rt.evaluation.datasets import Wording, dataset_spec, find_items
    from t2s_rt.evaluation.evaluate import Evaluation, eval_tiles
    from t2s_rt.pipeline import Pipeline, PipelineSettings, prepare_output
    from t2s_rt.prompts import build_pack, load_pack

    prepare_output(output)
    opened = load_bundle(bundle)
    spec = dataset_spec(dataset)
    ready = None if pack is None else load_pack(pack, opened)
    wording = Wording.of_bundle(spec, opened) if ready is None else Wording.of_pack(spec, ready)
    items, alone = find_items(spec, root, split)
    tiles, broken = eval_tiles(spec, items, limit, gsd)
    if wording.without:
        whose = opened.name if ready is None else "the pack"
        note(f"{whose} has no word for {', '.join(wording.without)}: never found, counts as missed")
    settings = PipelineSettings(
        route=options["route"],
        precision=options["precision"],
        backend=options["backend"],
        threads=options["threads"],
        options=BackendOptions(
            engines=options["cache"], allow_unverified=options["allow_unverified"]
        ),
    )
    with Pipeline(opened, settings) as pipeline:
        words = ready or build_pack(
            opened, wording.prompts, backend=settings.backend, threads=settings.threads
        )
        pipeline.check_pack(words)
        evaluation = Evaluation(
            spec,
            tiles,
            wording,
            words,
            output,
            {"split": split, "limit": limit, "gsd": gsd},
            broken=broken,
            alone=len(alone),
            overwrite=overwrite,
        )
        _show(evaluation.run(pipeline, make_progress()), output)


def _show(record: dict[str, Any], output: Path) -> None:
    from t2s_rt.cli._tables import show_facts, show_table

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    baselines = list(record["baselines"].values())
    show_table(
        f"{record['title']} {record['split']}",
        ("class", "IoU", "k-means", "largest class"),
        [
            (name, shown(iou), *(shown(found["per_class_iou"][name]) for found in baselines))
            for name, iou in record["per_class_iou"].items()
        ],
    )
    show_facts(
        [
            ("mIoU", shown(record["miou"])),
            ("colour k-means, named by the truth", shown(baselines[0]["miou"])),
            ("everything the largest class", shown(baselines[1]["miou"])),
            ("pixel accuracy", shown(record["pixel_accuracy"])),
            ("tiles", str(record["tiles"])),
            ("seconds per tile", shown(record["seconds_per_tile"])),
            ("figures", str(output / "metrics.json")),
        ]
    )
