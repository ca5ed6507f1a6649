"""The seam to every inference library: named arrays in, named arrays out.

``Session.run`` is a template method. It checks what comes in and what goes out against the
graph's record, so that every backend refuses the same mistakes with the same words; a backend
only fills ``_run`` and ``_close``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from t2s_rt.bundle import GraphEntry
from t2s_rt.bundle.shapes import bind_shape
from t2s_rt.contracts import TensorSpec
from t2s_rt.errors import BackendError

__all__ = ["Session"]

Arrays = dict[str, NDArray[Any]]


class Session(ABC):
    """A graph loaded on a backend.

    Args:
        entry: the graph.
        reason: why this backend was chosen, in a few words, for :meth:`describe`.
    """

    backend: str = ""
    """Name of the backend, e.g. ``"onnxruntime-cpu"``; set by each subclass."""

    def __init__(self, entry: GraphEntry, reason: str = "asked for") -> None:
        self.entry = entry
        self.reason = reason
        self._closed = False

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs; symbols stand for dynamic sizes."""
        return self.entry.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return self.entry.outputs

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def describe(self) -> str:
        """One line: what runs where, and why there."""
        return f"{self.entry.role} {self.entry.precision} on {self.backend} ({self.reason})"

    @final
    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the graph once.

        Args:
            feeds: every input by name, of exactly the dtype and a fitting shape of the record.
                They are not changed and not kept.

        Returns:
            Every output by name. The arrays belong to the caller.

        Raises:
            BackendError: a wrong feed, a closed session, or the backend failed.
        """
        if self._closed:
            raise BackendError(f"{self.entry.role}: the session on {self.backend} is closed")
        bound: dict[str, int] = {}
        self._check("input", self.inputs, feeds, bound)
        outputs = self._run(
            {spec.name: np.ascontiguousarray(feeds[spec.name]) for spec in self.inputs}
        )
        self._check("output", self.outputs, outputs, bound)
        return outputs

    @final
    def close(self) -> None:
        """Free what the session holds; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self) -> Session:
        """Return the session; leaving the block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the session."""
        self.close()

    @abstractmethod
    def _run(self, feeds: Arrays) -> Arrays:
        """Compute all outputs from checked, C-contiguous feeds."""

    @abstractmethod
    def _close(self) -> None:
        """Free what is held; called once."""

    def _check(
        self,
        side: str,
        specs: Sequence[TensorSpec],
        arrays: Mapping[str, NDArray[Any]],
        bound: dict[str, int],
    ) -> None:
        names = [spec.name for spec in specs]
        if set(arrays) != set(names):
            raise BackendError(
                f"{self.entry.role}: expected the {side}s {', '.join(names)}, "
                f"found {', '.join(sorted(arrays)) or 'none'}"
            )
        for spec in specs:
            array = arrays[spec.name]
            if not isinstance(array, np.ndarray) or array.dtype != np.dtype(spec.dtype):
                found = getattr(array, "dtype", type(array).__name__)
                raise BackendError(
                    f"{self.entry.role}, {side} {spec.name}: expected a {spec.dtype} array, "
                    f"found {found}"
                )
            problem = bind_shape(spec.shape, array.shape, bound)
            if problem:
                raise BackendError(f"{self.entry.role}, {side} {spec.name}: {problem}")
