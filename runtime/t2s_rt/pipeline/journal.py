"""What a run has done so far, one JSON object a line, so that the same command goes on.

The first line names the run by a key over everything that decides its outputs: the scene's
identity, the bundle, the prompt pack, all settings. Later lines say which tiles are done,
skipped or failed and which bands of the scene are composed. A line cut off by a crash, and
whatever follows it, is as if never written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from t2s_rt.errors import OutputError

__all__ = ["Journal", "TileRecord", "TileStatus", "run_key"]

TileStatus = Literal["done", "skipped", "failed"]
_SCHEMA = 1
_STATUSES = ("done", "skipped", "failed")


@dataclass(frozen=True)
class TileRecord:
    """What became of one tile.

    Attributes:
        index: of the tile, row by row from the top left.
        status: done; skipped where it holds no data; failed.
        reason: why it failed, else empty.
        seconds: spent in each stage.
    """

    index: int
    status: TileStatus
    reason: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)


def run_key(identity: Mapping[str, Any]) -> str:
    """SHA-256 over everything that decides a run's outputs."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Journal:
    """An append-only record of a run.

    Args:
        path: the journal's file.
        key: of this run.

    Attributes:
        tiles: records found or written, by tile index.
        bands: indices of composed bands.
        fresh: whether there was nothing to go on from.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        self.tiles: dict[int, TileRecord] = {}
        self.bands: set[int] = set()
        good = self._read()
        self.fresh = good == 0
        self._stream = self._open(good)
        if self.fresh:
            self._write({"kind": "run", "schema": _SCHEMA, "key": key})

    @staticmethod
    def key_of(path: Path) -> str | None:
        """The key of the run that wrote a journal, or None where there is none to read."""
        try:
            # as bytes: a torn tail need not be text
            with open(path, "rb") as stream:
                head = json.loads(stream.readline())
            return str(head["key"]) if head.get("schema") == _SCHEMA else None
        except (OSError, ValueError, KeyError, AttributeError, RecursionError):
            return None

    def tile(self, record: TileRecord) -> None:
        """Note what became of a tile."""
        self.tiles[record.index] = record
        self._write(
            {
                "kind": "tile",
                "index": record.index,
                "status": record.status,
                "reason": record.reason,
                "seconds": {name: round(spent, 6) for name, spent in record.seconds.items()},
            }
        )

    def band(self, index: int) -> None:
        """Note that a band is composed and its blocks are on disk."""
        self.bands.add(index)
        self._write({"kind": "band", "index": index})

    def __enter__(self) -> Journal:
        """Return the journal; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; the journal stays on disk."""
        self._stream.close()

    def _read(self) -> int:
        """Take over a journal of the same run; returns how many of its bytes are good."""
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

    def _take(self, entry: Mapping[str, Any]) -> None:
        if entry["kind"] == "tile":
            if entry["status"] not in _STATUSES:
                raise ValueError(entry["status"])
            record = TileRecord(
                int(entry["index"]), entry["status"], str(entry["reason"]), dict(entry["seconds"])
            )
            self.tiles[record.index] = record
        elif entry["kind"] == "band":
            self.bands.add(int(entry["index"]))

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
