"""The seam to every inference library: named arrays in, named arrays out.

``Session.run`` is a template method. It checks what comes in and what goes out against the
graph's record, so that every backend refuses the same mistakes with the same words; a backend
only fills ``_run`` and ``_close``.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Literal, final, overload

import numpy as np
from numpy.typing import NDArray

from t2s_rt.backends.device import Array, DeviceArray, Feed, is_device_array
from t2s_rt.bundle import GraphEntry
from t2s_rt.bundle.shapes import bind_shape
from t2s_rt.contracts import TensorSpec
from t2s_rt.errors import BackendError

__all__ = ["Arrays", "Session"]

Arrays = dict[str, NDArray[Any]]


class Session(ABC):
    """A graph loaded on a backend. Its methods may be called from several threads.

    A backend whose library is not safe to call from several threads at once locks in ``_run``.

    Args:
        entry: the graph.
        reason: why this backend was chosen, in a few words, for :meth:`describe`.
    """

    backend: str = ""
    """Name of the backend, e.g. ``"onnxruntime-cpu"``; set by each subclass."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where outputs stay that :meth:`run` is asked to keep; a subclass or instance sets it."""
    device_index: int = 0
    """Which device of its kind."""
    warnings: tuple[str, ...] = ()
    """What a user should know before trusting this session's results."""

    def __init__(self, entry: GraphEntry, reason: str = "asked for") -> None:
        self.entry = entry
        self.reason = reason
        self._closed = False
        self._idle = threading.Condition()
        self._running: list[int] = []

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs; symbols stand for dynamic sizes."""
        return self.entry.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return self.entry.outputs

    @property
    def greatest(self) -> Mapping[str, tuple[int, ...]]:
        """The greatest shape that an input may have, by name, where the backend sets a bound."""
        return {}

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def describe(self) -> str:
        """One line: what runs where, and why there."""
        return f"{self.entry.role} {self.entry.precision} on {self.backend} ({self.reason})"

    @overload
    def run(self, feeds: Mapping[str, Feed]) -> Arrays: ...

    @overload
    def run(self, feeds: Mapping[str, Feed], *, keep: Collection[str]) -> dict[str, Array]: ...

    @final
    def run(self, feeds: Mapping[str, Feed], *, keep: Collection[str] = ()) -> Any:
        """Run the graph once.

        Args:
            feeds: every input by name, of exactly the dtype and a fitting shape of the record:
                NumPy arrays, or C-contiguous device arrays (:class:`DeviceArray`, or what has a
                ``__cuda_array_interface__``). Host arrays of floats must be finite. Feeds are
                not changed and not kept.
            keep: outputs that should stay in the device's memory, to be fed to another session
                without a way through the host. They come back as :class:`DeviceArray` where
                :attr:`device` is ``"cuda"``, and as NumPy arrays where the host is the device.

        Returns:
            Every output by name. The arrays belong to the caller: no later call changes them.

        Raises:
            BackendError: a wrong feed, an unknown name in ``keep``, a closed session, or the
                backend failed.
        """
        with self._in_flight(), ExitStack() as borrowed:
            unknown = set(keep) - {spec.name for spec in self.outputs}
            if unknown:
                raise BackendError(
                    f"{self.entry.role}: expected to keep outputs out of "
                    f"{', '.join(spec.name for spec in self.outputs)}, "
                    f"found {', '.join(sorted(unknown))}"
                )
            bound: dict[str, int] = {}
            placed = self._place(feeds)
            self._check("input", self.inputs, placed, bound)
            for name, array in placed.items():
                if isinstance(array, DeviceArray):
                    with self._naming(name):
                        borrowed.enter_context(array.borrowed())
            self._refuse_non_finite(placed)
            outputs = self._run(placed, frozenset(keep))
            self._check("output", self.outputs, outputs, bound)
            return outputs

    @final
    def close(self) -> None:
        """Free what the session holds, once the runs of other threads are over.

        From the call on, new runs are refused. A second call does nothing.

        Raises:
            BackendError: called from inside this session's own run.
        """
        with self._idle:
            if threading.get_ident() in self._running:
                raise BackendError(
                    f"{self.entry.role}: a session cannot be closed from its own run"
                )
            if self._closed:
                return
            self._closed = True
            self._idle.wait_for(lambda: not self._running)
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
    def _run(self, feeds: dict[str, Array], keep: frozenset[str]) -> dict[str, Array]:
        """Compute all outputs.

        Args:
            feeds: checked and C-contiguous, in the order of the inputs. A session of the host
                gets NumPy arrays alone; others also :class:`DeviceArray` on their own device,
                which stay valid until this method returns. Where such an array names a stream,
                its contents are ready only when the work on that stream is done.
            keep: names of outputs to leave on the device.

        Returns:
            Every output; the caller owns them.
        """

    @abstractmethod
    def _close(self) -> None:
        """Free what is held; called once, while no run is in flight."""

    @property
    def _binds_device_memory(self) -> bool:
        """Whether :meth:`_run` takes device arrays as they are."""
        return self.device == "cuda"

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        """Count a run, so that :meth:`close` can wait for it."""
        me = threading.get_ident()
        with self._idle:
            if self._closed:
                raise BackendError(f"{self.entry.role}: the session on {self.backend} is closed")
            self._running.append(me)
        try:
            yield
        finally:
            with self._idle:
                self._running.remove(me)
                self._idle.notify_all()

    def _place(self, feeds: Mapping[str, Feed]) -> dict[str, Any]:
        """Feeds in the order of the inputs: device arrays as ours, and where this session reads."""
        placed: dict[str, Any] = {}
        order = [spec.name for spec in self.inputs if spec.name in feeds]
        for name in (*order, *(name for name in feeds if name not in order)):
            value: Any = feeds[name]
            if is_device_array(value):
                value = self._place_device(name, value)
            elif isinstance(value, np.ndarray):
                value = np.asarray(value, order="C")
            placed[name] = value
        return placed

    def _place_device(self, name: str, value: Any) -> Array:
        with self._naming(name):
            if not isinstance(value, DeviceArray):
                if not self._binds_device_memory:
                    raise BackendError(
                        f"expected a host array for the session on {self.backend}, found a "
                        f"device array ({type(value).__name__}); copy it to the host first"
                    )
                return DeviceArray.wrap(value, self.device_index)
            home = (self.device, self.device_index)
            if self._binds_device_memory and (value.device, value.device_index) == home:
                return value
            return value.numpy()

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Put the input's name before an error of its array."""
        try:
            yield
        except BackendError as error:
            raise BackendError(f"{self.entry.role}, input {name}: {error}") from error

    def _check(
        self,
        side: str,
        specs: Sequence[TensorSpec],
        arrays: Mapping[str, Any],
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
            ours = isinstance(array, np.ndarray | DeviceArray)
            if not ours or array.dtype != np.dtype(spec.dtype):
                found = getattr(array, "dtype", type(array).__name__)
                raise BackendError(
                    f"{self.entry.role}, {side} {spec.name}: expected a {spec.dtype} array, "
                    f"found {found}"
                )
            problem = bind_shape(spec.shape, array.shape, bound)
            if problem:
                raise BackendError(f"{self.entry.role}, {side} {spec.name}: {problem}")

    def _refuse_non_finite(self, feeds: Mapping[str, Array]) -> None:
        """NaN or infinity in a host array: one would spread over every result without a word."""
        for name, array in feeds.items():
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                total = array.sum()
            # one pass for the usual case: a finite sum has finite parts
            if np.isfinite(total):
                continue
            count = array.size - int(np.count_nonzero(np.isfinite(array)))
            if count:
                raise BackendError(
                    f"{self.entry.role}, input {name}: expected finite numbers, found {count} "
                    f"NaN or infinite values of {array.size}"
                )
