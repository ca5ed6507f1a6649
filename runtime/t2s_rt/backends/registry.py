"""From a backend's name to a session; ``auto`` chooses and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec

from t2s_rt.backends.base import Session
from t2s_rt.backends.onnxruntime_cpu import OnnxRuntimeCpuSession
from t2s_rt.backends.options import BackendOptions
from t2s_rt.bundle import GraphEntry
from t2s_rt.errors import BackendError, MissingExtraError, UsageError

__all__ = ["BACKENDS", "AutoBackend", "BackendKind", "choose_backend", "open_session"]

Opener = Callable[[GraphEntry, BackendOptions, str], Session]


@dataclass(frozen=True)
class BackendKind:
    """One backend that this version can use.

    Attributes:
        name: what ``--backend`` takes.
        package: the import it needs.
        extra: the extra of this project that brings it.
        device: ``"cpu"`` or ``"gpu"``; decides the precision that ``auto`` takes.
        open: from entry, options and reason to a session.
    """

    name: str
    package: str
    extra: str
    device: str
    open: Opener

    def installed(self) -> bool:
        """Whether its package can be imported; imports nothing."""
        return find_spec(self.package) is not None


@dataclass(frozen=True)
class AutoBackend:
    """What was chosen and why.

    Attributes:
        kind: the backend.
        reason: why, in a few words.
    """

    kind: BackendKind
    reason: str


BACKENDS: dict[str, BackendKind] = {
    kind.name: kind
    for kind in (
        BackendKind("onnxruntime-cpu", "onnxruntime", "cpu", "cpu", OnnxRuntimeCpuSession),
    )
}
"""Every backend by name, the one that ``auto`` prefers first."""


def choose_backend(backend: str = "auto") -> AutoBackend:
    """Resolve a backend's name.

    Raises:
        UsageError: no backend has this name.
        MissingExtraError: its package is not installed; the message names the extra.
        BackendError: ``auto``, and no backend at all is installed.
    """
    if backend == "auto":
        return _choose()
    kind = BACKENDS.get(backend)
    if kind is None:
        raise UsageError(
            f"expected a backend out of auto, {', '.join(BACKENDS)}, found {backend!r}"
        )
    if not kind.installed():
        raise MissingExtraError(f"the backend {backend}", kind.package, kind.extra)
    return AutoBackend(kind, "asked for")


def _choose() -> AutoBackend:
    for kind in BACKENDS.values():
        if kind.installed():
            return AutoBackend(kind, "auto: the first of " + ", ".join(BACKENDS) + " installed")
    extras = " or ".join(f"'t2s-rt[{kind.extra}]'" for kind in BACKENDS.values())
    raise BackendError(f"no backend is installed; run: pip install {extras}")


def open_session(
    entry: GraphEntry,
    backend: str = "auto",
    *,
    threads: int | None = None,
    options: BackendOptions | None = None,
) -> Session:
    """Load a graph on a backend.

    Args:
        entry: the graph, from ``bundle.graph(role, precision)``.
        backend: ``auto`` or a name of :data:`BACKENDS`.
        threads: short for ``options`` with these threads.
        options: how it should run; None takes the defaults.

    Raises:
        UsageError: an unknown backend, or an option out of range.
        MissingExtraError: the backend is not installed.
        BackendError: the backend refuses the graph.
    """
    chosen = options or BackendOptions()
    if threads is not None:
        chosen = replace(chosen, threads=threads)
    choice = choose_backend(backend)
    return choice.kind.open(entry, chosen, choice.reason)
