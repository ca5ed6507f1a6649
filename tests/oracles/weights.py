"""Random weights under which every parameter matters.

Freshly built models start relative positions, biases and the like at zero, where a fault would not
show; so every parameter and floating buffer is drawn anew.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["randomise"]


@torch.no_grad()
def randomise(module: nn.Module, seed: int) -> None:
    """Draw every parameter and persistent floating buffer of a module from one seed.

    Matrices keep the size of their products; norm weights stay near one, all other vectors small.
    """
    generator = torch.Generator().manual_seed(seed)
    persistent = module.state_dict(keep_vars=True)
    for name, tensor in persistent.items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim < 2:
            is_norm = name.endswith("weight")
            tensor.copy_(1.0 + 0.2 * noise if is_norm else 0.2 * noise)
        else:
            fan_in = max(tensor[0].numel(), 1)
            tensor.copy_(noise * (1.5 / fan_in**0.5))
