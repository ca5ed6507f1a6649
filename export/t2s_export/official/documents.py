"""Model card and licences of an official bundle, from what was loaded and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from t2s_export.bundle_builder import exporter_name
from t2s_export.checkpoints.registry import MODELS
from t2s_export.official.presets import TILE_SIZE, ExportOptions
from t2s_rt.bundle import NANO_ROOT, sha256_file

if TYPE_CHECKING:
    from t2s_export.official.parts import Facts, Kind

__all__ = ["official_documents"]

_TITLES = {"detector": "Grounding DINO", "sam": "Segment Anything", "clip": "CLIP"}
_GRAPHS = {
    "detector": "detector, detector_text",
    "sam": "mask_encoder, mask_decoder",
    "clip": "clip_image, clip_dense, clip_patches, clip_text",
}
_UNKNOWN = "not known to the registry of t2s-rt"


def official_documents(
    facts: Mapping[Kind, Facts], vocabularies: Sequence[Path], options: ExportOptions
) -> dict[str, str]:
    """Text of the documents by file name.

    Args:
        facts: of the three checkpoints.
        vocabularies: the two files.
        options: what was chosen.
    """
    templates = files("t2s_export").joinpath("templates")
    card = Template(templates.joinpath("official_model_card.md").read_text("utf-8")).substitute(
        model_rows="\n".join(_model_row(item) for item in facts.values()),
        file_rows="\n".join(
            [*(_file_row(item.source) for item in facts.values())]
            + [_file_row(_vocabulary(path)) for path in vocabularies]
        ),
        tile_size=TILE_SIZE,
        gsd=f"{options.gsd:g}",
        deformable=options.deformable,
        exporter=exporter_name(),
    )
    return {
        "MODEL_CARD.md": card,
        "LICENSE-APACHE": (NANO_ROOT / "LICENSE").read_text("utf-8"),
        "LICENSE-MIT": templates.joinpath("licence_mit.txt").read_text("utf-8"),
    }


def _model_row(item: Facts) -> str:
    return (
        f"| {_TITLES[item.kind]} | {item.architecture} | {_GRAPHS[item.kind]} | "
        f"{item.parameters / 1e6:.1f} M | {item.format} |"
    )


def _file_row(source: Mapping[str, Any]) -> str:
    cells = [str(source.get(key) or _UNKNOWN) for key in ("checkpoint", "licence", "url")]
    if source.get("registry") == "file name":
        cells[0] += " (known by its name alone: no hash of it is published)"
    return f"| {' | '.join(cells)} | `{source.get('sha256') or '-'}` |"


def _vocabulary(path: Path) -> dict[str, Any]:
    """A vocabulary's entry: the registry is asked by the hash, for names lie."""
    digest = sha256_file(path)
    entry = next((row for row in MODELS if row.sha256 == digest), None)
    return {
        "checkpoint": path.name,
        "licence": entry and entry.licence,
        "url": entry and entry.url,
        "sha256": digest,
    }
