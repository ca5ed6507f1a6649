"""Checkpoint files in a folder: their places, and whether they are what the registry says."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from t2s_export.checkpoints.registry import ModelEntry
from t2s_export.errors import CheckpointError
from t2s_rt.bundle import sha256_file
from t2s_rt.caches import cache_folder
from t2s_rt.errors import InternalError, OutputError

__all__ = [
    "Verdict",
    "check_content",
    "default_folder",
    "file_path",
    "read_sidecar",
    "verify_file",
    "write_text",
]

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Verdict:
    """What was found about one file.

    Attributes:
        state: ``unknown hash`` says that the registry names none; ``note`` tells more.
        sha256: of the file, None where it is missing or of a wrong length.
        note: one line for people.
    """

    state: Literal["ok", "wrong", "unknown hash", "missing"]
    sha256: str | None
    note: str


def default_folder() -> Path:
    """Where checkpoints lie: ``checkpoints`` in ``T2S_CACHE``, else in the XDG cache's ``t2s-rt``.

    Raises:
        UsageError: none of ``T2S_CACHE``, ``XDG_CACHE_HOME`` and a home folder is known.
    """
    return cache_folder("checkpoints", "name a folder with --checkpoints DIR")


def file_path(folder: Path, entry: ModelEntry) -> Path:
    """Where a row's file lies in ``folder``.

    Raises:
        InternalError: the row's file name could lead out of the folder.
    """
    if _SAFE_NAME.fullmatch(entry.file) is None:
        raise InternalError(f"{entry.id}: expected a plain file name, found {entry.file!r}")
    return folder / entry.file


def check_content(entry: ModelEntry, path: Path) -> str:
    """SHA-256 of ``path``, which must be what the row says as far as it says something.

    Raises:
        CheckpointError: another length or hash; the message says which.
        OSError: the file cannot be read.
    """
    length = path.stat().st_size
    if entry.bytes is not None and length != entry.bytes:
        raise CheckpointError(
            f"{path}: expected {entry.bytes} bytes for {entry.id}, found {length}"
        )
    digest = sha256_file(path)
    if entry.sha256 is not None and digest != entry.sha256:
        raise CheckpointError(
            f"{path}: expected SHA-256 {entry.sha256} for {entry.id}, found {digest}"
        )
    return digest


def verify_file(folder: Path, entry: ModelEntry) -> Verdict:
    """Compare a row's file with the registry, or else with the hash noted when it was pulled."""
    path = file_path(folder, entry)
    if not path.is_file():
        return Verdict("missing", None, f"run: t2s-rt models pull {entry.id}")
    try:
        digest = check_content(entry, path)
    except CheckpointError as error:
        return Verdict("wrong", None, f"{error}; delete it and pull it again")
    except OSError as error:
        return Verdict("wrong", None, f"{path}: cannot be read ({error.strerror or error})")
    if entry.sha256 is not None:
        return Verdict("ok", digest, "SHA-256 right")
    noted = read_sidecar(path)
    if noted is None:
        return Verdict("unknown hash", digest, f"SHA-256 {digest}, nothing to compare it with")
    if noted != digest:
        return Verdict(
            "wrong",
            digest,
            f"{path}: expected SHA-256 {noted} as when it was pulled, found {digest}; "
            "delete it and pull it again",
        )
    return Verdict("unknown hash", digest, f"SHA-256 {digest}, as when it was pulled")


def sidecar_path(path: Path) -> Path:
    """``FILE.sha256`` beside a file whose official hash is not known."""
    return path.with_name(path.name + ".sha256")


def read_sidecar(path: Path) -> str | None:
    """The hash noted when ``path`` was pulled, or None."""
    try:
        text = sidecar_path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    digest = text[:64]
    return digest if _SHA256.fullmatch(digest) else None


def write_sidecar(path: Path, digest: str) -> None:
    """Note a file's hash, in the form that ``sha256sum --check`` reads.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(sidecar_path(path), f"{digest}  {path.name}\n")


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(name, 0o644)  # mkstemp makes files for their owner only
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
