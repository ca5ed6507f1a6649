"""What a run on one scene has done so far, so that the same command goes on.

Its key covers the scene's identity, the bundle, the prompt pack and all settings; its lines say
which tiles are done, skipped or failed and which bands of the scene are composed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from t2s_rt.pipeline.run_file import RunFile

__all__ = ["Journal", "TileRecord", "TileStatus", "run_key"]

TileStatus = Literal["done", "skipped", "failed"]
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


class Journal(RunFile):
    """An append-only record of a run on one scene.

    Args:
        path: the journal's file.
        key: of this run.

    Attributes:
        tiles: records found or written, by tile index.
        bands: indices of composed bands.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.tiles: dict[int, TileRecord] = {}
        self.bands: set[int] = set()
        super().__init__(path, key)

    def __enter__(self) -> Journal:
        """Return the journal; leaving the block closes it."""
        return self

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

    def _take(self, entry: Any) -> None:
        if entry["kind"] == "tile":
            if entry["status"] not in _STATUSES:
                raise ValueError(entry["status"])
            record = TileRecord(
                int(entry["index"]), entry["status"], str(entry["reason"]), dict(entry["seconds"])
            )
            self.tiles[record.index] = record
        elif entry["kind"] == "band":
            self.bands.add(int(entry["index"]))
