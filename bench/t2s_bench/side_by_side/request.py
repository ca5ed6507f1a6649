"""What a race is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from t2s_bench.inputs import known_names
from t2s_bench.side_by_side import (
    CLASS_COUNTS,
    OPPONENTS,
    RACE_ROUTES,
    Opponent,
    RaceRoute,
    SizeName,
)
from t2s_bench.side_by_side.phrases import WORDS
from t2s_rt.errors import UsageError

if TYPE_CHECKING:
    from t2s_export.choices import DeformableForm

__all__ = ["Request", "parse_classes", "parse_opponents", "parse_routes"]


@dataclass(frozen=True)
class Request:
    """One call of ``bench reference``.

    Attributes:
        size: of the models.
        classes: numbers of classes.
        routes: ways.
        opponents: of the chain's parts; ``eager`` is among them.
        repeat: clean samples wanted of each candidate.
        threads: of both sides; None takes one per core.
        deformable: form of the detector's deformable attention in our graph, for random weights.

    Raises:
        UsageError: what cannot be raced.
    """

    size: SizeName
    classes: tuple[int, ...] = CLASS_COUNTS
    routes: tuple[RaceRoute, ...] = RACE_ROUTES
    opponents: tuple[Opponent, ...] = OPPONENTS
    repeat: int = 3
    threads: int | None = None
    deformable: DeformableForm = "grid_sample"

    def __post_init__(self) -> None:
        """Refuse what cannot be raced."""
        if "eager" not in self.opponents:
            raise UsageError(
                f"expected eager among the opponents, found {_listed(self.opponents)}; every other "
                "one, and our own results, are compared with it"
            )
        if not self.routes:
            raise UsageError(f"expected routes out of {_listed(RACE_ROUTES)}, found none")
        if not self.classes or min(self.classes) < 1 or max(self.classes) > len(WORDS):
            raise UsageError(
                f"expected numbers of classes from 1 to {len(WORDS)}, found "
                f"{_listed(self.classes)}; name others, as 1,7"
            )

    @property
    def command(self) -> str:
        """What to type to get the same rows again."""
        words = f"t2s-rt bench reference --size {self.size}"
        words += f" --classes {','.join(map(str, self.classes))} --routes {','.join(self.routes)}"
        words += f" --opponents {','.join(self.opponents)} --repeat {self.repeat}"
        if self.deformable != type(self).deformable:
            words += f" --deformable {self.deformable}"
        return words if self.threads is None else f"{words} --threads {self.threads}"


def parse_classes(text: str) -> tuple[int, ...]:
    """Numbers out of ``1,7``.

    Raises:
        UsageError: anything else.
    """
    try:
        return tuple(int(name) for name in text.split(","))
    except ValueError as cause:
        raise UsageError(
            f"expected numbers of classes separated by commas, as 1,7; found {text!r}"
        ) from cause


def parse_routes(text: str) -> tuple[RaceRoute, ...]:
    """Routes out of ``boxes,points``.

    Raises:
        UsageError: one that the reference has not.
    """
    return known_names("routes", text, RACE_ROUTES)


def parse_opponents(text: str) -> tuple[Opponent, ...]:
    """Opponents out of ``eager,onnx``.

    Raises:
        UsageError: an unknown one.
    """
    return known_names("opponents", text, OPPONENTS)


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values)) or "none"
