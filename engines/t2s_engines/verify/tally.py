"""Figures as they come in, and what they amount to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Tally", "base_name", "in_mode"]

_ADDED = ("non-finite values", "hallucinated boxes")
"""Counts. Everything else is a mean (shares, and what is named so), a largest error, or a
smallest figure."""
_MEANS = ("recall", "precision")
_LARGEST = 1e30


@dataclass
class Tally:
    """Observations of one graph, by figure.

    Attributes:
        values: by figure, lists of (value, weight, tile).
        notes: what a reader should know about the figures.
    """

    values: dict[str, list[tuple[float, float, int]]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def add(self, name: str, value: float, tile: int, weight: float = 1.0) -> None:
        """Take down one observation; what has no weight says nothing and is left out."""
        if weight > 0:
            self.values.setdefault(name, []).append((float(value), float(weight), tile))

    def note(self, text: str) -> None:
        """Say something once."""
        self.notes.setdefault(text)

    def figures(self) -> dict[str, float]:
        """One value for each figure, within what a verdict may hold."""
        return {
            name: float(np.clip(self._reduced(name), -_LARGEST, _LARGEST))
            for name in sorted(self.values)
        }

    def worst_tile(self, name: str) -> int:
        """Index of the tile whose observation was worst."""
        values = self.values[name]
        high = base_name(name).startswith(("max error", "relative error", *_ADDED))
        chosen = max(values, key=lambda item: item[0] if high else -item[0])
        return chosen[2]

    def _reduced(self, name: str) -> float:
        values = np.array([value for value, _, _ in self.values[name]])
        weights = np.array([weight for _, weight, _ in self.values[name]])
        base = base_name(name)
        if base in _ADDED:
            return float(values.sum())
        if base in _MEANS or base.endswith("mean"):
            return float((values * weights).sum() / weights.sum())
        if base.startswith(("max error", "relative error", "hallucinated")):
            return float(values.max())
        return float(values.min())


def in_mode(name: str, mode: str) -> str:
    """Name of a figure in one kind of call, e.g. ``"cosine boxes, batched"``."""
    return f"{name}, {mode}" if mode else name


def base_name(name: str) -> str:
    """The figure without its kind of call."""
    return name.split(", ")[0]
