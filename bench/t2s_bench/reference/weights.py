"""Random weights under which every parameter matters.

Freshly built models start relative positions, biases and the like at zero, where a fault would not
show; so every parameter and floating buffer is drawn anew.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

__all__ = ["randomise", "randomise_deep"]


@torch.no_grad()
def randomise(module: nn.Module, seed: int) -> None:
    """Draw every parameter and persistent floating buffer of a small module from one seed.

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


# Mean and standard deviation of what is neither a matrix nor a norm; the first that fits counts.
_SPECIAL: tuple[tuple[str, float, float], ...] = (
    (r"running_var$", 1.0, 0.1),
    (r"gamma_[vl]$", 0.2, 0.05),  # gains of the fusion layers
    (r"logit_scale$", 2.0, 0.1),
    # logits of a trained detector lie within about ten, not within sqrt(256) times that
    (r"transformer\.(decoder\.norm|enc_output_norm)\.weight$", 0.25, 0.05),
    (r"sampling_offsets\.weight$", 0.0, 0.05),
    (r"sampling_offsets\.bias$", 0.0, 1.5),  # cells of a level
    (r"positional_encoding_gaussian_matrix$", 0.0, 1.0),
    (r"(pos_embed|positional_embedding|class_embedding|level_embed)$", 0.0, 0.5),
    (r"(relative_position_bias_table|attention_biases)$", 0.0, 0.5),
    (r"(_token|mask_tokens|point_embeddings\.\d|a_point_embed|no_mask_embed)\.weight$", 0.0, 0.5),
    (r"(tgt_embed|token_embedding|_embeddings)\.weight$", 0.0, 0.5),
)
_BOX_HEAD = re.compile(r"(^|decoder\.)bbox_embed\.\d+\.layers\.2\.weight$")
_BOX_GAIN = 0.3
"""Boxes move by tenths of themselves in each decoder layer: larger steps would saturate them."""
_GAIN = 1.1
_NORM_SPREAD, _BIAS_SPREAD = 0.1, 0.1


@torch.no_grad()
def randomise_deep(module: nn.Module, seed: int) -> None:
    """Draw every parameter and persistent floating buffer of a full-size model from one seed.

    As :func:`randomise`, but activations keep their size through dozens of layers: gains of
    matrices are near one, tables of positions and tokens weigh as much as what they are added to,
    and a detector's boxes neither saturate nor collapse.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            mean, spread = _distribution(name, tensor)
            tensor.normal_(mean, spread, generator=generator)
            if name.endswith("running_var"):
                tensor.abs_()


def _distribution(name: str, tensor: Tensor) -> tuple[float, float]:
    """Mean and standard deviation for one tensor."""
    for pattern, mean, spread in _SPECIAL:
        if re.search(pattern, name):
            return mean, spread
    if tensor.ndim < 2:
        return (1.0, _NORM_SPREAD) if name.endswith("weight") else (0.0, _BIAS_SPREAD)
    fan_in = max(tensor[0].numel(), 1)
    return 0.0, (_BOX_GAIN if _BOX_HEAD.search(name) else _GAIN) / fan_in**0.5
