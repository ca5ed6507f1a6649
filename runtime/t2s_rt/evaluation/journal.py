"""What an evaluation has done so far, one JSON object a line; a torn line is as if never written.

The first line is the one of ``t2s_rt.pipeline.journal``, so that a work folder is told from
another run's in the same way.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from t2s_rt.errors import OutputError
from t2s_rt.pipeline.journal import Journal

__all__ = ["EvalJournal", "EvalRecord"]

_SCHEMA = 1


@dataclass(frozen=True)
class EvalRecord:
    """What became of one tile.

    Attributes:
        name: of the tile.
        counts: confusion matrix in pixels, rows are truth; empty where nothing is labelled.
        seconds: that the pipeline took.
        unknown: pixels whose label colour the set does not have.
    """

    name: str
    counts: list[list[int]]
    seconds: float
    unknown: int


class EvalJournal:
    """Append-only record of an evaluation, taken over if it is of the same run.

    Args:
        path: the journal's file.
        key: of this run.

    Attributes:
        records: by tile name.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.records: dict[str, EvalRecord] = {}
        self._path = path
        good = self._read(key)
        try:
            if good:
                os.truncate(path, good)
            self._stream = open(path, "a" if good else "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
        if not good:
            self._write({"kind": "run", "schema": _SCHEMA, "key": key})

    def add(self, record: EvalRecord) -> None:
        """Note a finished tile."""
        self.records[record.name] = record
        self._write({"kind": "tile", **asdict(record)})

    def close(self) -> None:
        """Close the file; it stays on disk."""
        self._stream.close()

    def _read(self, key: str) -> int:
        if Journal.key_of(self._path) != key:
            return 0
        good = 0
        with open(self._path, "rb") as stream:
            for raw in stream:
                if not raw.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(raw)
                    if entry.pop("kind") == "tile":
                        record = EvalRecord(**entry)
                        self.records[record.name] = record
                except (ValueError, KeyError, TypeError, AttributeError):
                    break
                good += len(raw)
        return good

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            self._stream.write(json.dumps(entry) + "\n")
            self._stream.flush()
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written ({error.strerror or error}); free some room "
                "and run the same command again"
            ) from error
