"""``bench reference``: Text2Seg's chain on the original packages beside this runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from t2s_bench.side_by_side import CLASS_COUNTS, OPPONENTS, RACE_ROUTES, SIZES, SizeName
from t2s_export.choices import DEFORMABLE_FORMS
from t2s_rt.cli._needs import need_packages
from t2s_rt.cli._options import threads_opt

if TYPE_CHECKING:
    from t2s_export.choices import DeformableForm

__all__ = ["reference"]


@click.command()
@click.option(
    "--size",
    type=click.Choice(SIZES),
    default="nano",
    show_default=True,
    help="Models: nano's shipped weights; Grounding DINO Swin-T, SAM ViT-B and CLIP ViT-B/16 with "
    "random ones; or the same with SAM ViT-H.",
)
@click.option(
    "--classes",
    default=",".join(map(str, CLASS_COUNTS)),
    show_default=True,
    help="Numbers of classes, separated by commas.",
)
@click.option(
    "--routes",
    default=",".join(RACE_ROUTES),
    show_default=True,
    help="Routes, separated by commas.",
)
@click.option(
    "--opponents",
    default=",".join(OPPONENTS),
    show_default=True,
    help="What runs the reference, separated by commas: eager torch, stock ONNX exports, "
    "torch.compile.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Undisturbed samples of each candidate; twice as many turns are taken for them at most.",
)
@click.option(
    "--deformable",
    type=click.Choice(DEFORMABLE_FORMS),
    default="grid_sample",
    show_default=True,
    help="Form of our detector's deformable attention, for random weights.",
)
@threads_opt
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Merge the rows into this JSON record, bench/records/reference.json.",
)
def reference(
    size: SizeName,
    classes: str,
    routes: str,
    opponents: str,
    repeat: int,
    deformable: DeformableForm,
    threads: int | None,
    output: Path | None,
) -> None:
    """Race Text2Seg's own steps on the original packages against this runtime.

    Same weights, same image, same machine, in turn; then compares the results. Needs the extra
    [export] and the original packages (tests/oracles/requirements.txt), nano a source checkout.
    Full size takes some 15 GB and, with seven classes, several minutes for every turn.
    """
    from t2s_bench.side_by_side.measure import measure_reference
    from t2s_bench.side_by_side.record import load_reference, merge_rows, new_record
    from t2s_bench.side_by_side.request import (
        Request,
        parse_classes,
        parse_opponents,
        parse_routes,
    )
    from t2s_bench.side_by_side.tables import reference_tables

    request = Request(
        size,
        parse_classes(classes),
        parse_routes(routes),
        parse_opponents(opponents),
        repeat,
        threads,
        deformable,
    )
    if output is not None and output.exists():
        load_reference(output)  # an unfit file is told now, not after the race
    need_packages("bench reference", "torch", "onnx", "onnxruntime")
    rows = []
    for row in measure_reference(request):
        rows.append(row)
        if output is not None:
            merge_rows(output, [row])
    click.echo(reference_tables(new_record(rows)))
