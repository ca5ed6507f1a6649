"""``t2s-rt doctor``: is this machine fit for a bundle, and what is to be done?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from t2s_rt.cli._options import bundle_opt

if TYPE_CHECKING:
    from t2s_engines.doctor.examine import Examination

__all__ = ["doctor", "register"]

_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "fails": "red"}


def register(group: click.Group) -> None:
    """Add the command ``doctor``."""
    group.add_command(doctor)


@click.command(short_help="Check this machine, its packages and engines against a bundle.")
@bundle_opt
@click.option(
    "--backend",
    metavar="NAME",
    help="A backend that must work as well; exit code 5 if it does not.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema version 1).")
def doctor(bundle: Path | None, backend: str | None, as_json: bool) -> None:
    """Check this machine, its packages and engines against a bundle; change nothing.

    One verdict a line: ok; note, worth knowing; warning, works but may be slow or wrong; fails.
    What is to be done follows an arrow. Drivers, CUDA and TensorRT are judged by their files and
    versions, without starting them; the CPU path, and the backend of --backend, are run.

    \b
    t2s-rt doctor
    t2s-rt doctor --bundle bundle/ --backend tensorrt

    Known faults are combinations of TensorRT release, GPU and graph for which users reported
    engines that run and are wrong. None listed is no proof: t2s-rt verify is.

    Exit code 0 if the CPU path works, and the backend that was asked for; else 5. 3 if the bundle
    cannot be used.
    """
    from t2s_engines.doctor.examine import examine
    from t2s_engines.doctor.machine import Machine
    from t2s_rt.backends import BACKENDS
    from t2s_rt.errors import UsageError

    if backend is not None and backend not in ("auto", *BACKENDS):
        raise UsageError(
            f"expected a backend out of auto, {', '.join(BACKENDS)}, found {backend!r}"
        )
    found = examine(Machine.here(), bundle, backend)
    if as_json:
        click.echo(json.dumps(found.as_record(), indent=2))
    else:
        _show(found)
    if found.error is not None:
        raise found.error


def _show(found: Examination) -> None:
    width = max(len(verdict.check) for verdict in found.verdicts)
    level_width = max(map(len, _COLOURS))
    for verdict in found.verdicts:
        level = click.style(f"{verdict.level:<{level_width}}", fg=_COLOURS[verdict.level])
        click.echo(f"{level}  {verdict.check:<{width}}  {verdict}")
    counts = ", ".join(f"{found.count(level)} {level}" for level in _COLOURS)
    click.echo(f"{counts}; {_summary(found)}")


def _summary(found: Examination) -> str:
    if found.bundle_error is not None:
        return "nothing was run: the bundle cannot be used"
    cpu = "the CPU path works" if found.cpu_error is None else "the CPU path does not work"
    if found.backend is None:
        return cpu
    verb = "works" if found.backend_error is None else "does not work"
    return f"{cpu}, backend {found.backend} {verb}"
