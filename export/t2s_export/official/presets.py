"""Which official models make a bundle, and the choices that hold for all of them.

No torch here: the command line reads this module for its help.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from t2s_export.choices import DeformableForm
from t2s_rt.bundle.manifest import NAME_PATTERN
from t2s_rt.errors import UsageError

__all__ = [
    "CLIP_OTHER_WORDS",
    "CLIP_TEMPLATES",
    "DEFAULT_PROMPTS",
    "PRESETS",
    "THRESHOLDS",
    "TILE_SIZE",
    "ExportOptions",
    "Preset",
    "clip_window",
]


@dataclass(frozen=True)
class Preset:
    """Three models that go well together, in the words of the checkpoint loader.

    Attributes:
        name: of the command and of the bundle.
        detector: Grounding DINO's architecture.
        sam: Segment Anything's.
        clip: CLIP's.
        help: one line for the command line.
    """

    name: str
    detector: str
    sam: str
    clip: str
    help: str


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                "edge",
                "swin_t",
                "tiny_vit",
                "ViT-B-32",
                "Small and quick: MobileSAM, Grounding DINO Swin-T, CLIP ViT-B/32.",
            ),
            Preset(
                "base",
                "swin_t",
                "vit_b",
                "ViT-B-16",
                "The usual choice: SAM ViT-B, Grounding DINO Swin-T, CLIP ViT-B/16.",
            ),
            Preset(
                "large",
                "swin_b",
                "vit_h",
                "ViT-L-14",
                "The largest: SAM ViT-H, Grounding DINO Swin-B, CLIP ViT-L/14.",
            ),
        )
    }
)
"""By name."""

TILE_SIZE: Final = 1024
"""Pixels along a tile: SAM's frame, so that the model with the finest eye sees every pixel as it
is. The detector sees the tile at 800 pixels, as it was trained to see photographs; dense CLIP keeps
its resolution and takes four windows."""

CLIP_TEMPLATES: Final = (
    "satellite imagery of {}.",
    "aerial imagery of {}.",
    "a satellite photo of a {}.",
    "an aerial photo of a {}.",
    "a photo of a {}.",
)
"""After the sentences that CLIP's authors chose for RESISC45, the overhead images among their
benchmarks (openai/CLIP, data/prompts.md): both words for overhead images, with and without an
article, for things and stuff; and the plain photo that most captions of the training data name.
Every template costs one pass of the text encoder for each word: these are five and not eighty."""

CLIP_OTHER_WORDS: Final = ("background", "shadow", "clutter")
"""What is seen from above and is no class of anybody's; common classes that nobody asked for
compete beside them (``t2s_rt.prompts.build``)."""

THRESHOLDS: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {"default": MappingProxyType({"detector": 0.35})}
)
"""The box threshold of Grounding DINO's demonstration and of Text2Seg. The text threshold beside
it only picks the words that label a box, which the prompt pack's token spans do here. The other
routes' scores are probabilities among labels, for which Text2Seg has no figure: the runtime's
defaults hold."""

DEFAULT_PROMPTS: Final = (
    "building: house, roof; road: street; tree: forest; water: river, lake; car: vehicle; "
    "low vegetation: grass; field: farmland; bare ground; parking lot"
)

_CLIP_WINDOW = 512


def clip_window(patch: int) -> int:
    """Side of dense CLIP's windows: the first multiple of the patch from 512 pixels up.

    512 for patches of 16 and 32. For patches of 14 it is 518, for two windows of 504 would not
    cover a tile of 1024, and three along each side are more than twice the work.
    """
    return -(-_CLIP_WINDOW // patch) * patch


@dataclass(frozen=True)
class ExportOptions:
    """What may be chosen beside the checkpoints.

    Attributes:
        deformable: form of the detector's deformable attention. ``grid_sample`` is wrong on some
            TensorRT releases without any message (TensorRT#4813: 10.13, 10.14, 11.1), so
            ``gather`` is the default: a bundle is right wherever it goes.
        quick_gelu: CLIP's activation, for checkpoints that do not tell; None asks the registry.
        detector_size: side of the detector's frame, pixels.
        clip_size: side of dense CLIP's windows, pixels; None takes :func:`clip_window`.
        gsd: metres per pixel, for the record: the models are bound to none, but somewhere between
            0.1 and 0.5 m cars and houses have the sizes that objects have in photographs.
        name: of the bundle; None is the preset's.
        calibration: folder of images that the precision of fp16 graphs is decided on; None takes
            synthetic scenes.
    """

    deformable: DeformableForm = "gather"
    quick_gelu: bool | None = None
    detector_size: int = 800
    clip_size: int | None = None
    gsd: float = 0.3
    name: str | None = None
    calibration: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what no graph can be made of.

        Raises:
            UsageError: naming the option.
        """
        if self.detector_size < 128 or self.detector_size % 32:
            raise UsageError(
                "expected a detector size of at least 128 pixels and a multiple of 32, found "
                f"{self.detector_size}; the models were trained at 800"
            )
        if self.name is not None and not re.fullmatch(NAME_PATTERN, self.name):
            raise UsageError(
                f"expected a bundle's name of letters, digits, '.', '_' and '-', found "
                f"{self.name!r}"
            )
        if not 1e-3 <= self.gsd <= 1e3:
            raise UsageError(
                f"expected a ground resolution of 0.001 to 1000 m per pixel, found {self.gsd:g}"
            )
