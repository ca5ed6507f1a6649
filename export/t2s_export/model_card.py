"""The documents of a bundle: model card, licence and notice.

The model card is a template whose figures come from where they are facts: sizes from the
modules, history from the checkpoints, seeds from the generator, accuracy from a file that the
bench writes. Nothing in it is typed by hand twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from torch import nn

from t2s_export.bundle_builder import exporter_name
from t2s_export.checkout import source_checkout
from t2s_export.nano.checkpoints import CHECKPOINT_DIR, CheckpointInfo, StageName
from t2s_export.nano.vocabulary import TRUTH_CLASSES, known_phrases
from t2s_rt.errors import BundleError

__all__ = ["FIGURES_PATH", "NanoSizes", "nano_documents"]

FIGURES_PATH = CHECKPOINT_DIR / "figures.json"
"""What the bench measured of the committed checkpoints: ``{"sections": {KEY: {"title", "text",
"checkpoints": {FILE: SHA-256}}}}``, the text Markdown; ``synthetic`` comes before others."""

_LICENCE = "Apache-2.0"
_TITLES: Mapping[StageName, tuple[str, str]] = {
    "detector": ("Grounding DINO", "detector, detector_text"),
    "sam": ("Segment Anything", "mask_encoder, mask_decoder, mask_decoder_local"),
    "clip": ("CLIP", "clip_image, clip_dense, clip_patches, clip_text"),
}
_NOT_MEASURED = "No figures were recorded with these checkpoints."
_OTHER_WEIGHTS = "**These figures were measured with other weights than the ones here.**"


@dataclass(frozen=True)
class NanoSizes:
    """Sizes of the bundle that the model card states.

    Attributes:
        gsd: metres per pixel.
        tile_size: pixels.
        inputs: what each model takes, in words.
    """

    gsd: float
    tile_size: int
    inputs: Mapping[StageName, str]


def nano_documents(
    modules: Mapping[StageName, nn.Module],
    infos: Mapping[StageName, CheckpointInfo],
    sizes: NanoSizes,
    checkpoints: Mapping[str, str],
    figures: Path = FIGURES_PATH,
) -> dict[str, str]:
    """Text of the nano bundle's documents by file name.

    Args:
        modules: the three models.
        infos: metadata of their checkpoints.
        sizes: of the bundle.
        checkpoints: SHA-256 by file name of the checkpoints.
        figures: measured figures; a missing file is stated in the card.

    Raises:
        BundleError: the figures are not in their form, or the licence files are missing.
    """
    from t2s_rt.synthetic import HELD_OUT_SEEDS, TRAINING_SEEDS

    template = files("t2s_export").joinpath("templates/nano_model_card.md").read_text("utf-8")
    boxed = [c.name for c in TRUTH_CLASSES if c.boxes]
    card = Template(template).substitute(
        size_rows="\n".join(_size_row(stage, modules[stage], sizes) for stage in _TITLES),
        tile_size=sizes.tile_size,
        gsd=f"{sizes.gsd:g}",
        exporter=exporter_name(),
        training_seeds=_span(TRAINING_SEEDS),
        held_out_seeds=_span(HELD_OUT_SEEDS),
        training_rows="\n".join(_training_row(infos[stage]) for stage in _TITLES),
        words=", ".join(known_phrases()),
        box_classes=f"{', '.join(boxed[:-1])} and {boxed[-1]}",
        figures=_figures(figures, checkpoints),
        checkpoint_rows="\n".join(f"| {n} | `{h}` |" for n, h in sorted(checkpoints.items())),
        licence=_LICENCE,
    )
    return {
        "MODEL_CARD.md": card,
        "LICENSE": _checkout_file("LICENSE"),
        "NOTICE": _checkout_file("NOTICE"),
    }


def _checkout_file(name: str) -> str:
    """A licence file; it lies in the same checkout as the checkpoints."""
    path = source_checkout() / name
    if not path.is_file():
        raise BundleError(f"expected {path}, found none; run in a source checkout")
    return path.read_text(encoding="utf-8")


def _size_row(stage: StageName, module: nn.Module, sizes: NanoSizes) -> str:
    title, graphs = _TITLES[stage]
    count = sum(parameter.numel() for parameter in module.parameters())
    return f"| {title} | {graphs} | {count / 1e6:.2f} M | {sizes.inputs[stage]} |"


def _training_row(info: CheckpointInfo) -> str:
    runs = "; ".join(_run(entry) for entry in info.history) or "none recorded"
    return f"| {_TITLES[info.stage][0]} | {info.generator_version} | {runs} |"


def _run(entry: Mapping[str, Any]) -> str:
    """One training run in words; what was not recorded is left out."""
    parts = []
    if "minutes" in entry:
        parts.append(f"{float(entry['minutes']):.0f} min")
    parts += [f"{entry[key]:,} {key}" for key in ("steps", "images") if key in entry]
    parts += [f"{key} {entry[key]}" for key in ("device", "seed") if key in entry]
    return ", ".join(parts) or "not described"


def _span(seeds: range) -> str:
    return f"{seeds.start} to {seeds.stop - 1}"


def _figures(path: Path, checkpoints: Mapping[str, str]) -> str:
    """Sections of measured figures, or the statement that there are none."""
    if not path.is_file():
        return _NOT_MEASURED
    try:
        sections = json.loads(path.read_text(encoding="utf-8"))["sections"]
        keys = sorted(sections, key=lambda key: (key != "synthetic", key))
        parts = [_section(sections[key], checkpoints) for key in keys]
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise BundleError(
            f'{path}: expected {{"sections": {{KEY: {{"title", "text", "checkpoints"}}}}}}, found '
            f"something else ({cause!r}); write it with the bench"
        ) from cause
    return "\n\n".join(parts) or _NOT_MEASURED


def _section(section: Mapping[str, Any], checkpoints: Mapping[str, str]) -> str:
    """Heading, a warning where the weights have changed since, and the tables."""
    measured = {str(name): str(value) for name, value in section["checkpoints"].items()}
    lines = [f"### {section['title']}"]
    if measured != dict(checkpoints):
        lines.append(_OTHER_WEIGHTS)
    return "\n\n".join([*lines, str(section["text"])])
