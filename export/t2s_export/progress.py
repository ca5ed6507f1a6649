"""What an export says while it works: a line for each graph on stdout, what goes on on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from t2s_rt.cli._progress import note

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from t2s_export.bundle_builder import BuiltGraph

__all__ = ["ExportProgress"]

_ROW = "{:<18} {:<5} {:>6} {:>13} {:>9} {:>11} {:>8}"


class ExportProgress:
    """A table row for each graph, and on a terminal a live bar with the remaining time.

    Parity figures of a row are the worst of all outputs and inputs; seconds count from the row
    before. Under a float16 graph's row stands how much of its arithmetic is float16.

    Args:
        shares: work of each step in any unit, by the text that announces it, for the remaining
            time; empty for no bar.
    """

    def __init__(self, shares: Mapping[str, float] | None = None) -> None:
        self._shares = dict(shares or {})
        self._begun: dict[str, float] = {}
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._rows = self._nodes = self._bytes = 0
        self._start = self._last = time.monotonic()
        if self._shares and sys.stderr.isatty():
            self._show_bar()

    def starting(self, text: str) -> None:
        """Say what is done next."""
        if self._bar is None or self._task is None:
            note(f"{text} ...")
            return
        from rich.markup import escape

        self._bar.update(self._task, description=escape(text), completed=sum(self._begun.values()))
        if text in self._shares:
            self._begun[text] = self._shares[text]

    def built(self, graph: BuiltGraph) -> None:
        """Print a graph's row."""
        now, record, parity = time.monotonic(), graph.record, graph.parity
        cells = (f"{graph.bytes:,}", f"{parity.max_abs:.1e}", f"{parity.cosine:.8f}")
        seconds = f"{now - self._last:.1f}"
        self._print(_ROW.format(record.role, record.precision, graph.nodes, *cells, seconds))
        if graph.decision is not None:
            self._print(f"  {graph.decision.summary}", rows=0)
        self._last = now
        self._nodes += graph.nodes
        self._bytes += graph.bytes

    def end(self) -> None:
        """Print the totals, if there was anything to add up."""
        self.close()
        if self._rows:
            seconds = f"{time.monotonic() - self._start:.1f}"
            self._print(_ROW.format("total", "", self._nodes, f"{self._bytes:,}", "", "", seconds))

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, row: str, rows: int = 1) -> None:
        """A row, or a line that belongs to one, on stdout, above the bar."""
        if self._bar is not None:
            self._bar.stop()
        if self._rows == 0:
            click.echo(_ROW.format("graph", "", "nodes", "bytes", "max abs", "cosine", "seconds"))
        click.echo(row)
        self._rows += rows
        if self._bar is not None:
            self._bar.start()

    def _show_bar(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=Console(stderr=True),
            transient=True,
            # rows belong to stdout even where only stderr is a terminal
            redirect_stdout=False,
        )
        self._task = self._bar.add_task("starting", total=sum(self._shares.values()))
        self._bar.start()
