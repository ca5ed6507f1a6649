"""Progress of a run: a live bar on a terminal, a few plain lines elsewhere. Both on stderr."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from t2s_rt.pipeline import Progress
    from t2s_rt.pipeline.journal import TileStatus

__all__ = ["make_progress", "note"]

_QUIET_SECONDS = 15.0


def note(text: str) -> None:
    """One line for people on stderr; a reader that has gone away changes nothing."""
    with suppress(OSError):
        click.echo(" ".join(text.split()), err=True)


def make_progress() -> Progress:
    """The progress that fits where stderr goes."""
    return BarProgress() if sys.stderr.isatty() else LineProgress()


class LineProgress:
    """A line when a scene starts, then at most one every quarter of a minute.

    Nothing is said before the first tile is through, so that a scene that turns out to be
    broken leaves its error as the only line.
    """

    def __init__(self) -> None:
        self._held: list[str] = []
        self._working = True
        self._scene, self._tiles, self._done, self._resumed = "", 0, 0, 0
        self._start = self._last = 0.0

    def begin(self, scene: str, tiles: int, resumed: int) -> None:
        """Remember what starts."""
        self._held.clear()
        self._working = resumed > 0
        self._scene, self._tiles, self._done = scene, tiles, resumed
        self._resumed, self._start = resumed, time.monotonic()
        self._last = self._start
        gone = f", {resumed} of them done before" if resumed else ""
        self._say(f"{scene}: {tiles} tile{'s' * (tiles != 1)}{gone}")

    def tile(self, status: TileStatus) -> None:
        """Count a tile; say so now and then."""
        self._done += 1
        if status != "failed":
            self._release()
        now = time.monotonic()
        if now - self._last >= _QUIET_SECONDS:
            self._last = now
            rate = (self._done - self._resumed) / (now - self._start)
            left = (self._tiles - self._done) / rate
            self._say(
                f"{self._scene}: {self._done}/{self._tiles} tiles, {rate:.2f} tiles/s, "
                f"{_clock(left)} left"
            )

    def stage(self, name: str) -> None:
        """Say what was held back: all tiles are through."""
        self._release()

    def note(self, text: str) -> None:
        """Pass a warning on."""
        self._say(f"note: {self._scene}: {text}")

    def _say(self, text: str) -> None:
        if self._working:
            note(text)
        else:
            self._held.append(text)

    def _release(self) -> None:
        self._working = True
        for text in self._held:
            note(text)
        self._held.clear()

    def end(self) -> None:
        """Nothing to tidy up."""


class BarProgress:
    """A live bar with rate and remaining time."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._scene, self._done, self._resumed, self._start = "", 0, 0, 0.0

    def begin(self, scene: str, tiles: int, resumed: int) -> None:
        """Show the bar."""
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._scene, self._done = scene, resumed
        self._resumed, self._start = resumed, time.monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("tiles {task.fields[rate]} ETA"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(escape(scene), total=tiles, completed=resumed, rate="")
        self._bar.start()

    def tile(self, status: TileStatus) -> None:
        """Move the bar."""
        self._done += 1
        spent = max(time.monotonic() - self._start, 1e-6)
        rate = (self._done - self._resumed) / spent
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, rate=f"{rate:.2f}/s")

    def stage(self, name: str) -> None:
        """Show the step of writing."""
        if self._bar is not None and self._task is not None:
            from rich.markup import escape

            self._bar.update(self._task, description=f"{escape(self._scene)}: {name}")

    def note(self, text: str) -> None:
        """Print a warning above the bar."""
        from rich.markup import escape

        if self._bar is not None:
            self._bar.console.print(f"note: {escape(text)}", highlight=False)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
