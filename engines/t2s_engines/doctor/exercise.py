"""A backend is asked to work, not whether it could: a small graph is run once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t2s_rt.backends import Session, choose_backend, open_session
from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.contracts import PRECISIONS, TEXT_ROLES
from t2s_rt.errors import BackendError, BundleError, MissingExtraError
from t2s_rt.plans import input_profiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CPU_BACKEND", "candidates", "exercise"]

CPU_BACKEND = "onnxruntime-cpu"


def candidates(bundle: Bundle, device: str = "cpu") -> list[GraphEntry]:
    """Graphs to try a backend with, the smallest first; text encoders are left out.

    On a processor those in fp32, which every bundle holds. On a GPU those in other precisions
    follow: a backend that needs engines may have one of them alone.

    Raises:
        BundleError: the bundle has no fp32 graph that flies.
    """
    flying = [entry for entry in bundle.graphs if entry.role not in TEXT_ROLES]
    flying.sort(key=lambda entry: sum(file.bytes for file in entry.files))
    first = [entry for entry in flying if entry.precision == PRECISIONS[0]]
    if not first:
        raise BundleError(f"bundle {bundle.name}: expected an fp32 graph that flies, found none")
    others = [entry for entry in flying if entry not in first and entry.target != "cpu"]
    return first if device == "cpu" else [*first, *others]


def exercise(bundle: Bundle, backend: str) -> str:
    """Open the smallest graph that a backend takes and run it once on a blank input.

    Whether the numbers are right is what ``t2s-rt verify`` says; here they must be finite.

    Returns:
        what was run, for the verdict.

    Raises:
        T2SError: the backend is missing, refuses every graph or fails on one.
    """
    import numpy as np

    kind = choose_backend(backend).kind
    session = _open_any(candidates(bundle, kind.device), backend)
    with session:
        outputs = session.run(_blank(session.entry))
        bad = [name for name, array in outputs.items() if not np.isfinite(array).all()]
        if bad:
            raise BackendError(
                f"{kind.name}: {', '.join(bad)} of {session.entry.role} not finite on a blank "
                "input; reinstall the backend"
            )
        return session.describe()


def _open_any(entries: Sequence[GraphEntry], backend: str) -> Session:
    """A session of the first graph that the backend opens; else the first one's error."""
    first: BackendError | None = None
    for entry in entries:
        try:
            return open_session(entry, backend)
        except MissingExtraError:
            raise
        except BackendError as error:
            first = first or error
    raise first or BackendError(f"{backend}: there is no graph to try it with")


def _blank(entry: GraphEntry) -> dict[str, NDArray[Any]]:
    import numpy as np

    shapes = {profile.name: profile.least for profile in input_profiles(entry)}
    make = {True: np.ones, False: np.zeros}
    return {
        spec.name: make[spec.dtype == "bool"](shapes[spec.name], spec.dtype)
        for spec in entry.inputs
    }
