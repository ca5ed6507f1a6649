"""``bench nano`` and ``real``: how well a bundle sees."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["nano", "real"]


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle folder; default nano.")
@click.option(
    "--limit", default=200, show_default=True, help="Number of held-out scenes, from the first."
)
@click.option("--size", default=512, show_default=True, help="Edge of each scene in pixels.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the JSON record here.")
@click.option(
    "--card",
    type=click.Path(path_type=Path),
    help="Write the model card's figures here (export/checkpoints/nano/figures.json).",
)
@click.option(
    "--sheets",
    type=click.Path(path_type=Path),
    help="Draw the first and the worst maps into this folder (docs/images).",
)
def nano(
    bundle: Path | None,
    limit: int,
    size: int,
    output: Path | None,
    card: Path | None,
    sheets: Path | None,
) -> None:
    """How well a bundle sees held-out synthetic scenes, beside colour k-means.

    Prints every floor and whether it is reached, IoU of every route, AP50 of the detector by
    ground resolution and season, mask IoU from true boxes, and what captions and synonyms change.
    """
    from t2s_bench.card import write_section
    from t2s_bench.machine import write_record
    from t2s_bench.nano.measure import measure_accuracy
    from t2s_bench.nano.tables import accuracy_caption, accuracy_tables

    record = measure_accuracy(bundle, limit=limit, size=size, sheets=sheets)
    tables, caption = accuracy_tables(record), accuracy_caption(record)
    click.echo(f"{tables}\n\n{caption}")
    if output is not None:
        write_record(record, output)
    if card is not None:
        text = f"{tables}\n\nOn {caption}"
        write_section(card, "synthetic", "Held-out synthetic scenes", text, record["checkpoints"])


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle folder; default nano.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the JSON record here.")
@click.option(
    "--card",
    type=click.Path(path_type=Path),
    help="Write the model card's figures here (export/checkpoints/nano/figures.json).",
)
@click.option(
    "--sheets",
    type=click.Path(path_type=Path),
    help="Draw images, truth and maps into this folder; not to be published.",
)
def real(
    data: Path, bundle: Path | None, output: Path | None, card: Path | None, sheets: Path | None
) -> None:
    """How well a bundle sees the labelled real images in DATA, the project's test data.

    Judges every route on LoveDA, ISPRS Potsdam and Vaihingen and Dubai images as they are, beside
    colour k-means and beside the largest class, and says what the best route beats. Whole data
    sets are judged by `t2s-rt eval`.
    """
    from t2s_bench.card import write_section
    from t2s_bench.machine import write_record
    from t2s_bench.real.measure import measure_real
    from t2s_bench.real.sheets import write_sheets
    from t2s_bench.real.tables import real_caption, real_tables

    record, judged = measure_real(data, bundle)
    tables, caption = real_tables(record), real_caption(record)
    click.echo(f"{tables}\n\n{caption}")
    if output is not None:
        write_record(record, output)
    if card is not None:
        text = f"{tables}\n\nOn {caption}"
        write_section(card, "real", "Real images", text, record["checkpoints"])
    if sheets is not None:
        write_sheets(judged, sheets)
