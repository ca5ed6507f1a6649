"""What can go wrong with a graph on its way to an engine.

::

    InternalError
    +-- GraphError                     a graph is not of the form that this project's graphs have
        +-- PreflightError             some TensorRT release cannot import it
"""

from __future__ import annotations

from t2s_rt.errors import InternalError

__all__ = ["GraphError", "PreflightError"]


class GraphError(InternalError):
    """A graph is not of the form that this project's graphs have."""


class PreflightError(GraphError):
    """A graph holds an operator, element type or form that some TensorRT release cannot import."""
