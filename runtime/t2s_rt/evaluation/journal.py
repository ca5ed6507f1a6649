"""What an evaluation has done so far, so that the same command goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from t2s_rt.pipeline.run_file import RunFile

__all__ = ["EvalJournal", "EvalRecord"]


@dataclass(frozen=True)
class EvalRecord:
    """What became of one tile.

    Attributes:
        name: of the tile.
        counts: confusion matrix in pixels, rows are truth; empty where nothing is labelled.
        seconds: that the pipeline took.
        unknown: pixels whose label colour the set does not have.
        kmeans: confusion matrix of colour k-means, as ``counts``.
    """

    name: str
    counts: list[list[int]]
    seconds: float
    unknown: int
    kmeans: list[list[int]]


class EvalJournal(RunFile):
    """Append-only record of an evaluation.

    Args:
        path: the journal's file.
        key: of this run.

    Attributes:
        records: by tile name.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.records: dict[str, EvalRecord] = {}
        super().__init__(path, key)

    def add(self, record: EvalRecord) -> None:
        """Note a finished tile."""
        self.records[record.name] = record
        self._write({"kind": "tile", **asdict(record)})

    def _take(self, entry: Any) -> None:
        if entry.pop("kind") == "tile":
            record = EvalRecord(**entry)
            self.records[record.name] = record
