"""The README's figures from the records in ``bench/records``, between its markers.

A section begins with ``<!-- figures: NAME -->``, or with ``<!-- figures: NAME of RECORD -->``
where several machines have a record of one bench, and ends with ``<!-- end of figures -->``; what
is between is written here and nowhere else, so that no figure is copied by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from t2s_bench.detector_sizes import detector_sizes_tables
from t2s_bench.machine import one_line
from t2s_bench.models.int8 import int8_table
from t2s_bench.models.table import headline_table, models_table, stages_table
from t2s_bench.nano.choices import choices_table
from t2s_bench.nano.tables import accuracy_caption, floors_table
from t2s_bench.overlap import overlap_table
from t2s_bench.pareto.tables import pareto_table
from t2s_bench.real.tables import real_caption, verdict_table
from t2s_bench.rewrites.tables import rewrites_tables
from t2s_bench.roofline.tables import roofline_tables
from t2s_bench.side_by_side.tables import reference_tables
from t2s_bench.speed.tables import speed_headline, speed_tables
from t2s_rt.errors import UsageError

__all__ = ["render_readme", "write_readme"]

_SECTION = re.compile(
    r"(?P<head><!-- figures: (?P<name>\w+)(?: of (?P<record>\w+))? -->\n)"
    r".*?(?P<tail><!-- end of figures -->)",
    re.S,
)
_RECORDS = {"headline": "models", "stages": "models", "speed": "run"}
"""Sections whose record has another name."""


def write_readme(readme: Path, records: Path) -> bool:
    """Bring a README up to date; True if it changed.

    Raises:
        UsageError: a section without a record.
    """
    before = readme.read_text(encoding="utf-8")
    after = render_readme(before, records)
    if after != before:
        readme.write_text(after, encoding="utf-8")
    return after != before


def render_readme(text: str, records: Path) -> str:
    """``text`` with every section of figures as the records say."""

    def section(found: re.Match[str]) -> str:
        name = found["name"]
        path = records / f"{found['record'] or _RECORDS.get(name, name)}.json"
        if name not in _SECTIONS or not path.is_file():
            raise UsageError(
                f"README section of figures {name!r}: expected one of {sorted(_SECTIONS)} with a "
                f"record {path}, found none; run the bench with -o first"
            )
        record = json.loads(path.read_text(encoding="utf-8"))
        return f"{found['head']}{_SECTIONS[name](record)}\n{found['tail']}"

    return _SECTION.sub(section, text)


def _accuracy(record: dict[str, Any]) -> str:
    """Table of ``bench nano``; the model card has the others."""
    return f"{floors_table(record)}\n\nOn {accuracy_caption(record)}"


def _real(record: dict[str, Any]) -> str:
    """Table of ``bench real``; the model card has the others."""
    return f"{verdict_table(record)}\n\nOn {real_caption(record)}"


def _scenes(record: dict[str, Any]) -> str:
    """Line of ``bench scenes``."""
    return (
        f"One core draws {record['per_second']:.0f} scenes of {record['size']}² a second in the "
        f"fastest of {len(record['passes'])} passes (median {record['median']:.0f}) "
        f"({record['count']} of them, ground resolutions as drawn; `t2s-rt bench scenes "
        f"--count {record['count']} -o bench/records/scenes.json`; {one_line(record['machine'])})."
    )


_SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "headline": headline_table,
    "models": models_table,
    "int8": int8_table,
    "stages": stages_table,
    "nano": _accuracy,
    "choices": choices_table,
    "overlap": overlap_table,
    "detector": detector_sizes_tables,
    "pareto": pareto_table,
    "real": _real,
    "run": speed_headline,
    "speed": speed_tables,
    "rewrites": rewrites_tables,
    "roofline": roofline_tables,
    "reference": reference_tables,
    "scenes": _scenes,
}
