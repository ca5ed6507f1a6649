"""Figures for the model card: which weights they belong to, and their file for the exporter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from t2s_bench.machine import write_record
from t2s_rt.bundle import Bundle
from t2s_rt.errors import UsageError

__all__ = ["checkpoints_of", "write_section"]


def checkpoints_of(bundle: Bundle) -> dict[str, str]:
    """SHA-256 by file name of the checkpoints that a bundle was exported from."""
    sources = [graph.source for graph in bundle.manifest.graphs]
    return {
        str(source["checkpoint"]): str(source["sha256"])
        for source in sources
        if "checkpoint" in source and "sha256" in source
    }


def write_section(
    path: Path, key: str, title: str, text: str, checkpoints: Mapping[str, str]
) -> None:
    """Put one section of figures into the file that ``t2s-rt export nano`` reads; others stay.

    Args:
        path: ``export/checkpoints/nano/figures.json``.
        key: names the section: ``synthetic`` or ``real``.
        title: its heading in the card.
        text: Markdown.
        checkpoints: from :func:`checkpoints_of`; the card tells figures of other weights.

    Raises:
        UsageError: the file holds something else.
    """
    sections: dict[str, object] = {}
    if path.is_file():
        try:
            sections = dict(json.loads(path.read_text(encoding="utf-8"))["sections"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path}: expected the sections of a model card, found something else; name "
                "another file, or remove it"
            ) from error
    sections[key] = {"title": title, "text": text, "checkpoints": dict(checkpoints)}
    write_record({"sections": sections}, path)
