"""``bench run``, ``compare``, ``versus``, ``roofline`` and ``rewrites``: how fast, and why."""

from __future__ import annotations

from pathlib import Path

import click

from t2s_bench.commands.options import graphs_opts, record_opt
from t2s_bench.errors import RegressionError
from t2s_bench.speed import PARTS
from t2s_rt.cli._needs import need_packages
from t2s_rt.cli._options import backend_opt, bundle_opt, precision_opt, route_opt, threads_opt
from t2s_rt.errors import UsageError
from t2s_rt.routes import DEFAULT_ROUTE, ROUTES, RouteName

__all__ = ["compare", "rewrites", "roofline", "run", "versus"]


@click.command()
@bundle_opt
@click.option(
    "--route",
    "routes",
    type=click.Choice(ROUTES),
    multiple=True,
    help="Route on one tile; may be repeated; the first one also maps the scene.  [default: all, "
    f"the scene by {DEFAULT_ROUTE}]",
)
@click.option(
    "--size",
    type=click.IntRange(16),
    default=1024,
    show_default=True,
    help="Edge of the synthetic scene in pixels.",
)
@click.option(
    "--repeat", type=click.IntRange(1), default=10, show_default=True, help="Warm samples."
)
@click.option(
    "--parts",
    default=",".join(PARTS),
    show_default=True,
    help="What to measure, separated by commas.",
)
@precision_opt
@backend_opt
@threads_opt
@record_opt
@click.option("--chart", type=click.Path(path_type=Path), help="Draw a chart into this PNG file.")
def run(
    bundle: Path | None,
    routes: tuple[RouteName, ...],
    size: int,
    repeat: int,
    parts: str,
    precision: str,
    backend: str,
    threads: int | None,
    output: Path | None,
    chart: Path | None,
) -> None:
    """Latency and throughput on this device: a scene, routes on one tile, single graphs.

    The scene is synthetic, at the bundle's own ground resolution, and goes from file to files as
    infer does it: cold, warm, by stage, with memory, and energy where the device tells it. Routes
    run on one tile in memory, by number of classes. Single graphs are engine-only figures.
    """
    from t2s_bench.machine import write_record
    from t2s_bench.speed.chart import draw_speed
    from t2s_bench.speed.measure import measure_speed
    from t2s_bench.speed.tables import speed_tables

    others = [route for route in ROUTES if route != DEFAULT_ROUTE]
    record = measure_speed(
        bundle,
        routes=routes or (DEFAULT_ROUTE, *others),
        size=size,
        repeat=repeat,
        precision=precision,
        backend=backend,
        threads=threads,
        parts=[part.strip() for part in parts.split(",")],
    )
    click.echo(speed_tables(record))
    if output is not None:
        write_record(record, output)
    if chart is not None:
        draw_speed(record, chart)


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=0.1,
    show_default=True,
    help="Share by which a figure may grow.",
)
def compare(old: Path, new: Path, tolerance: float) -> None:
    """What became slower or larger between two records of bench run.

    Exits with an error where a figure grew by more than the tolerance; says where machine,
    versions or settings differ, so that the change may be theirs.
    """
    from t2s_bench.speed.compare import changes, differences, load_record
    from t2s_bench.speed.tables import change_table

    before, after = load_record(old), load_record(new)
    found = changes(before, after, tolerance)
    click.echo(change_table(found))
    unlike = differences(before, after)
    if unlike:
        click.echo("\nThe two were not measured alike:\n" + "\n".join(f"- {d}" for d in unlike))
    worse = [change for change in found if change.regressed]
    if worse:
        worst = max(worse, key=lambda change: change.ratio)
        raise RegressionError(
            f"{len(worse)} of {len(found)} figures grew by more than {tolerance:.0%}, most "
            f"{worst.name}: {worst.ratio:.2f} times; measure again on a quiet machine, or see what "
            "changed"
        )


@click.command()
@click.option("--first", default="", metavar="SETTINGS", help="As precision=fp32,threads=1.")
@click.option("--second", required=True, metavar="SETTINGS", help="As precision=fp16.")
@route_opt
@click.option(
    "--repeat", type=click.IntRange(3), default=15, show_default=True, help="Turns of each side."
)
@record_opt
def versus(first: str, second: str, route: RouteName, repeat: int, output: Path | None) -> None:
    """Two settings in turn on one tile, and the ratio of their times with its interval.

    \b
    t2s-rt bench versus --second threads=1
    t2s-rt bench versus --first bundle=old --second bundle=new,precision=int8

    Settings: bundle, precision, backend, threads.
    """
    from t2s_bench.machine import write_record
    from t2s_bench.speed.tables import versus_text
    from t2s_bench.speed.versus import measure_versus, parse_side

    record = measure_versus(parse_side(first), parse_side(second), route=route, repeat=repeat)
    click.echo(versus_text(record))
    if output is not None:
        write_record(record, output)


@click.command()
@graphs_opts
@click.option(
    "--repeat", type=click.IntRange(1), default=5, show_default=True, help="Runs of each graph."
)
@click.option(
    "--models",
    metavar="A,B",
    help="Instead of a bundle: official models at full size with random weights, as sam_vit_b, "
    "mobile_sam, swin_t, ViT-B-16. Needs the extra [export] and the original packages "
    "(tests/oracles/requirements.txt).",
)
def roofline(
    bundle: Path | None,
    roles: list[str] | None,
    threads: int,
    repeat: int,
    models: str | None,
    output: Path | None,
) -> None:
    """How much of the machine each graph uses, and where the rest goes.

    Counts the work of every graph from its ONNX file, times it and each of its operators with
    what infer feeds it for one tile, measures what the machine can do through the same runtime,
    and lists what there is to gain. ONNX Runtime on the CPU, fp32.
    """
    from t2s_bench.machine import write_record
    from t2s_bench.roofline.measure import measure_roofline
    from t2s_bench.roofline.tables import roofline_tables

    need_packages("bench roofline", "onnx", "onnxruntime")
    if models is None:
        record = measure_roofline(bundle, threads=threads, repeat=repeat, roles=roles)
    else:
        if bundle is not None or roles is not None:
            raise UsageError(
                "expected either --models or a bundle's graphs, found both; leave out one"
            )
        need_packages("bench roofline --models", "torch", "onnx", "onnxruntime")
        from t2s_bench.inputs import known_names
        from t2s_bench.models.measure import MODELS
        from t2s_bench.roofline.full_size import measure_full_size

        names = known_names("models", models, tuple(MODELS))
        record = measure_full_size(names, threads=threads, repeat=repeat)
    click.echo(roofline_tables(record))
    if output is not None:
        write_record(record, output)


@click.command()
@graphs_opts
@click.option(
    "--repeat", type=click.IntRange(3), default=15, show_default=True, help="Turns of each race."
)
def rewrites(
    bundle: Path | None, roles: list[str] | None, threads: int, repeat: int, output: Path | None
) -> None:
    """What rewriting graphs for ONNX Runtime's CPU provider would gain, and cost.

    Races fused attention, an approximate Gelu and lower levels of the optimiser against each graph
    as infer opens it, in turns, and says how far outputs move; dense CLIP also by windows in a
    call. Changes nothing: it says what would be worth a change.
    """
    from t2s_bench.machine import write_record

    need_packages("bench rewrites", "onnx", "onnxruntime")
    from t2s_bench.rewrites.measure import measure_rewrites
    from t2s_bench.rewrites.tables import rewrites_tables

    record = measure_rewrites(bundle, threads=threads, repeat=repeat, roles=roles)
    click.echo(rewrites_tables(record))
    if output is not None:
        write_record(record, output)
