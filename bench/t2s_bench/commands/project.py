"""``bench models``, ``int8``, ``scenes`` and ``readme``: figures of the project's own pages."""

from __future__ import annotations

from pathlib import Path

import click

from t2s_bench.commands.options import record_opt
from t2s_rt.cli._needs import need_packages
from t2s_rt.cli._options import threads_opt

__all__ = ["int8", "models", "readme", "scenes"]


@click.command()
@click.option(
    "--only",
    metavar="NAMES",
    help="Models, separated by commas; see the default and docs/models.md for their names.",
)
@click.option(
    "--timings/--no-timings",
    default=True,
    show_default=True,
    help="Also time each graph beside the original.",
)
@click.option("--repeat", default=3, show_default=True, help="Undisturbed samples of each side.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Merge the rows into this JSON record, bench/records/models.json.",
)
@click.option(
    "--table",
    type=click.Path(path_type=Path, exists=True),
    help="Measure nothing: write this page's figures, docs/models.md, from the records.",
)
def models(
    only: str | None, timings: bool, repeat: int, output: Path | None, table: Path | None
) -> None:
    """Official models at full size against the original packages, graph by graph.

    Weights are random, every one of them. Needs the extra [export] and the original packages
    (tests/oracles/requirements.txt); the small models take some 15 minutes and 8 GB.
    Exits with an error if a figure misses its limit.
    """
    if table is not None:
        from t2s_bench.readme import write_readme

        changed = write_readme(table, Path("bench/records"))
        click.echo("written" if changed else "already up to date")
        return
    need_packages("bench models", "torch", "onnx", "onnxruntime")
    from t2s_bench.models.run import run_models

    run_models(only, timings=timings, repeat=repeat, output=output)


@click.command()
@click.option(
    "--model",
    type=click.Choice(("sam_vit_b", "sam_vit_l", "mobile_sam")),
    default="sam_vit_b",
    show_default=True,
    help="Whose mask encoder.",
)
@click.option("--images", default=32, show_default=True, help="Tiles that ranges come from.")
@threads_opt
@record_opt
def int8(model: str, images: int, threads: int | None, output: Path | None) -> None:
    """What int8 gains at full size on this processor, and what calibrating it takes.

    Weights are random, every one of them. Needs the extra [export] and the original packages
    (tests/oracles/requirements.txt); sam_vit_b takes some 15 minutes.
    """
    need_packages("bench int8", "torch", "onnx", "onnxruntime")
    from t2s_bench.machine import write_record
    from t2s_bench.models.int8 import int8_table, measure_int8

    record = measure_int8(model, images, threads)
    click.echo(int8_table(record))
    if output is not None:
        write_record(record, output)


@click.command()
@click.option("--count", default=200, show_default=True, help="Number of scenes.")
@click.option("--size", default=256, show_default=True, help="Edge of each scene in pixels.")
@record_opt
def scenes(count: int, size: int, output: Path | None) -> None:
    """How fast synthetic scenes are drawn on one core."""
    from t2s_bench.machine import write_record
    from t2s_bench.scenes import measure_generator

    record = measure_generator(count, size)
    click.echo(
        f"{record['per_second']:.1f} scenes of {size}² a second and core "
        f"(fastest of {len(record['passes'])} passes; median {record['median']:.1f})"
    )
    if output is not None:
        write_record(record, output)


@click.command()
@click.argument("readme", type=click.Path(path_type=Path, exists=True), default=Path("README.md"))
@click.option(
    "--records",
    type=click.Path(path_type=Path, exists=True),
    default=Path("bench/records"),
    show_default=True,
    help="Folder of the records.",
)
def readme(readme: Path, records: Path) -> None:
    """Write the README's figures from the records."""
    from t2s_bench.readme import write_readme

    click.echo("written" if write_readme(readme, records) else "already up to date")
