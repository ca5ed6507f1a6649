"""Which graphs are verified, and how each is opened on the device."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from t2s_engines.verify.judging import Target
from t2s_rt.backends import BackendOptions, choose_backend, open_session
from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.contracts import Role
from t2s_rt.errors import BackendError, BundleError, UsageError
from t2s_rt.models import IMAGE_ROLES, choose_graph
from t2s_rt.plans import EngineCache, EngineFiles

__all__ = ["ENGINES_BACKEND", "engine_targets", "graph_targets", "parse_roles"]

ENGINES_BACKEND = "tensorrt"
"""The backend that runs what ``t2s-rt build`` made."""


def parse_roles(
    text: str | None, bundle: Bundle, among: Sequence[Role] = IMAGE_ROLES
) -> list[Role]:
    """Roles of a bundle, from ``a,b``; None takes all of these that it has.

    Raises:
        UsageError: a role that the bundle lacks or that is none of these; none at all.
    """
    present = [role for role in among if bundle.precisions(role)]
    if text is None and present:
        return present
    asked = [part.strip() for part in (text or "").split(",") if part.strip()]
    wrong = [part for part in asked if part not in present]
    if wrong or not asked:
        raise UsageError(
            f"expected --roles out of {', '.join(present) or 'none'}, "
            f"found {', '.join(wrong) or 'none'}"
        )
    return [role for role in present if role in asked]


def graph_targets(
    bundle: Bundle,
    backend: str,
    precision: str,
    roles: Sequence[Role],
    threads: int | None = None,
) -> list[Target]:
    """The graphs of a bundle on a backend that takes graphs as they are.

    Raises:
        UsageError: an unknown backend or precision.
        BundleError: no graph in that precision.
        BackendError: the backend is not installed.
    """
    choice = choose_backend(backend)
    options = BackendOptions(threads=threads)
    targets = []
    for entry in _entries(bundle, precision, roles, choice.kind.device):
        targets.append(Target(entry, lambda e=entry: open_session(e, choice, options=options)))  # type: ignore[misc]
    return targets


def engine_targets(
    bundle: Bundle, cache: EngineCache, folder: Path | None, precision: str, roles: Sequence[Role]
) -> list[Target]:
    """The engines of a bundle that are in a cache.

    Args:
        bundle: whose graphs they were built from.
        cache: where they lie.
        folder: of the cache as the user named it; None is the usual one.
        precision: ``auto`` takes fp16 where an engine of it is there, else fp32.
        roles: to be verified; those without an engine are left out.

    Raises:
        BackendError: there is none, or TensorRT is not installed.
    """
    engines = cache.engines()
    wanted = ("fp16", "fp32") if precision == "auto" else (precision,)
    found: list[tuple[GraphEntry, EngineFiles]] = []
    for role in roles:
        for entry in (e for name in wanted for e in bundle.graphs if e.precision == name):
            engine = _newest(engines, entry) if entry.role == role else None
            if engine is not None:
                found.append((entry, engine))
                break
    if not found:
        raise BackendError(
            f"expected engines of bundle {bundle.name} ({', '.join(wanted)}: "
            f"{', '.join(roles)}) in {cache.root}, found none; run t2s-rt build on this device, "
            "or name a backend that needs no engines, e.g. --backend onnxruntime-cpu"
        )
    choose_backend(ENGINES_BACKEND)
    options = BackendOptions(engines=folder, allow_unverified=True)
    return [
        Target(entry, lambda e=entry: open_session(e, ENGINES_BACKEND, options=options), engine)  # type: ignore[misc]
        for entry, engine in found
    ]


def _newest(engines: Collection[EngineFiles], entry: GraphEntry) -> EngineFiles | None:
    """The newest engine of a graph; which of several fits the device, the session decides."""
    wanted = {
        "role": entry.role,
        "precision": entry.precision,
        "graph": entry.content_sha256,
    }
    for engine in engines:
        if all(engine.sidecar.key.get(name) == value for name, value in wanted.items()):
            return engine
    return None


def _entries(
    bundle: Bundle, precision: str, roles: Sequence[Role], device: str
) -> list[GraphEntry]:
    """Graphs of the roles; a role that the bundle lacks in a named precision is left out."""
    found = []
    missing: BundleError | None = None
    for role in roles:
        try:
            found.append(choose_graph(bundle, role, precision, device)[0])
        except BundleError as error:
            missing = missing or error
    if not found and missing is not None:
        raise missing
    return found
