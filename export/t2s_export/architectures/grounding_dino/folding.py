"""Weights that a module computes with, derived from the parameters that it stores.

The parameters keep the names and shapes of the official checkpoints. What the lean forward
multiplies with is derived from them: scales folded in, projections multiplied together, columns
reordered. In training the derivation runs in every step (it is tiny beside the activations), so
that gradients reach the stored parameters; before export it runs once and the results become
constants of the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from t2s_export.architectures.grounding_dino.geometry import FrameGeometry

__all__ = ["Foldable", "fold"]


class Foldable(nn.Module):
    """A module whose forward uses tensors derived from its parameters and the frame."""

    def __init__(self) -> None:
        super().__init__()
        self._folded_names: tuple[str, ...] = ()

    def derive(self, geometry: FrameGeometry) -> tuple[Tensor, ...]:
        """Compute the tensors that the forward uses, differentiably."""
        raise NotImplementedError(f"{type(self).__name__} must derive its tensors")

    def derived(self, geometry: FrameGeometry) -> tuple[Tensor, ...]:
        """Return the derived tensors: folded constants if there are any, else computed now."""
        if self._folded_names:
            return tuple(self.get_buffer(name) for name in self._folded_names)
        return self.derive(geometry)

    def fold(self, geometry: FrameGeometry) -> None:
        """Derive once and keep the results as buffers; the parameters are not read any more."""
        with torch.no_grad():
            results = self.derive(geometry)
        self._folded_names = tuple(f"folded_{index}" for index in range(len(results)))
        for name, value in zip(self._folded_names, results, strict=True):
            # persistent, so that the exporter makes it an initialiser of that name
            self.register_buffer(name, value.detach().clone().contiguous())


def fold(model: nn.Module, geometry: FrameGeometry) -> None:
    """Fold every foldable module of a model, in place."""
    for module in model.modules():
        if isinstance(module, Foldable):
            module.fold(geometry)
