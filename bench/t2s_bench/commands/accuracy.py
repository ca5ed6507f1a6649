"""``bench nano``, ``real`` and ``pareto``: how well a bundle sees, and at what time."""

from __future__ import annotations

from pathlib import Path

import click

from t2s_bench.commands.options import accuracy_opts, publish, record_opt
from t2s_rt.cli._needs import need_packages
from t2s_rt.cli._options import bundle_opt, threads_opt

__all__ = ["nano", "pareto", "real"]


@click.command()
@bundle_opt
@click.option(
    "--limit", default=200, show_default=True, help="Number of held-out scenes, from the first."
)
@click.option("--size", default=512, show_default=True, help="Edge of each scene in pixels.")
@accuracy_opts
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
    from t2s_bench.nano.measure import measure_accuracy
    from t2s_bench.nano.tables import accuracy_caption, accuracy_tables

    record = measure_accuracy(bundle, limit=limit, size=size, sheets=sheets)
    section = ("synthetic", "Held-out synthetic scenes")
    publish(record, section, accuracy_tables(record), accuracy_caption(record), output, card)


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@bundle_opt
@accuracy_opts
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
    from t2s_bench.real.measure import measure_real
    from t2s_bench.real.sheets import write_sheets
    from t2s_bench.real.tables import real_caption, real_tables

    record, judged = measure_real(data, bundle)
    section = ("real", "Real images")
    publish(record, section, real_tables(record), real_caption(record), output, card)
    if sheets is not None:
        write_sheets(judged, sheets)


@click.command()
@bundle_opt
@click.option(
    "--routes",
    default="boxes,points,dense,fused",
    show_default=True,
    metavar="A,B",
    help="Routes to compare.",
)
@click.option(
    "--limit", default=60, show_default=True, help="Number of held-out scenes, from the last."
)
@click.option("--size", default=512, show_default=True, help="Edge of each scene in pixels.")
@record_opt
@click.option("--chart", type=click.Path(path_type=Path), help="Draw accuracy over time here.")
@threads_opt
def pareto(
    bundle: Path | None,
    routes: str,
    limit: int,
    size: int,
    output: Path | None,
    chart: Path | None,
    threads: int | None,
) -> None:
    """Accuracy against time by route: fp32, fp16 and int8 in turn on the same held-out scenes.

    A bundle without int8 graphs is calibrated first, on other synthetic scenes. fp16 is judged by
    its rounding graphs: a processor does not compute in it, so its time is left out.
    """
    need_packages("bench pareto", "onnx", "onnxruntime")
    from t2s_bench.inputs import known_names
    from t2s_bench.machine import write_record
    from t2s_bench.pareto.measure import measure_pareto
    from t2s_bench.pareto.tables import draw_pareto, pareto_table
    from t2s_rt.routes import ROUTES

    wanted = known_names("routes", routes, ROUTES)
    record = measure_pareto(bundle, wanted, limit, size, threads)
    click.echo(pareto_table(record))
    if output is not None:
        write_record(record, output)
    if chart is not None:
        draw_pareto(record, chart)
