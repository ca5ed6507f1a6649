"""Stage by stage: the same tensors into a part of the original and into ours, figures out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

__all__ = ["Figures", "Stages", "figures", "token_rows"]

Tensors = Tensor | Sequence[Tensor]
Call = Callable[[tuple[Any, ...], dict[str, Any], Any], Tensors]
"""What to make of a call of the original: its arguments, keywords and result."""


@dataclass(frozen=True)
class Figures:
    """How two computations of the same numbers agree.

    Attributes:
        max_abs: largest absolute difference.
        cosine: cosine of both, each taken as one long vector.
        largest: largest absolute value expected.
        spread: standard deviation of the expected values about the mean of their rows (the last
            axis); an original that says the same everywhere would prove nothing.
    """

    max_abs: float
    cosine: float
    largest: float
    spread: float

    def worst(self, other: Figures) -> Figures:
        """The worse of both in each respect."""
        return Figures(
            max(self.max_abs, other.max_abs),
            min(self.cosine, other.cosine),
            max(self.largest, other.largest),
            min(self.spread, other.spread),
        )


def figures(expected: Tensor | npt.NDArray[Any], found: Tensor | npt.NDArray[Any]) -> Figures:
    """Compare two arrays of one shape, in float64.

    Raises:
        ValueError: shapes differ or a number is not finite; never a figure of half the data.
    """
    a, b = (np.asarray(x, np.float64) for x in (expected, found))
    if a.shape != b.shape:
        raise ValueError(f"expected shape {a.shape}, found {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("expected finite numbers, found NaN or infinity")
    rows = a.reshape(-1, a.shape[-1])
    spread = float((rows - rows.mean(0) if len(rows) > 1 else rows - rows.mean()).std())
    a, b = a.ravel(), b.ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return Figures(
        float(np.abs(a - b).max(initial=0.0)),
        min(1.0, float(a @ b) / norms) if norms else float(np.array_equal(a, b)),
        float(np.abs(a).max(initial=0.0)),
        spread,
    )


def _outcome(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Tensors:
    result: Tensors = output
    return result


class Stages:
    """Watches parts of an original model while it runs, and runs ours on what they were given.

    Attributes:
        figures: by name of the stage; the worst where a stage ran several times.
    """

    def __init__(self) -> None:
        self.figures: dict[str, Figures] = {}
        self._handles: list[RemovableHandle] = []
        self._awaited: set[str] = set()

    def add(self, name: str, expected: Tensors, found: Tensors) -> None:
        """Compare one stage's tensors, several of them one by one."""
        pairs = (
            [(expected, found)]
            if isinstance(expected, Tensor)
            else list(zip(expected, found, strict=True))
        )
        for theirs, ours in pairs:
            new = figures(theirs, ours)  # type: ignore[arg-type]  # a Sequence is one of Tensors
            self.figures[name] = new.worst(self.figures.get(name, new))

    def watch(self, name: str, part: nn.Module, ours: Call, theirs: Call = _outcome) -> None:
        """Compare a stage whenever the original's part runs.

        Args:
            name: of the stage.
            part: of the original.
            ours: our result for the call.
            theirs: what to compare it with; the part's own result if nothing else is said.
        """

        @torch.no_grad()
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            self._awaited.discard(name)
            self.add(name, theirs(args, kwargs, output), ours(args, kwargs, output))

        self._awaited.add(name)
        self._handles.append(part.register_forward_hook(hook, with_kwargs=True))

    def note(self, part: nn.Module) -> list[Any]:
        """Results of the original's part as it runs, for stages that need what went before."""
        results: list[Any] = []

        def hook(_: nn.Module, __: Any, output: Any) -> None:
            results[:] = [output]

        self._handles.append(part.register_forward_hook(hook))
        return results

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the original run; nothing is watched any more afterwards.

        Raises:
            RuntimeError: a watched part never ran, so nothing was compared.
        """
        try:
            with torch.no_grad():
                yield
        finally:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()
        if self._awaited:
            raise RuntimeError(f"these stages never ran: {sorted(self._awaited)}")


def token_rows(planes: Tensor) -> Tensor:
    """``[B, C, h, w]`` as rows of tokens ``[B * h * w, C]``, as the export forms have them."""
    return planes.permute(0, 2, 3, 1).flatten(0, 2)
