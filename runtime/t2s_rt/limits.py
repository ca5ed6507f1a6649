"""How much one call of a graph may hold along its dynamic sizes.

The models keep their calls within these limits, and an engine's profile is built for them: one
copy, so that no call meets an engine that was not built for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from t2s_rt.contracts import Role

__all__ = [
    "CLIP_PIXELS_PER_CALL",
    "CLIP_PIXELS_PER_CPU_CALL",
    "LOCAL_PROMPTS_PER_CALL",
    "POINTS_PER_PROMPT",
    "PROMPTS_PER_CALL",
    "PROMPTS_PER_CPU_CALL",
    "SMALL_MODEL_BYTES",
    "TILES_PER_CALL",
    "TOKENS_PER_CAPTION",
    "SizeRange",
    "size_range",
]

PROMPTS_PER_CALL = 32
"""Prompts of ``mask_decoder``: 32 prompts of four 256 x 256 masks are 32 MiB."""
PROMPTS_PER_CPU_CALL = 4
"""The same on a CPU: what few of them work on stays in its cache."""
LOCAL_PROMPTS_PER_CALL = 8
"""Prompts of ``mask_decoder_local``."""
POINTS_PER_PROMPT = 16
"""Points of one prompt, SAM's padding point included."""
CLIP_PIXELS_PER_CALL = 1 << 17
"""Pixels of all images in one CLIP call, unless a single image has more."""
CLIP_PIXELS_PER_CPU_CALL = 1 << 15
"""The same on a CPU, which computes images one after the other anyway: what few of them need stays
in its cache (``bench rewrites`` has the times)."""
TILES_PER_CALL = 4
"""Tiles whose images meet an encoder together."""
SMALL_MODEL_BYTES = 256 << 20
"""Graphs up to this leave a device idle for most of a call: several tiles do better, side by side
on a CPU, in one call on a GPU, and dense CLIP can afford windows that overlap. Larger ones fill
the device with a single tile."""
TOKENS_PER_CAPTION = 256
"""Tokens of a detector caption, special ones included."""


@dataclass(frozen=True)
class SizeRange:
    """Least, usual and greatest size along one dynamic axis."""

    least: int
    usual: int
    greatest: int


def size_range(role: Role, symbol: str, image_size: tuple[int, int] | None) -> SizeRange | None:
    """The range of a symbol of :mod:`t2s_rt.contracts` in the calls of a role.

    Args:
        role: of the graph.
        symbol: ``B``, ``T``, ``N`` or ``P``.
        image_size: height and width of the model frame, for roles that see images.

    Returns:
        The range, or None where no call is ever made with this symbol (text encoders run on the
        ground, on a CPU).
    """
    if symbol == "B":
        if role in ("clip_image", "clip_dense", "clip_patches"):
            most = max(1, CLIP_PIXELS_PER_CALL // math.prod(image_size or (1, 1)))
            return SizeRange(1, most, most)
        if role in ("detector", "mask_encoder"):
            return SizeRange(1, 1, TILES_PER_CALL)
    if symbol == "T" and role == "detector":
        return SizeRange(1, 32, TOKENS_PER_CAPTION)
    if symbol == "N" and role == "mask_decoder":
        return SizeRange(1, PROMPTS_PER_CALL, PROMPTS_PER_CALL)
    if symbol == "N" and role == "mask_decoder_local":
        return SizeRange(1, LOCAL_PROMPTS_PER_CALL, LOCAL_PROMPTS_PER_CALL)
    if symbol == "P" and role in ("mask_decoder", "mask_decoder_local"):
        return SizeRange(1, 2, POINTS_PER_PROMPT)
    return None
