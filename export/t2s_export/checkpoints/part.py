"""``FILE.part``: what has arrived of a file, and in ``FILE.part.json`` who sent it."""

from __future__ import annotations

import fcntl
import io
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from t2s_export.checkpoints.files import write_text
from t2s_rt.errors import OutputError

__all__ = ["Part", "Source"]


@dataclass(frozen=True)
class Source:
    """What a server said about the file whose first bytes have arrived.

    Attributes:
        url: where it was asked for.
        etag: its version, None if the server names none.
        length: of the whole file in bytes, None if the server does not say.
    """

    url: str
    etag: str | None
    length: int | None


class Part:
    """An unfinished file, open for this process alone. Use it in ``with``.

    Args:
        final: the file that it is to become; ``.part`` is added to its name.

    Raises:
        OutputError: it cannot be written, or another process is at it.
    """

    def __init__(self, final: Path) -> None:
        self.path = final.with_name(final.name + ".part")
        self._state = final.with_name(final.name + ".part.json")
        try:
            # a link here could lead the download out of its folder
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._stream = io.FileIO(os.open(self.path, flags, 0o644), "r+")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._stream.close()
            raise OutputError(
                f"{self.path}: another process is downloading it; wait for it"
            ) from error

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        if not self.path.exists() or self.path.stat().st_size == 0:
            self.forget()

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return os.fstat(self._stream.fileno()).st_size

    @property
    def source(self) -> Source | None:
        """Who sent them, None if that is not known."""
        with suppress(OSError, ValueError, TypeError):
            source = Source(**json.loads(self._state.read_text(encoding="utf-8")))
            texts = isinstance(source.url, str) and isinstance(source.etag, str | None)
            if texts and isinstance(source.length, int | None):
                return source
        return None

    def restart(self, source: Source | None) -> None:
        """Drop what has arrived; what comes next is from ``source``.

        Raises:
            OutputError: that cannot be written down.
        """
        try:
            self._state.unlink(missing_ok=True)
            self._stream.truncate(0)
        except OSError as error:
            raise self._unwritable(error) from error
        if source is not None:
            write_text(self._state, json.dumps(asdict(source)))

    def append(self, block: bytes) -> None:
        """Add what has arrived.

        Raises:
            OutputError: the disk does not take it; what arrived before is kept.
        """
        try:
            self._stream.seek(0, os.SEEK_END)
            view = memoryview(block)
            while view:
                view = view[self._stream.write(view) :]
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self, final: Path) -> None:
        """Give the whole file its name, on the disk and not only in its cache.

        Raises:
            OutputError: it cannot be renamed.
        """
        try:
            os.fsync(self._stream.fileno())
            os.replace(self.path, final)
            self._state.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def forget(self) -> None:
        """Remove the file and what is known about it."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            self._state.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path}: cannot be written ({error.strerror or error})")
