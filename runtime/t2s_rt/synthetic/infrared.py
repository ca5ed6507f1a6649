"""Colour infrared: near infrared, red and green in the place of red, green and blue.

Many survey flights (ISPRS Vaihingen is one) come so. Leaves shine in the near infrared, the more
the greener they are; water swallows it; all else looks about as it does in red.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from t2s_rt.synthetic.canvas import Block
from t2s_rt.synthetic.spec import FIELD, LOW_VEGETATION, TREE, WATER

__all__ = ["colour_infrared"]

_LEAVES = {TREE: 64, LOW_VEGETATION: 56, FIELD: 56}
_GREENEST = 40
"""Excess of green over the mean of red and blue, times two, from which leaves shine fully."""
_WATER_SHARE = 20
"""Near infrared of water in 1/64 of its red."""


def colour_infrared(block: Block, strength: float) -> npt.NDArray[np.uint8]:
    """The block's picture in false colours.

    Args:
        block: drawn and lit; its picture uint8 [S, S, 3] RGB.
        strength: how much fully green leaves gain, in units of their brightness.

    Returns:
        uint8 [S, S, 3] near infrared, red, green.
    """
    red, green, blue = (block.image[..., k].astype(np.int32) for k in range(3))
    excess = np.clip(2 * green - red - blue, 0, _GREENEST)
    brightness = (red + 2 * green + blue) >> 2
    leaves = [round(_LEAVES.get(item.class_id, 0) * strength) for item in block.items]
    share = [_WATER_SHARE if item.class_id == WATER else 64 for item in block.items]
    gain = np.take(np.array(leaves, np.int32), block.canvas)
    # a third of the gain even where little green is left: dry grass, bare twigs
    shine = gain * (excess * 2 + _GREENEST) // (3 * _GREENEST)
    near = (red * np.take(np.array(share, np.int32), block.canvas) + brightness * shine) >> 6
    return np.stack([np.minimum(near, 255), red, green], -1).astype(np.uint8)
