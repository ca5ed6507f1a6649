"""What can go wrong on the workstation: with checkpoints, and in an export.

::

    BundleError
    +-- CheckpointError                a checkpoint is missing, altered or not the official file
        +-- DownloadError              a checkpoint cannot be fetched

    InternalError
    +-- ExportError                    a module cannot become a graph of its contract
        +-- ParityError                the graph and its torch module disagree
            +-- ParityShapeError
            +-- ParityDtypeError
            +-- ParityNonFiniteError
            +-- ParityToleranceError
"""

from __future__ import annotations

from t2s_rt.errors import BundleError, InternalError

__all__ = [
    "CheckpointError",
    "DownloadError",
    "ExportError",
    "ParityDtypeError",
    "ParityError",
    "ParityNonFiniteError",
    "ParityShapeError",
    "ParityToleranceError",
]


class CheckpointError(BundleError):
    """A checkpoint file is missing, altered, or not the one that its row of the registry names."""


class DownloadError(CheckpointError):
    """A checkpoint cannot be fetched; what has arrived so far is kept for another try."""


class ExportError(InternalError):
    """A module cannot be exported as a graph of its contract."""


class ParityError(ExportError):
    """A graph and its torch module give different outputs for the same inputs."""


class ParityShapeError(ParityError):
    """An output is missing, superfluous or of another shape."""


class ParityDtypeError(ParityError):
    """An output has another element type."""


class ParityNonFiniteError(ParityError):
    """An output holds NaN or infinity, on either side."""


class ParityToleranceError(ParityError):
    """An output differs by more than its tolerance."""
