"""``t2s-rt calibrate thresholds``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from t2s_rt.cli._options import (
    backend_opt,
    bundle_opt,
    dataset_args,
    overwrite_opt,
    precision_opt,
    threads_opt,
)

__all__ = ["thresholds"]

_ROUTES = ("boxes", "points", "masks", "dense")


@click.command(short_help="Score thresholds of every class.")
@dataset_args("train")
@bundle_opt
@click.option(
    "--route",
    "routes",
    type=click.Choice(_ROUTES),
    multiple=True,
    help="Whose thresholds; may be repeated.  [default: boxes and dense, which fused goes by]",
)
@precision_opt
@backend_opt
@threads_opt
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="Tiles to learn from, spread over the data set.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("calibrated.safetensors"),
    show_default=True,
    help="The pack with its thresholds; a table and JSON of the same name stand beside it.",
)
@overwrite_opt
def thresholds(
    dataset: str,
    root: Path,
    split: str,
    bundle: Path | None,
    pack: Path | None,
    routes: tuple[str, ...],
    gsd: float | None,
    limit: int,
    output: Path,
    overwrite: bool,
    **options: Any,
) -> None:
    """Choose the score from which each class counts, on labelled tiles of a data set.

    \b
    t2s-rt calibrate thresholds loveda LoveDA -o loveda.safetensors
    t2s-rt eval loveda LoveDA --pack loveda.safetensors

    For each route the thresholds with the highest mIoU over the tiles are taken; where nothing
    beats the default by more than noise, the default stays. The pack carries them, infer and eval
    go by them; judge them on another split. A few tiles of the same sensor and season are worth
    more than many of another.
    """
    from t2s_calibration.thresholds.run import calibrate_thresholds
    from t2s_calibration.thresholds.tables import thresholds_table
    from t2s_rt.cli._progress import make_progress, note

    record = calibrate_thresholds(
        dataset,
        root,
        output,
        split=split,
        bundle_path=bundle,
        pack_path=pack,
        routes=routes or ("boxes", "dense"),
        gsd=gsd,
        limit=limit,
        overwrite=overwrite,
        precision=options["precision"],
        backend=options["backend"],
        threads=options["threads"],
        progress=make_progress(),
    )
    click.echo(thresholds_table(record))
    note(f"{output}: {len(record['routes'])} route(s), from {record['tiles']} tiles")
