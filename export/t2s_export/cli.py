"""``t2s-rt export``: bundles from checkpoints. Imports torch only when it runs."""

from __future__ import annotations

from pathlib import Path

import click

from t2s_export.checkout import source_checkout
from t2s_export.extra import needs_extra
from t2s_export.official.command import preset_commands
from t2s_export.progress import ExportProgress
from t2s_rt.errors import UsageError

__all__ = ["register"]


def register(group: click.Group) -> None:
    """Add ``export`` to the command line."""
    group.add_command(export, "export")


@click.group()
def export() -> None:
    """Write a bundle from checkpoints (needs the extra "export")."""


@export.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write the bundle to; made if missing.",
)
@click.option(
    "--embedded", is_flag=True, help="Replace the bundle inside the package (source checkouts)."
)
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
def nano(output: Path | None, embedded: bool, force: bool) -> None:
    """Write the nano bundle from the checkpoints of this checkout.

    Every graph is compared with its torch module before the folder appears.
    """
    if (output is None) != embedded:
        raise UsageError(
            "expected either --output DIR or --embedded, found "
            f"{'both' if embedded else 'neither'}; name one place for the bundle"
        )
    target = source_checkout() / "runtime" / "t2s_rt" / "nano" if output is None else output
    with needs_extra():
        from t2s_export.nano_bundle import export_nano
    progress = ExportProgress()
    export_nano(target, replace_existing=force or embedded, progress=progress.built)
    progress.end()
    click.echo(f"wrote {target}")


for _preset_command in preset_commands():
    export.add_command(_preset_command)
