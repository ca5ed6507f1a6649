"""Where CLIP's dense paths start from: each patch attends to itself.

The patch path ends in attention alone, without a residual, and q-q, k-k and v-v attention of
random weights spread over all tokens: over 1445 of them a patch keeps 0.6 % of its own value, so
that all patches of a window say nearly the same, and training first has to find its way out of
that. Two changes to the first weights avoid it. Residual branches are scaled by the square root of
their number, as OpenAI's CLIP is initialised, which keeps the tokens apart; and projections that
meet themselves in a product are doubled, which quadruples the scores: a patch then keeps almost
nine tenths of itself. The architecture is untouched.
"""

from __future__ import annotations

import torch

from t2s_export.architectures.clip import Clip

__all__ = ["start_from_own_patches"]

_SHARPER = 2.0


@torch.no_grad()
def start_from_own_patches(clip: Clip) -> None:
    """Rescale the first weights of an image encoder in place."""
    visual, config = clip.visual, clip.config
    blocks, width = visual.transformer.blocks, config.width
    for index, block in enumerate(blocks):
        attention = block.attn
        for branch in (attention.out_proj, block.mlp.c_proj):
            branch.weight.mul_((2 * len(blocks)) ** -0.5)
        if index >= len(blocks) - config.surgery_blocks:
            attention.in_proj_weight[2 * width :].mul_(_SHARPER)
            attention.out_proj.weight.div_(_SHARPER)
        if index == len(blocks) - 1:
            attention.in_proj_weight[: 2 * width].mul_(_SHARPER)
