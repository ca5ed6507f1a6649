"""From a backend's name to a session; ``auto`` chooses and says why.

Choosing imports no library: it looks at what is installed and at the device's files alone, so
that it costs nothing and a broken library fails where it is used, with its own words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from t2s_rt.backends.base import Session
from t2s_rt.backends.onnxruntime import (
    OnnxRuntimeCpuSession,
    OnnxRuntimeCudaSession,
    OnnxRuntimeTensorrtSession,
)
from t2s_rt.backends.onnxruntime.providers import (
    CUDA,
    TENSORRT,
    device_missing,
    provider_missing,
)
from t2s_rt.backends.options import BackendOptions
from t2s_rt.backends.tensorrt import TensorRtSession
from t2s_rt.backends.tensorrt.readiness import engines_missing
from t2s_rt.bundle import GraphEntry
from t2s_rt.contracts import TEXT_ROLES
from t2s_rt.errors import BackendError, MissingExtraError, UsageError

__all__ = ["BACKENDS", "AutoBackend", "BackendKind", "choose_backend", "open_session"]

Opener = Callable[[GraphEntry, BackendOptions, str], Session]
Graphs = Callable[[str], Sequence[GraphEntry]]
"""From a device (``"cpu"`` or ``"gpu"``) to the graphs that would be opened there."""


def _nothing_missing() -> str | None:
    return None


@dataclass(frozen=True)
class BackendKind:
    """One backend that this version can use.

    Attributes:
        name: what ``--backend`` takes.
        package: the import it needs.
        extra: the extra of this project that brings it.
        device: ``"cpu"`` or ``"gpu"``; decides the precision that ``auto`` takes.
        open: from entry, options and reason to a session.
        missing: why the installed package will not do, or None; looks at files only.
        unready: why ``auto`` passes this backend by though it is installed, or None. Gets the
            graphs that are to be opened, where the caller knows them, and the folder of engines,
            None for the cache's.
        text: whether it runs text encoders; where not, they run on the CPU.
    """

    name: str
    package: str
    extra: str
    device: str
    open: Opener
    missing: Callable[[], str | None] = _nothing_missing
    unready: Callable[[Graphs | None, Path | None], str | None] = lambda graphs, engines: None
    text: bool = True

    def installed(self) -> bool:
        """Whether its package can be imported; imports nothing."""
        return find_spec(self.package) is not None

    def refused(self, graphs: Graphs | None = None, engines: Path | None = None) -> str | None:
        """Why ``auto`` cannot take it, in a few words, or None."""
        if not self.installed():
            return f"{self.package} is not installed"
        return self.missing() or self.unready(graphs, engines)


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
        BackendKind(
            "tensorrt",
            "tensorrt",
            "tensorrt",
            "gpu",
            TensorRtSession,
            unready=engines_missing,
            text=False,
        ),
        BackendKind(
            "onnxruntime-cuda",
            "onnxruntime",
            "cuda",
            "gpu",
            OnnxRuntimeCudaSession,
            missing=lambda: provider_missing(CUDA),
            unready=lambda graphs, engines: device_missing(),
        ),
        BackendKind(
            "onnxruntime-tensorrt",
            "onnxruntime",
            "cuda",
            "gpu",
            OnnxRuntimeTensorrtSession,
            missing=lambda: provider_missing(TENSORRT),
            unready=lambda graphs, engines: (
                "it builds engines at first use, so it must be asked for"
            ),
            text=False,
        ),
        BackendKind("onnxruntime-cpu", "onnxruntime", "cpu", "cpu", OnnxRuntimeCpuSession),
    )
}
"""Every backend by name, the one that ``auto`` prefers first."""


def choose_backend(
    backend: str = "auto", graphs: Graphs | None = None, engines: Path | None = None
) -> AutoBackend:
    """Resolve a backend's name.

    Args:
        backend: ``auto`` or a name of :data:`BACKENDS`.
        graphs: what is to be opened, by device; ``auto`` takes a backend that needs engines only
            where they are there for these.
        engines: folder of the engines; None takes the cache's.

    Raises:
        UsageError: no backend has this name.
        MissingExtraError: its package is not installed; the message names the extra.
        BackendError: the installed package lacks what the backend needs; or ``auto``, and no
            backend at all is installed.
    """
    if backend == "auto":
        return _choose(graphs, engines)
    kind = BACKENDS.get(backend)
    if kind is None:
        raise UsageError(
            f"expected a backend out of auto, {', '.join(BACKENDS)}, found {backend!r}"
        )
    if not kind.installed():
        raise MissingExtraError(f"the backend {backend}", kind.package, kind.extra)
    if reason := kind.missing():
        raise BackendError(
            f"the backend {backend} cannot run: {reason}; onnxruntime and onnxruntime-gpu "
            f"overwrite each other, so run: pip uninstall onnxruntime onnxruntime-gpu, then "
            f"pip install 't2s-rt[{kind.extra}]'"
        )
    return AutoBackend(kind, "asked for")


def _choose(graphs: Graphs | None, engines: Path | None) -> AutoBackend:
    passed: list[str] = []
    for kind in BACKENDS.values():
        reason = kind.refused(graphs, engines)
        if reason is None:
            better = f"auto: {'; '.join(passed)}" if passed else "auto: the first choice"
            return AutoBackend(kind, better)
        if kind.name != "onnxruntime-tensorrt":  # never the choice of auto, so no news
            passed.append(f"no {kind.name}, {reason}")
    extras = " or ".join(dict.fromkeys(f"'t2s-rt[{kind.extra}]'" for kind in BACKENDS.values()))
    raise BackendError(f"no backend is installed; run: pip install {extras}")


def open_session(
    entry: GraphEntry,
    backend: str | AutoBackend = "auto",
    *,
    threads: int | None = None,
    options: BackendOptions | None = None,
) -> Session:
    """Load a graph on a backend.

    Args:
        entry: the graph, from ``bundle.graph(role, precision)``.
        backend: ``auto``, a name of :data:`BACKENDS`, or what :func:`choose_backend` gave. Where
            a backend runs no text encoders, they are opened on the CPU.
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
    choice = backend if isinstance(backend, AutoBackend) else choose_backend(backend)
    if entry.role in TEXT_ROLES and not choice.kind.text:
        reason = f"{choice.kind.name} runs no text encoders"
        choice = replace(choose_backend("onnxruntime-cpu"), reason=reason)
    return choice.kind.open(entry, chosen, choice.reason)
