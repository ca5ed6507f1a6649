"""``t2s-rt export``: bundles from checkpoints. Imports torch only when it runs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from t2s_export.checkout import source_checkout
from t2s_rt.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from t2s_export.bundle_builder import BuiltGraph

__all__ = ["register"]

_EXTRA_PACKAGES = frozenset({"onnx", "onnxruntime", "scipy", "tokenizers", "torch"})
_ROW = "{:<18} {:<5} {:>6} {:>11} {:>9} {:>11}"


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
    try:
        from t2s_export.nano_bundle import export_nano
    except ImportError as cause:
        package = (cause.name or "").partition(".")[0]
        if package not in _EXTRA_PACKAGES:
            raise
        raise MissingExtraError("t2s-rt export", package, "export") from cause
    built = export_nano(target, replace_existing=force or embedded, progress=_table())
    total = sum(graph.bytes for graph in built)
    click.echo(_ROW.format("total", "", sum(g.nodes for g in built), f"{total:,}", "", ""))
    click.echo(f"wrote {target}")


def _table() -> Callable[[BuiltGraph], None]:
    """Print a line for each graph; figures are the worst of all outputs and inputs.

    A graph's bytes are those that the bundle grows by: graphs share their weights.
    """
    rows = count()

    def show(graph: BuiltGraph) -> None:
        if next(rows) == 0:
            click.echo(_ROW.format("graph", "", "nodes", "bytes", "max abs", "cosine"))
        parity = graph.parity
        cells = (f"{graph.bytes:,}", f"{parity.max_abs:.1e}", f"{parity.cosine:.8f}")
        record = graph.record
        click.echo(_ROW.format(record.role, record.precision, graph.nodes, *cells))

    return show
