"""CLIP in the form that OpenAI published: a TorchScript archive with scalars beside its weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from t2s_export.architectures.clip import ClipConfig

__all__ = ["Archived", "save"]


class Archived(nn.Module):
    """What OpenAI saved: the parts and parameters of open_clip's model, and three scalars."""

    def __init__(self, model: Any, config: ClipConfig) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.register_buffer("input_resolution", torch.tensor(config.image_size))
        self.register_buffer("context_length", torch.tensor(config.context_length))
        self.register_buffer("vocab_size", torch.tensor(config.vocab_size))

    def forward(self, image: Tensor) -> Tensor:
        visual = cast(nn.Module, self.visual)
        scale = cast(Tensor, self.logit_scale)
        return cast(Tensor, visual(image) * scale.exp())


def save(model: Any, config: ClipConfig, path: Path, half: bool = True) -> Path:
    """Save open_clip's model as OpenAI would, in half precision or not; returns the file."""
    dtype = torch.float16 if half else torch.float32
    towers = Archived(model, config).to(dtype).eval()
    example = torch.zeros(1, 3, config.image_size, config.image_size, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        traced: Any = torch.jit.trace(towers, example, check_trace=False)  # type: ignore[no-untyped-call]
        traced.save(str(path))
    return path
