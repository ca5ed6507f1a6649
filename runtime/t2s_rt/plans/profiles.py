"""The shapes that an engine is built for, from a graph's record and the limits of one call."""

from __future__ import annotations

from dataclasses import dataclass

from t2s_rt.bundle import GraphEntry
from t2s_rt.errors import BackendError
from t2s_rt.limits import SizeRange, size_range

__all__ = ["InputProfile", "input_profiles"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class InputProfile:
    """Least, usual and greatest shape of one input; all alike where the input is static."""

    name: str
    least: Shape
    usual: Shape
    greatest: Shape

    @property
    def dynamic(self) -> bool:
        """Whether any size may change."""
        return self.least != self.greatest


def input_profiles(entry: GraphEntry, batch: int | None = None) -> tuple[InputProfile, ...]:
    """The profile of every input of a graph, in its order.

    Args:
        entry: the graph.
        batch: most images of one call of ``detector`` and ``mask_encoder``; None takes the
            runtime's limit.

    Raises:
        BackendError: a graph that is never built, such as a text encoder.
    """
    profiles = []
    for spec in entry.inputs:
        ranges = [_range(entry, size, batch) for size in spec.shape]
        profiles.append(
            InputProfile(
                spec.name,
                tuple(r.least for r in ranges),
                tuple(r.usual for r in ranges),
                tuple(r.greatest for r in ranges),
            )
        )
    return tuple(profiles)


def _range(entry: GraphEntry, size: int | str, batch: int | None) -> SizeRange:
    if isinstance(size, int):
        return SizeRange(size, size, size)
    found = size_range(entry.role, size, entry.image_size)
    if found is None:
        raise BackendError(
            f"{entry.role}: expected a graph that flies, found the dynamic size {size}, for which "
            "no engine is built; text encoders run on the CPU, on the ground"
        )
    if size == "B" and batch is not None and entry.role in ("detector", "mask_encoder"):
        return SizeRange(1, batch, batch)
    return found
