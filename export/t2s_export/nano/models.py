"""Nano's three modules and their sizes: the shared architectures with nano's own vocabularies."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from t2s_export.architectures.clip import CLIP_NANO, Clip, ClipConfig
from t2s_export.architectures.grounding_dino import (
    GDINO_NANO,
    GroundingDino,
    GroundingDinoConfig,
)
from t2s_export.architectures.sam import SAM_NANO, Sam, SamConfig
from t2s_export.nano.tokenizers_ import bert_vocabulary, byte_pair_vocabulary
from t2s_export.nano.vocabulary import known_words
from t2s_rt.errors import UsageError

__all__ = ["CLIP_WINDOW", "LOCAL_CELLS", "ModelConfig", "build_model", "config_of", "nano_config"]

CLIP_WINDOW = CLIP_NANO.image_size
"""Side of the windows of dense CLIP, pixels. The softmax of a window's patches over each other
grows with its area, and it dilutes a patch: nine windows of 192 px see a tile better than four of
304, in six tenths of the time.
"""
LOCAL_CELLS = 24
"""Side of the windows in which SAM decodes small boxes, image tokens: as many as it is trained on.
A third more cost twice the time and find nothing more.
"""
ModelConfig = ClipConfig | GroundingDinoConfig | SamConfig
_CONFIGS: dict[str, type[ClipConfig] | type[GroundingDinoConfig] | type[SamConfig]] = {
    "detector": GroundingDinoConfig,
    "sam": SamConfig,
    "clip": ClipConfig,
}


def nano_config(stage: str) -> ModelConfig:
    """The sizes that training uses for a stage, vocabulary included."""
    if stage == "detector":
        # proposals start at 12.8, 25.6 and 51.2 px, the sizes that the levels are trained for
        return dataclasses.replace(
            GDINO_NANO,
            vocabulary_size=len(bert_vocabulary()),
            proposal_size=12.8 / GDINO_NANO.frame,
        )
    if stage == "clip":
        vocabulary, _ = byte_pair_vocabulary(known_words())
        return dataclasses.replace(CLIP_NANO, vocab_size=len(vocabulary))
    if stage == "sam":
        return SAM_NANO
    raise UsageError(f"expected a stage of {sorted(_CONFIGS)}, found {stage!r}; name one of them")


def config_of(stage: str, values: Mapping[str, Any]) -> ModelConfig:
    """A configuration back from the JSON of a checkpoint (lists become tuples)."""

    def frozen(value: Any) -> Any:
        return tuple(frozen(v) for v in value) if isinstance(value, list) else value

    return _CONFIGS[stage](**{name: frozen(value) for name, value in values.items()})


def build_model(stage: str, config: ModelConfig | None = None) -> nn.Module:
    """An untrained module of a stage."""
    sizes = config or nano_config(stage)
    if isinstance(sizes, GroundingDinoConfig):
        detector = GroundingDino(sizes)
        detector.initialise_for_training()
        return detector
    if isinstance(sizes, ClipConfig):
        return Clip(sizes)
    return Sam(sizes)
