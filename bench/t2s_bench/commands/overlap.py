"""``bench overlap``: what reading ahead and batches save."""

from __future__ import annotations

from pathlib import Path

import click

from t2s_bench.commands.options import record_opt
from t2s_rt.cli._options import bundle_opt, route_opt, threads_opt
from t2s_rt.errors import BackendError
from t2s_rt.limits import TILES_PER_CALL
from t2s_rt.routes import RouteName

__all__ = ["overlap"]


@click.command()
@click.argument("scenes", nargs=-1, type=click.Path(path_type=Path, exists=True))
@bundle_opt
@route_opt
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
@threads_opt
@record_opt
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
