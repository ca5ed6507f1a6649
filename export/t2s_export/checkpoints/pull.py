"""Getting one checkpoint: from its address or a local file, checked before it gets its name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from t2s_export.checkpoints.download import Patience, download
from t2s_export.checkpoints.files import (
    check_content,
    file_path,
    read_sidecar,
    verify_file,
    write_sidecar,
)
from t2s_export.checkpoints.part import Part
from t2s_export.checkpoints.progress import make_progress
from t2s_export.checkpoints.registry import ModelEntry
from t2s_export.errors import CheckpointError
from t2s_rt.errors import OutputError, UsageError

__all__ = ["Pulled", "pull_copy", "pull_url"]

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Pulled:
    """A checkpoint that is there now.

    Attributes:
        path: of the file.
        sha256: of its content; equals the registry's where that names one.
        fresh: False if it was there before.
    """

    path: Path
    sha256: str
    fresh: bool


def pull_url(
    entry: ModelEntry, folder: Path, url: str | None = None, patience: Patience | None = None
) -> Pulled:
    """Download a row's file unless it is there; an interrupted download goes on.

    Args:
        entry: the row.
        folder: of checkpoints; made if missing.
        url: another address of the same file, None for the row's own.
        patience: with a bad line; None is the default.

    Raises:
        UsageError: ``url`` is neither HTTP nor HTTPS.
        CheckpointError: the file there, or the one that came, is not the official one.
        DownloadError: it cannot be fetched.
        OutputError: the folder cannot be written.
    """
    address = entry.url if url is None else url
    if not address.lower().startswith(("http://", "https://")):
        raise UsageError(
            f"expected an address that starts with https:// or http://, found {address!r}; "
            "for a local file use --from"
        )
    present = _present(entry, folder)
    if present is not None:
        return present
    path = file_path(folder, entry)
    with Part(path) as part:
        progress = make_progress(entry.id)
        try:
            download(address, part, entry.bytes, progress, patience)
        finally:
            progress.end()
        try:
            digest = check_content(entry, part.path)
        except CheckpointError as error:
            part.forget()
            raise CheckpointError(
                f"{error}; it came from {address} and was deleted: pull it again, "
                "or name the official file with --url or --from"
            ) from error
        return _settle(entry, path, digest, lambda: part.finish(path))


def pull_copy(entry: ModelEntry, folder: Path, source: Path) -> Pulled:
    """Copy a row's file from a local one unless it is there.

    Raises:
        UsageError: ``source`` is no readable file.
        CheckpointError: it, or the file that is there, is not the official one.
        OutputError: the folder cannot be written.
    """
    if not source.is_file():
        raise UsageError(f"expected a file at {source}, found none; check --from")
    present = _present(entry, folder)
    if present is not None:
        return present
    try:
        digest = check_content(entry, source)
    except OSError as error:
        raise UsageError(f"{source}: cannot be read ({error.strerror or error})") from error
    except CheckpointError as error:
        raise CheckpointError(f"{error}; nothing was copied: fetch it from {entry.url}") from error
    path = file_path(folder, entry)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{entry.file}-", dir=folder)
        try:
            with os.fdopen(handle, "wb") as target, source.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    target.write(block)
                target.flush()
                os.fsync(target.fileno())
            os.chmod(name, 0o644)  # mkstemp makes files for their owner only
            if check_content(entry, Path(name)) != digest:
                raise CheckpointError(f"{source}: changed while it was copied; pull it again")
            return _settle(entry, path, digest, lambda: os.replace(name, path))
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _present(entry: ModelEntry, folder: Path) -> Pulled | None:
    """The file that is there already, if it is right; makes the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made ({error.strerror or error}); name another with --checkpoints"
        ) from error
    verdict = verify_file(folder, entry)
    if verdict.state == "wrong":
        raise CheckpointError(verdict.note)
    if verdict.sha256 is None:
        return None
    path = file_path(folder, entry)
    if entry.sha256 is None and read_sidecar(path) is None:
        write_sidecar(path, verdict.sha256)
    return Pulled(path, verdict.sha256, fresh=False)


def _settle(entry: ModelEntry, path: Path, digest: str, rename: Callable[[], None]) -> Pulled:
    """Give the file its name, with its hash beside it where the registry has none."""
    if entry.sha256 is None:
        write_sidecar(path, digest)
    rename()
    return Pulled(path, digest, fresh=True)
