"""Progress of a build, on stderr: a live bar with ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol

from t2s_engines.build.phases import Phases
from t2s_rt.cli._progress import note

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["BarProgress", "BuildProgress", "LineProgress", "clock", "make_progress", "remaining"]

_QUIET_SECONDS = 15.0


class BuildProgress(Protocol):
    """What a build tells; ``step`` may be called from any thread, the rest from one."""

    def begin(self, label: str, steps: bool) -> None:
        """The build of one engine begins; ``steps`` says whether TensorRT will report any."""

    def step(self, phases: Phases) -> None:
        """It is as far as its phases say."""

    def note(self, text: str) -> None:
        """Something that people should know."""

    def end(self) -> None:
        """The build is over, one way or the other."""


def make_progress() -> BuildProgress:
    """The progress that fits where stderr goes."""
    return BarProgress() if sys.stderr.isatty() else LineProgress()


class LineProgress:
    """A line when an engine's build begins, then at most one every quarter of a minute."""

    def __init__(self) -> None:
        self._label = ""
        self._start = self._last = 0.0

    def begin(self, label: str, steps: bool) -> None:
        """Say what is built."""
        self._label, self._start = label, time.monotonic()
        self._last = self._start
        note(f"{label}: building" + ("" if steps else "; this release reports no progress"))

    def step(self, phases: Phases) -> None:
        """Say now and then how far it is."""
        now = time.monotonic()
        if now - self._last < _QUIET_SECONDS:
            return
        self._last = now
        part = phases.fraction()
        left = remaining(now - self._start, part)
        note(f"{self._label}: {part:.0%}, {phases.current}" + (f", {left} left" if left else ""))

    def note(self, text: str) -> None:
        """Pass it on."""
        note(f"note: {text}")

    def end(self) -> None:
        """Nothing to tidy up."""


class BarProgress:
    """A live bar with part, phase and remaining time."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._label = ""

    def begin(self, label: str, steps: bool) -> None:
        """Show the bar; one that only pulses where nothing is reported."""
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._label = escape(label)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[phase]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        total = 1.0 if steps else None
        self._task = self._bar.add_task(self._label, total=total, phase="")
        self._bar.start()

    def step(self, phases: Phases) -> None:
        """Move the bar."""
        from rich.markup import escape

        if self._bar is not None and self._task is not None:
            phase = escape(phases.current[:48])
            self._bar.update(self._task, completed=phases.fraction(), phase=phase)

    def note(self, text: str) -> None:
        """Print it above the bar."""
        from rich.markup import escape

        if self._bar is not None:
            self._bar.console.print(f"note: {escape(text)}", highlight=False)
        else:
            note(f"note: {text}")

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def remaining(spent: float, part: float) -> str:
    """Time left as ``0:01:10`` if the rest goes as the first part went; empty while unknown."""
    return clock(spent * (1.0 - part) / part) if part > 0 else ""


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: ``0:01:10``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
