"""``bench detector``: what smaller frames and longer captions gain and cost."""

from __future__ import annotations

from pathlib import Path

import click

from t2s_bench.commands.options import record_opt
from t2s_rt.cli._needs import need_packages

__all__ = ["detector"]


@click.command()
@click.option("--full/--no-full", default=True, help="Captions of Swin-T at full size, too.")
@click.option(
    "--repeat", type=click.IntRange(1), default=9, show_default=True, help="Timed runs of each."
)
@record_opt
def detector(full: bool, repeat: int, output: Path | None) -> None:
    """What the detector gains from a smaller frame or a shorter caption, and what that costs.

    Exports nano's detector for several frames, times each and judges it on scenes of no other use.
    Needs a source checkout, and for --full the original packages.
    """
    from t2s_bench.machine import write_record

    need_packages("bench detector", "torch", "onnx", "onnxruntime")
    from t2s_bench.detector_sizes import detector_sizes_tables, measure_detector_sizes

    record = measure_detector_sizes(full_size=full, repeat=repeat)
    click.echo(detector_sizes_tables(record))
    if output is not None:
        write_record(record, output)
