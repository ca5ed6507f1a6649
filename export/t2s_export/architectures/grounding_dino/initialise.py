"""Initial values for training from nothing.

Measured in a trial (AP50 after five minutes, building / car / tree): with this recipe
.487 / .490 / .623, with the stock initialisation .115 / .264 / .308. What matters:

* the contrastive head starts with a prior: the last text norm has weight 1/sqrt(D) and bias 0.24,
  the norms before the class heads have a bias such that the mean logit is -4.6 (probability 0.01);
* fusion gains start at 0.5 instead of 1e-4, so that text conditions the image from the first step;
* linear layers are Xavier, deformable offsets point into one direction per head.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from t2s_export.architectures.grounding_dino.attention import Mlp, MultiheadAttention
from t2s_export.architectures.grounding_dino.deformable import DeformableAttention
from t2s_export.architectures.grounding_dino.fusion import FusionLayer
from t2s_export.architectures.grounding_dino.swin import WindowAttention

if TYPE_CHECKING:
    from t2s_export.architectures.grounding_dino.model import GroundingDino

__all__ = ["initialise_for_training"]

_PRIOR_LOGIT = -4.6
_TEXT_BIAS = 0.24
_FUSION_GAIN = 0.5
_SMALL = 0.02


def _reset(module: nn.Module) -> None:
    """Give one module's own parameters their initial values."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=_SMALL)
    elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, MultiheadAttention):
        for part in module.in_proj_weight.chunk(3):
            nn.init.xavier_uniform_(part)
        nn.init.zeros_(module.in_proj_bias)
    elif isinstance(module, WindowAttention):
        nn.init.trunc_normal_(module.relative_position_bias_table, std=_SMALL)
    elif isinstance(module, FusionLayer):
        nn.init.constant_(module.gamma_v, _FUSION_GAIN)
        nn.init.constant_(module.gamma_l, _FUSION_GAIN)


def initialise_for_training(model: GroundingDino) -> None:
    """Set every parameter of a model, in place; uses torch's global random generator."""
    with torch.no_grad():
        for module in model.modules():
            _reset(module)
        # the parts that override what their linear layers got above
        for module in model.modules():
            if isinstance(module, DeformableAttention):
                module.reset_parameters()
        transformer = model.transformer
        nn.init.normal_(transformer.level_embed)
        for head in (*model.bbox_embed, transformer.enc_out_bbox_embed):
            if isinstance(head, Mlp):
                for parameter in head.layers[-1].parameters():
                    nn.init.zeros_(parameter)
        width = model.config.d_model
        text_norm = transformer.encoder.text_layers[-1].norm2
        if not isinstance(text_norm, nn.LayerNorm):
            raise TypeError("a text layer ends with a LayerNorm by construction")
        nn.init.constant_(text_norm.weight, 1.0 / math.sqrt(width))
        nn.init.constant_(text_norm.bias, _TEXT_BIAS)
        for norm in (transformer.enc_output_norm, transformer.decoder.norm):
            nn.init.constant_(norm.bias, _PRIOR_LOGIT / (_TEXT_BIAS * width))
