"""How far a build is, from the nested phases that TensorRT reports."""

from __future__ import annotations

import threading
from dataclasses import dataclass

__all__ = ["Phases"]

_DEEPEST = 16


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """Phases that began and have not finished; TensorRT may report from several threads.

    A phase counts its own steps, and the step it is in by its furthest child.

    Attributes:
        current: the phase that was heard of last.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Phase] = {}
        self._furthest = 0.0
        self._lock = threading.Lock()
        self.current = ""

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        with self._lock:
            self._open[name] = _Phase(parent, max(steps, 1))
            self.current = name

    def step(self, name: str, step: int) -> None:
        """A phase has completed its step of this number, counted from 0."""
        with self._lock:
            if name in self._open:
                self._open[name].done = step + 1
                self.current = name
                self._measure()

    def finish(self, name: str) -> None:
        """A phase ends."""
        with self._lock:
            self._open.pop(name, None)

    def fraction(self) -> float:
        """Part of the work that is done, 0..1; it never goes back."""
        with self._lock:
            return self._furthest

    def _measure(self) -> None:
        roots = [name for name, phase in self._open.items() if phase.parent not in self._open]
        found = max((self._part(name, 0) for name in roots), default=0.0)
        self._furthest = max(self._furthest, min(found, 1.0))

    def _part(self, name: str, depth: int) -> float:
        phase = self._open[name]
        within = 0.0
        if phase.done < phase.steps and depth < _DEEPEST:
            children = [child for child, other in self._open.items() if other.parent == name]
            within = max((self._part(child, depth + 1) for child in children), default=0.0)
        return min((phase.done + within) / phase.steps, 1.0)
