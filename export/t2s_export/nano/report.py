"""Progress of a training run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from t2s_export.nano.loop import Progress

__all__ = ["Reporter"]


class Reporter:
    """Shows images/s, loss and time left; plain text where the output is no terminal.

    Args:
        stage: name shown.
        every: seconds between plain lines.
    """

    def __init__(self, stage: str, every: float = 20.0) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self.stage, self.every = stage, every
        self._console = Console()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[text]}"),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task(stage, total=1.0, text="")
        self._last = (time.perf_counter(), 0)
        self._start: tuple[float, float] | None = None

    def __enter__(self) -> Reporter:
        """Start the bar, if there is a terminal."""
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the bar."""
        if self._console.is_terminal:
            self._bar.stop()

    def line(self, text: str) -> None:
        """Write a line; never wrapped or coloured where there is no terminal."""
        if self._console.is_terminal:
            self._bar.console.print(text, highlight=False)
        else:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def rendering(self, done: int, count: int) -> None:
        """Show how many scenes are rendered."""
        if self._console.is_terminal:
            self._bar.update(self._task, completed=done / count, text=f"scenes {done}/{count}")
        elif done % 200 < 8 or done == count:
            self.line(f"{self.stage}: rendered {done} of {count} scenes")

    def step(self, progress: Progress, spent: float, means: dict[str, float]) -> None:
        """Show a training step."""
        now = time.perf_counter()
        if self._start is None:
            self._start, self._last = (now, spent), (now, progress.images)
            return
        since, images = now - self._last[0], progress.images - self._last[1]
        plain = not self._console.is_terminal
        if since < (self.every if plain else 1.0):
            return
        left = (1 - spent) * (now - self._start[0]) / max(1e-9, spent - self._start[1])
        text = (
            f"step {progress.step}  {images / since:.2f} images/s  loss {means['loss']:.3f}  "
            f"ETA {left / 60:.1f} min"
        )
        self._last = (now, progress.images)
        if plain:
            self.line(f"{self.stage}: {spent:.1%}  {text}")
        else:
            self._bar.update(self._task, completed=spent, text=text)

    def validation(self, figures: dict[str, float]) -> None:
        """Show validation figures."""
        self.line(f"{self.stage}: " + "  ".join(f"{k} {v:.3f}" for k, v in figures.items()))
