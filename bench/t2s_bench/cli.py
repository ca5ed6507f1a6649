"""``t2s-rt bench``: speed of the runtime on this device, and how well nano sees."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from t2s_rt.errors import BackendError, MissingExtraError
from t2s_rt.limits import TILES_PER_CALL
from t2s_rt.routes import DEFAULT_ROUTE, ROUTES, RouteName

__all__ = ["register"]


def register(group: click.Group) -> None:
    """Add ``bench`` to the command line."""
    group.add_command(bench)


@click.group(short_help="Measure latency, memory and accuracy.")
def bench() -> None:
    """Measure latency and memory on this device, and the accuracy of a bundle."""


@bench.command()
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle folder; default nano.")
@click.option(
    "--route",
    type=click.Choice(ROUTES),
    default=DEFAULT_ROUTE,
    show_default=True,
    help="Route to time.",
)
@click.option(
    "--size", default=1024, show_default=True, help="Edge of the synthetic scene in pixels."
)
@click.option("--repeat", default=3, show_default=True, help="Warm runs after the cold one.")
@click.option("--threads", type=int, help="Threads of the backend; default all cores.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the JSON record here.")
def run(
    bundle: Path | None,
    route: RouteName,
    size: int,
    repeat: int,
    threads: int | None,
    output: Path | None,
) -> None:
    """Time one scene from file to files: cold, warm, by stage, with peak memory.

    The scene is synthetic, at the bundle's own ground resolution, so that nothing is resampled.
    """
    from t2s_bench.run import measure_scene, print_record

    record = measure_scene(bundle, route=route, size=size, repeat=repeat, threads=threads)
    print_record(record, output)


@bench.command()
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle folder; default nano.")
@click.option(
    "--graphs", metavar="ROLES", help="Only these graphs, separated by commas; default all."
)
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Within an operator."
)
@click.option(
    "--repeat", type=click.IntRange(1), default=5, show_default=True, help="Runs of each graph."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the JSON record here.")
def roofline(
    bundle: Path | None, graphs: str | None, threads: int, repeat: int, output: Path | None
) -> None:
    """How much of the machine each graph uses, and where the rest goes.

    Counts the work of every graph from its ONNX file, times it and each of its operators with
    what infer feeds it for one tile, measures what the machine can do through the same runtime,
    and lists what there is to gain. ONNX Runtime on the CPU, fp32.
    """
    from t2s_bench.machine import write_record
    from t2s_bench.roofline.measure import measure_roofline
    from t2s_bench.roofline.tables import roofline_tables

    for package in ("onnx", "onnxruntime"):
        _need(package, "roofline")
    roles = None if graphs is None else [role.strip() for role in graphs.split(",")]
    record = measure_roofline(bundle, threads=threads, repeat=repeat, roles=roles)
    click.echo(roofline_tables(record))
    if output is not None:
        write_record(record, output)


def _need(package: str, command: str) -> None:
    """Refuse a command whose extra is not installed."""
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as cause:
        raise MissingExtraError(f"t2s-rt bench {command}", package, "export") from cause


@bench.command()
@click.argument("scenes", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle folder; default nano.")
@click.option(
    "--route",
    type=click.Choice(ROUTES),
    default=DEFAULT_ROUTE,
    show_default=True,
    help="Route to time.",
)
@click.option(
    "--size",
    type=click.IntRange(0),
    default=3000,
    show_default=True,
    help="Edge of the synthetic scene in pixels; 0 leaves it out.",
)
@click.option(
    "--gsd",
    type=click.FloatRange(0, min_open=True),
    default=0.1,
    show_default=True,
    help="Ground resolution of the synthetic scene, metres per pixel.",
)
@click.option(
    "--batch",
    type=click.IntRange(2, TILES_PER_CALL),
    default=TILES_PER_CALL,
    show_default=True,
    help="Tiles in one call where they are batched.",
)
@click.option("--rounds", default=3, show_default=True, help="Passes of each way, in turns.")
@click.option("--threads", type=click.IntRange(1), help="Threads in all; default all cores.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the JSON record here.")
def overlap(
    scenes: tuple[Path, ...],
    bundle: Path | None,
    route: RouteName,
    size: int,
    gsd: float,
    batch: int,
    rounds: int,
    threads: int | None,
    output: Path | None,
) -> None:
    """How much reading hides behind computing, and what batches of tiles save.

    Maps SCENES and a synthetic one in five ways that take turns: one tile after another, with the
    next one read ahead, side by side as infer does, and in batches. Exits with an error if maps
    that must be the same to the byte are not.
    """
    from t2s_bench.machine import write_record
    from t2s_bench.overlap import measure_overlap, overlap_table

    record = measure_overlap(
        bundle, scenes, route=route, size=size, gsd=gsd, batch=batch, rounds=rounds, threads=threads
    )
    click.echo(overlap_table(record))
    if output is not None:
        write_record(record, output)
    unlike = [s["name"] for s in record["scenes"] if not all(s["identical"].values())]
    if unlike:
        raise BackendError(
            f"expected the same map from every order of work, found others for {', '.join(unlike)};"
            " where only `batched` differs, this backend rounds differently in larger calls: keep "
            "--batch 1"
        )


@bench.command()
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


@bench.command()
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


@bench.command()
@click.option("--count", default=200, show_default=True, help="Number of scenes.")
@click.option("--size", default=256, show_default=True, help="Edge of each scene in pixels.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the JSON record here.")
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


@bench.command()
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
    for package in ("torch", "onnx", "onnxruntime"):
        _need(package, "models")
    from t2s_bench.models.run import run_models

    run_models(only, timings=timings, repeat=repeat, output=output)


@bench.command()
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
