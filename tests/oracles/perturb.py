"""Which tensors of a model matter: each is changed in turn, and an output has to change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = ["silent_tensors"]

_CHANGE = 0.3
_NOTICED = 2e-5
"""Change of an output over its largest value: rounding stays some twenty times below."""


@torch.no_grad()
def silent_tensors(
    model: nn.Module, outputs: Mapping[str, Callable[[], Sequence[Tensor]]], seed: int = 9
) -> dict[str, set[str]]:
    """Parameters and persistent buffers whose change leaves all outputs as they were.

    Args:
        model: its floating tensors are changed and restored one by one.
        outputs: by name, computes tensors from the model as it is now (an export form has to be
            made anew, since it copies).
        seed: of the changes, a third of each tensor's spread or more.

    Returns:
        by name of ``outputs``, the names in the state dict that it does not depend on.
    """
    generator = torch.Generator().manual_seed(seed)
    before = {name: [x.clone() for x in run()] for name, run in outputs.items()}
    silent: dict[str, set[str]] = {name: set() for name in outputs}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not tensor.is_floating_point():
            continue
        kept = tensor.detach().clone()
        size = max(_CHANGE, float(kept.std())) if kept.numel() > 1 else _CHANGE
        tensor.add_(size * torch.rand(tensor.shape, generator=generator))
        for what, run in outputs.items():
            changes = [
                float((new - old).abs().max() / old.abs().max())
                for new, old in zip(run(), before[what], strict=True)
            ]
            if max(changes) < _NOTICED:
                silent[what].add(name)
        tensor.copy_(kept)
    return silent
