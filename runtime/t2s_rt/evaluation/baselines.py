"""Colour k-means, told afterwards which cluster is which class: what any model must beat."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["colour_kmeans"]

_SEED = 20231123


def colour_kmeans(
    image: NDArray[np.uint8], truth: NDArray[np.uint8], *, sample: int = 20_000
) -> NDArray[np.uint8]:
    """Cluster one image's colours and give each cluster the class that is most of it.

    The number of clusters is the number of classes in the truth. Naming clusters by the truth is
    generous on purpose: no model gets that help.

    Args:
        image: uint8 [H, W, 3] RGB.
        truth: uint8 labels [H, W].
        sample: pixels that the clusters are fitted to.

    Returns:
        uint8 labels [H, W].
    """
    pixels = image.reshape(-1, 3).astype(np.float32)
    labels = truth.reshape(-1)
    clusters = len(np.unique(labels))
    rng = np.random.default_rng(_SEED)
    chosen = pixels[rng.choice(len(pixels), min(sample, len(pixels)), replace=False)]
    cv2.setRNGSeed(_SEED)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 0.2)
    _, _, centres = cv2.kmeans(
        chosen, clusters, np.empty((0,), np.int32), stop, 3, cv2.KMEANS_PP_CENTERS
    )
    distance = ((pixels[:, None, :] - centres[None]) ** 2).sum(-1)
    nearest = distance.argmin(1)
    size = int(labels.max()) + 1
    votes = np.bincount(nearest * size + labels, minlength=clusters * size)
    named = votes.reshape(clusters, size).argmax(1).astype(np.uint8)
    result: NDArray[np.uint8] = named[nearest].reshape(truth.shape)
    return result
