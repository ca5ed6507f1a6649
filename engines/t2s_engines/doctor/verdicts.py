"""What the doctor says: one verdict per check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["LEVELS", "Level", "Verdict"]

Level = Literal["ok", "note", "warning", "fails"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""From harmless to what does not work."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check.

    Attributes:
        level: ``ok``; ``note``, worth knowing; ``warning``, works but may be wrong or slow;
            ``fails``, does not work.
        check: what was looked at, in one or two words; several verdicts may share it.
        found: what was found.
        do: what to do about it; empty where nothing is to be done.
    """

    level: Level
    check: str
    found: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.found} -> {self.do}" if self.do else self.found
