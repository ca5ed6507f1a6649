"""Progress of a download: a live bar on a terminal, a few plain lines elsewhere. On stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol

from t2s_rt.cli._progress import note
from t2s_rt.cli._tables import megabytes

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from t2s_export.checkpoints.download import Watcher

    class DownloadProgress(Watcher, Protocol):
        """A watcher with an end."""

        def end(self) -> None:
            """Take away what is live."""


__all__ = ["make_progress"]

_QUIET_SECONDS = 15.0


def make_progress(name: str) -> DownloadProgress:
    """The progress that fits where stderr goes; ``name`` begins each line."""
    return _Bar(name) if sys.stderr.isatty() else _Lines(name)


class _Lines:
    """A line when a connection delivers, then at most one every quarter of a minute."""

    def __init__(self, name: str) -> None:
        self._name, self._total = name, 0
        self._first, self._start, self._last = 0, 0.0, 0.0

    def begin(self, done: int, total: int | None) -> None:
        self._first, self._total = done, total or 0
        self._start = self._last = time.monotonic()
        size = "of unknown length" if total is None else megabytes(total)
        gone = f", {megabytes(done)} of it here before" if done else ""
        note(f"{self._name}: {size}{gone}")

    def advance(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last < _QUIET_SECONDS:
            return
        self._last = now
        rate = (done - self._first) / (now - self._start)
        left = f", {(self._total - done) / rate:.0f} s left" if self._total and rate else ""
        note(f"{self._name}: {megabytes(done)}, {rate / 1e6:.2f} MB/s{left}")

    def note(self, text: str) -> None:
        note(f"{self._name}: {text}")

    def end(self) -> None:
        pass


class _Bar:
    """A live bar with bytes per second and remaining time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def begin(self, done: int, total: int | None) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self.end()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(escape(self._name), total=total, completed=done)
        self._bar.start()

    def advance(self, done: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)

    def note(self, text: str) -> None:
        self.end()
        note(f"{self._name}: {text}")

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
