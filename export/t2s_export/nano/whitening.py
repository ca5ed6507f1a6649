"""A patch embedding that sees texture from the first step.

Nearly all variance of aerial patches is their mean colour. A random patch embedding passes that
on, the layer norm behind it scales tokens by it, and what tells woods from water, the fine
structure, has to grow out of a hundredth of the signal. Principal components scaled to nearly
equal variance pass all of it on; everything stays trainable. That it pays over a whole run has not
been shown: after a few minutes of CLIP's stage no difference could be seen.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from t2s_export.nano.data import ShardSet

__all__ = ["whiten_patch_embedding"]

_POWER = 0.4
"""Components are divided by their variance to this power; 0.5 would also raise the noise."""
_SCENES, _PER_SCENE = 160, 96


def _patches(shards: ShardSet, side: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Random training patches, ``[n, 3 * side * side]`` in 0..255, channels first."""
    rng = np.random.default_rng(20261123)
    rows = []
    for index in rng.integers(0, shards.training_count, _SCENES):
        image = shards.sample(int(index)).image
        for y, x in rng.integers(0, image.shape[0] - side + 1, (_PER_SCENE, 2)):
            rows.append(image[y : y + side, x : x + side].transpose(2, 0, 1).ravel())
    return np.stack(rows).astype(np.float64)


def whiten_patch_embedding(
    conv: nn.Conv2d, shards: ShardSet, pixel_std: tuple[float, float, float], scale: float
) -> None:
    """Set a patch embedding's weights to scaled principal components of training patches.

    Args:
        conv: kernel and stride of one patch, three input channels.
        shards: where patches come from.
        pixel_std: what the model divides pixels by, RGB in 0..255.
        scale: standard deviation of the strongest component's output.
    """
    side = conv.kernel_size[0]
    rows = _patches(shards, side) / np.repeat(pixel_std, side * side)
    variance, components = np.linalg.eigh(np.cov(rows, rowvar=False))
    order = np.argsort(variance)[::-1][: conv.out_channels]
    gain = (variance[order] / variance[order[0]]).clip(1e-9) ** (0.5 - _POWER)
    weight = components[:, order].T * (scale * gain / np.sqrt(variance[order]))[:, None]
    with torch.no_grad():
        found = torch.from_numpy(weight.astype(np.float32))
        conv.weight[: len(order)] = found.view(len(order), 3, side, side)
        if conv.bias is not None:
            conv.bias.zero_()
