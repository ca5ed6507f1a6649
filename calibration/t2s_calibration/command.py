"""``t2s-rt calibrate``: what a bundle or a pack learns from a few scenes."""

from __future__ import annotations

import click

from t2s_calibration.int8.command import int8
from t2s_calibration.thresholds.command import thresholds

__all__ = ["register"]


def register(group: click.Group) -> None:
    """Add the command ``calibrate``."""
    group.add_command(calibrate)


@click.group(short_help="int8 graphs from your scenes; score thresholds from labels.")
def calibrate() -> None:
    """Fit a bundle or a pack to a few scenes of the sensor that will fly."""


calibrate.add_command(thresholds)
calibrate.add_command(int8)
