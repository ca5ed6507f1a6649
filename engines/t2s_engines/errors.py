"""What can go wrong with a graph on its way to an engine.

::

    InternalError
    +-- GraphError                     a graph is not of the form that this project's graphs have
"""

from __future__ import annotations

from t2s_rt.errors import InternalError

__all__ = ["GraphError"]


class GraphError(InternalError):
    """A graph is not of the form that this project's graphs have."""
