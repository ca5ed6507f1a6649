"""The race's record: rows that are measured one by one and put together in one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from t2s_bench.machine import write_record
from t2s_bench.side_by_side import RACE_ROUTES, SIZES
from t2s_rt.errors import UsageError

__all__ = ["SCHEMA_VERSION", "load_reference", "merge_rows", "new_record"]

SCHEMA_VERSION = 1
_KIND = "reference"


def new_record(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A record of these rows, by size, route and number of classes."""

    def place(row: dict[str, Any]) -> tuple[int, int, int]:
        return SIZES.index(row["size"]), RACE_ROUTES.index(row["route"]), row["classes"]

    return {
        "what": "Text2Seg's chain on the original packages against this runtime, in turn",
        "kind": _KIND,
        "schema_version": SCHEMA_VERSION,
        "rows": sorted(rows, key=place),
    }


def load_reference(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        UsageError: no such file, or another kind or version of record.
    """
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise UsageError(
            f"expected {path} to be a record of `bench reference`, found no JSON ({cause}); name "
            "another file"
        ) from cause
    found = (record.get("kind"), record.get("schema_version")) if isinstance(record, dict) else None
    if not isinstance(record, dict) or found != (_KIND, SCHEMA_VERSION):
        raise UsageError(
            f"expected {path} to be a record of `bench reference`, kind {_KIND!r} and schema "
            f"version {SCHEMA_VERSION}, found {found}; name another file or measure again"
        )
    return record


def merge_rows(path: Path, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put rows into a record, made if missing; rows of the same race are replaced.

    Raises:
        UsageError: the file is something else.
    """
    kept = load_reference(path)["rows"] if path.exists() else []
    by_race = {(row["size"], row["route"], row["classes"]): row for row in (*kept, *rows)}
    record = new_record(list(by_race.values()))
    write_record(record, path)
    return record
