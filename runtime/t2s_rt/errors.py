"""Every error a user can meet, and the exit code of its branch.

::

    T2SError
    +-- UsageError                2   the command's words, also an unwritable output
    |   +-- UnknownWordError          a word that the bundle's vocabulary lacks
    |   +-- OutputError               a folder or file that cannot be written
    +-- BundleError               3   a bundle is missing, broken or of another schema
    |   +-- PackError                 a prompt pack is broken or belongs to another bundle
    +-- SceneError                4   a scene is missing, unsupported or broken
    +-- BackendError              5   a backend or engine is missing or fails
    |   +-- MissingExtraError         an optional dependency is not installed
    +-- PartialError              6   some tiles or scenes failed, the rest is complete
    +-- InternalError            70   a fault of ours

130 (interrupted) is no error of this tree: Ctrl-C ends a run, and the same command resumes it.

Each message says what was expected, what was found and what to do. Errors of libraries are
translated where the library is called, keeping the cause; the command line prints the message
and exits with ``exit_code``.
"""

from __future__ import annotations

__all__ = [
    "EXIT_INTERRUPTED",
    "BackendError",
    "BundleError",
    "InternalError",
    "MissingExtraError",
    "OutputError",
    "PackError",
    "PartialError",
    "SceneError",
    "T2SError",
    "UnknownWordError",
    "UsageError",
]

EXIT_INTERRUPTED = 130


class T2SError(Exception):
    """Base of every error that t2s-rt raises on purpose.

    Attributes:
        exit_code: what the command line exits with when this error ends it.
    """

    exit_code: int = 70


class UsageError(T2SError):
    """The command or call was given words it cannot use."""

    exit_code = 2


class UnknownWordError(UsageError):
    """A prompt holds a word that the bundle's vocabulary does not know."""


class OutputError(UsageError):
    """An output cannot be written, or exists and may not be replaced."""


class BundleError(T2SError):
    """A bundle is missing, incomplete, altered or of an unknown schema."""

    exit_code = 3


class PackError(BundleError):
    """A prompt pack is broken, or was made for other text encoders."""


class SceneError(T2SError):
    """A scene is missing, unsupported, broken, or none of it is readable."""

    exit_code = 4


class BackendError(T2SError):
    """A backend or engine is missing, or fails while it runs."""

    exit_code = 5


class MissingExtraError(BackendError):
    """An optional dependency is not installed.

    Args:
        need: what the user asked for, e.g. ``"the ONNX Runtime backend"``.
        package: the import that failed.
        extra: the extra of this project that brings it.
        remedy: what to do where pip is not the way; None says to install the extra.
    """

    def __init__(self, need: str, package: str, extra: str, remedy: str | None = None) -> None:
        super().__init__(
            f"{need} needs the package {package!r}, which is not installed; "
            + (remedy or f"run: pip install 't2s-rt[{extra}]'")
        )
        self.extra = extra


class PartialError(T2SError):
    """Some tiles or some scenes failed; everything else was written completely."""

    exit_code = 6


class InternalError(T2SError):
    """A fault of t2s-rt itself; a report file says more."""

    exit_code = 70
