"""An append-only file of what a run has done, one JSON object a line, so that it can go on.

The first line names the run by a key over everything that decides its outputs. A line cut off by
a crash, and whatever follows it, is as if never written.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from t2s_rt.errors import OutputError

__all__ = ["RunFile"]

_SCHEMA = 1


class RunFile(ABC):
    """The file, taken over if it is of the same run; a context manager.

    A subclass has what it keeps ready before it calls the constructor, which hands it every good
    entry of an earlier run.

    Args:
        path: of the file.
        key: of this run.

    Attributes:
        fresh: whether there was nothing to go on from.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        good = self._read()
        self.fresh = good == 0
        self._stream = self._open(good)
        if self.fresh:
            self._write({"kind": "run", "schema": _SCHEMA, "key": key})

    @staticmethod
    def key_of(path: Path) -> str | None:
        """The key of the run that wrote a file, or None where there is none to read."""
        try:
            # as bytes: a torn tail need not be text
            with open(path, "rb") as stream:
                head = json.loads(stream.readline())
            return str(head["key"]) if head.get("schema") == _SCHEMA else None
        except (OSError, ValueError, KeyError, AttributeError, RecursionError):
            return None

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; it stays on disk."""
        self._stream.close()

    @abstractmethod
    def _take(self, entry: Any) -> None:
        """Take over an entry of an earlier run.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is none; it and all that follows
                are dropped.
        """

    def _read(self) -> int:
        """Take over a file of the same run; returns how many of its bytes are good."""
        if self.key_of(self._path) != self._key:
            return 0
        good = 0
        with open(self._path, "rb") as stream:
            for raw in stream:
                if not raw.endswith(b"\n"):
                    break
                try:
                    self._take(json.loads(raw))
                except (ValueError, KeyError, TypeError, AttributeError):
                    break
                good += len(raw)
        return good

    def _open(self, good: int) -> TextIO:
        try:
            if good:
                os.truncate(self._path, good)
            return open(self._path, "a" if good else "w", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written ({error.strerror or error})"
            ) from error

    def _write(self, entry: Mapping[str, Any]) -> None:
        try:
            self._stream.write(json.dumps(entry, sort_keys=True) + "\n")
            self._stream.flush()
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written ({error.strerror or error}); free some room "
                "and run the same command again"
            ) from error
