"""``t2s-rt bench``: speed of the runtime on this device, and how well bundles see."""

from __future__ import annotations

import click

from t2s_bench.commands import accuracy, project, speed
from t2s_bench.commands.detector import detector
from t2s_bench.commands.overlap import overlap
from t2s_bench.commands.reference import reference

__all__ = ["bench", "register"]


def register(group: click.Group) -> None:
    """Add ``bench`` to the command line."""
    group.add_command(bench)


@click.group(short_help="Measure latency, memory and accuracy.")
def bench() -> None:
    """Measure latency and memory on this device, and the accuracy of a bundle."""


for _command in (
    speed.run,
    speed.compare,
    speed.versus,
    speed.roofline,
    speed.rewrites,
    detector,
    reference,
    overlap,
    accuracy.nano,
    accuracy.real,
    accuracy.pareto,
    project.models,
    project.int8,
    project.scenes,
    project.readme,
):
    bench.add_command(_command)
