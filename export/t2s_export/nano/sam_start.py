"""SAM's encoder starts as the trunk of nano's trained CLIP.

Masks teach an image encoder little: from random weights it is still blind when the decoder has
learnt that a box is filled by an ellipse, and there training stays. Dense CLIP learns from every
patch of every scene. Its stem and its first blocks, which attend within the same windows, already
know what is there; SAM's stage teaches them where it ends.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from t2s_export.architectures.clip import Clip
from t2s_export.architectures.sam import SAM_NANO, Sam
from t2s_export.architectures.sam.image_encoder import EncoderBlock, ImageEncoder
from t2s_rt.errors import UsageError

__all__ = ["is_taught", "start_from_clip"]

_SHARED = ("patch_embed.", "pos_embed", "norm_pre.")


def is_taught(name: str) -> bool:
    """Whether :func:`start_from_clip` copies a parameter of nano's SAM."""
    if not name.startswith("image_encoder."):
        return False
    part = name.removeprefix("image_encoder.")
    if part.startswith("blocks."):
        whole = int(part.split(".")[1]) in SAM_NANO.global_blocks
        return not whole and "rel_pos" not in part
    return part.startswith(_SHARED)


def start_from_clip(sam: Sam, clip: Clip) -> None:
    """Copy what CLIP's trunk and SAM's encoder share, in place.

    The stem, the norm before the blocks, the positions (repeated in every window) and, in order,
    every block that attends within windows. Blocks that attend over the whole grid start as
    no-ops: in CLIP there are none.

    Args:
        sam: a SAM with a stem, of CLIP's widths, windows and patch size.
        clip: a trained CLIP with more blocks than ``sam`` has windowed ones.

    Raises:
        UsageError: their sizes differ.
    """
    config, own = sam.config, clip.config
    encoder, visual = cast(ImageEncoder, sam.image_encoder), clip.visual
    windowed = [cast(EncoderBlock, b) for b in encoder.blocks if cast(EncoderBlock, b).window]
    found = (encoder.config.embed_dim, encoder.config.num_heads, encoder.config.stem)
    wanted = (own.width, own.heads, own.stem)
    window = encoder.config.window_size, config.patch_size
    if (found, window) != (wanted, (own.grid, own.patch_size)) or len(windowed) > own.layers:
        raise UsageError(
            f"expected a SAM of CLIP's width, heads and stem {wanted} with windows of {own.grid} "
            f"tokens of {own.patch_size} px and at most {own.layers} windowed blocks, found "
            f"{found}, {window} and {len(windowed)}; change one of the two"
        )
    with torch.no_grad():
        _first_convolution(encoder, clip)
        encoder.patch_embed.stem.load_state_dict(visual.stem.state_dict())
        cast(nn.Module, encoder.norm_pre).load_state_dict(visual.ln_pre.state_dict())
        table = visual.positional_embedding[1:].view(own.grid, own.grid, -1)
        times = config.grid // own.grid
        encoder.pos_embed.copy_(table.repeat(times, times, 1)[None])
        for block, theirs in zip(windowed, visual.transformer.blocks, strict=False):
            _copy_block(block, theirs)
        for whole in encoder.blocks:
            if not cast(EncoderBlock, whole).window:
                _silence(cast(EncoderBlock, whole))


def _first_convolution(encoder: ImageEncoder, clip: Clip) -> None:
    """The same response to a pixel though the two models normalise it differently."""
    visual, first = clip.visual, encoder.patch_embed.proj
    shift = ((encoder.mean - visual.mean) / visual.std)[:, None, None]
    first.weight.copy_(visual.conv1.weight * (encoder.std / visual.std)[:, None, None])
    cast(Tensor, first.bias).copy_((visual.conv1.weight * shift).sum((1, 2, 3)))


def _copy_block(block: EncoderBlock, theirs: nn.Module) -> None:
    """One block, parameter by parameter; relative positions start at zero."""
    values = theirs.state_dict()
    names = {
        "norm1.weight": "ln_1.weight",
        "norm1.bias": "ln_1.bias",
        "attn.qkv.weight": "attn.in_proj_weight",
        "attn.qkv.bias": "attn.in_proj_bias",
        "attn.proj.weight": "attn.out_proj.weight",
        "attn.proj.bias": "attn.out_proj.bias",
        "norm2.weight": "ln_2.weight",
        "norm2.bias": "ln_2.bias",
        "mlp.lin1.weight": "mlp.c_fc.weight",
        "mlp.lin1.bias": "mlp.c_fc.bias",
        "mlp.lin2.weight": "mlp.c_proj.weight",
        "mlp.lin2.bias": "mlp.c_proj.bias",
    }
    own = {name: values[source] for name, source in names.items()}
    for name in ("attn.rel_pos_h", "attn.rel_pos_w"):
        own[name] = torch.zeros_like(block.state_dict()[name])
    block.load_state_dict(own)


def _silence(block: EncoderBlock) -> None:
    """A block whose branches add nothing yet."""
    for layer in (block.attn.proj, block.mlp.lin2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
