"""The file formats and the architectures that `load_model` knows, one row each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, cast

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

import t2s_export.architectures.clip.checkpoint as clip_names
import t2s_export.architectures.grounding_dino.checkpoint as grounding_dino_names
import t2s_export.architectures.sam.checkpoint as sam_names
from t2s_export.architectures.clip import VIT_B_16, VIT_B_32, VIT_L_14, VIT_L_14_336, Clip
from t2s_export.architectures.grounding_dino import SWIN_B, SWIN_T, GroundingDino
from t2s_export.architectures.naming import Translation
from t2s_export.architectures.sam import SAM_VIT_B, SAM_VIT_H, SAM_VIT_L, Sam

__all__ = [
    "ARCHITECTURES",
    "FORMATS",
    "Architecture",
    "Family",
    "FileFormat",
    "FormatName",
    "architectures_of",
    "expected_shapes",
    "find_format",
    "make_module",
]

Family = Literal["sam", "grounding_dino", "clip"]
FormatName = Literal["official", "transformers", "openai", "open_clip"]

COUNTER = "num_batches_tracked"
"""Ends the name of the one kind of buffer that a file need not hold: a counter of training."""


@dataclass(frozen=True)
class FileFormat:
    """How one publisher names the tensors of a family.

    Attributes:
        family: of the model.
        name: of the format.
        prefixes: names that begin with each of them tell the format from all others.
        place: where a stored tensor belongs.
        settings: fields of the configuration that go with the format.
    """

    family: Family
    name: FormatName
    prefixes: tuple[str, ...]
    place: Translation
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Architecture:
    """One size of a family.

    Attributes:
        family: of the model.
        name: what users call it.
        make: builds the module from a configuration.
        config: the sizes, a frozen dataclass.
    """

    family: Family
    name: str
    make: Callable[[Any], nn.Module]
    config: Any


FORMATS: Final[tuple[FileFormat, ...]] = (
    FileFormat("sam", "official", ("image_encoder.", "mask_decoder."), sam_names.official_place),
    FileFormat(
        "sam", "transformers", ("vision_encoder.", "mask_decoder."), sam_names.transformers_place
    ),
    FileFormat(
        "grounding_dino",
        "official",
        ("backbone.0.", "transformer.decoder."),
        grounding_dino_names.official_place,
        MappingProxyType({"inverse_sigmoid_epsilon": 1e-3}),
    ),
    FileFormat(
        "grounding_dino",
        "transformers",
        ("model.backbone.conv_encoder.", "model.decoder."),
        grounding_dino_names.transformers_place,
        # what transformers' code computes with; it moves boxes by up to 1e-3
        MappingProxyType({"inverse_sigmoid_epsilon": 1e-5}),
    ),
    # OpenAI's files have the same names; `loading` tells them by what lies beside the weights
    FileFormat(
        "clip", "open_clip", ("visual.", "transformer.resblocks."), clip_names.official_place
    ),
)

ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture("sam", "vit_b", Sam, SAM_VIT_B),
    Architecture("sam", "vit_l", Sam, SAM_VIT_L),
    Architecture("sam", "vit_h", Sam, SAM_VIT_H),
    # here joins Architecture("sam", "tiny_vit", Sam, MOBILE_SAM): its file is a "sam" one by names,
    # with "image_encoder.layers." where these have "image_encoder.blocks."
    Architecture("grounding_dino", "swin_t", GroundingDino, SWIN_T),
    Architecture("grounding_dino", "swin_b", GroundingDino, SWIN_B),
    Architecture("clip", "ViT-B-32", Clip, VIT_B_32),
    Architecture("clip", "ViT-B-16", Clip, VIT_B_16),
    Architecture("clip", "ViT-L-14", Clip, VIT_L_14),
    Architecture("clip", "ViT-L-14-336", Clip, VIT_L_14_336),
)


def find_format(names: Collection[str]) -> FileFormat | None:
    """The format of a file with tensors of these names, or None."""
    for row in FORMATS:
        if all(any(name.startswith(prefix) for name in names) for prefix in row.prefixes):
            return row
    return None


def architectures_of(family: str) -> tuple[Architecture, ...]:
    """All sizes of a family."""
    return tuple(row for row in ARCHITECTURES if row.family == family)


def make_module(architecture: Architecture, settings: Mapping[str, Any]) -> nn.Module:
    """Build a module whose parameters have shapes but no memory, and whose buffers are real.

    Buffers hold constants that no file has, such as the mean colour.

    Args:
        architecture: what to build.
        settings: fields of its configuration to change.
    """

    def forget(module: nn.Module, name: str, value: nn.Parameter) -> nn.Parameter:
        return nn.Parameter(value.detach().to("meta"), requires_grad=False)

    # torch's annotation denies what its documentation says: the hook may return another parameter
    hook: Any = register_module_parameter_registration_hook(cast(Callable[..., None], forget))
    try:
        return architecture.make(replace(architecture.config, **settings))
    finally:
        hook.remove()


@lru_cache(maxsize=32)
def expected_shapes(architecture: Architecture) -> dict[str, torch.Size]:
    """Shapes of all tensors that a file of this architecture must hold, by our names."""
    module = make_module(architecture, {})
    return {
        name: value.shape
        for name, value in module.state_dict().items()
        if not name.endswith(COUNTER)
    }
