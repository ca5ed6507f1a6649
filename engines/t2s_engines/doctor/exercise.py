"""A backend is asked to work, not whether it could: the smallest graph is run once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from t2s_rt.backends import choose_backend, open_session
from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.contracts import PRECISIONS, TEXT_ROLES
from t2s_rt.errors import BackendError, BundleError
from t2s_rt.plans import input_profiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CPU_BACKEND", "exercise", "smallest_graph"]

CPU_BACKEND = "onnxruntime-cpu"


def smallest_graph(bundle: Bundle) -> GraphEntry:
    """The fp32 graph with the smallest files, among those that fly.

    Raises:
        BundleError: the bundle has none.
    """
    candidates = [
        entry
        for entry in bundle.graphs
        if entry.precision == PRECISIONS[0] and entry.role not in TEXT_ROLES
    ]
    if not candidates:
        raise BundleError(f"bundle {bundle.name}: expected an fp32 graph that flies, found none")
    return min(candidates, key=lambda entry: sum(file.bytes for file in entry.files))


def exercise(bundle: Bundle, backend: str) -> str:
    """Open the bundle's smallest graph on a backend and run it once on a blank input.

    Whether the numbers are right is what ``t2s-rt verify`` says; here they must be finite.

    Returns:
        what was run, for the verdict.

    Raises:
        T2SError: the backend is missing, refuses the graph or fails on it.
    """
    import numpy as np

    choice = choose_backend(backend)
    entry = smallest_graph(bundle)
    with open_session(entry, backend) as session:
        outputs = session.run(_blank(entry))
        bad = [name for name, array in outputs.items() if not np.isfinite(array).all()]
        if bad:
            raise BackendError(
                f"{choice.kind.name}: {', '.join(bad)} of {entry.role} not finite on a blank "
                "input; reinstall the backend"
            )
        return session.describe()


def _blank(entry: GraphEntry) -> dict[str, NDArray[Any]]:
    import numpy as np

    shapes = {profile.name: profile.least for profile in input_profiles(entry)}
    make = {True: np.ones, False: np.zeros}
    return {
        spec.name: make[spec.dtype == "bool"](shapes[spec.name], spec.dtype)
        for spec in entry.inputs
    }
