"""What any model must beat: colour k-means told its classes afterwards, and the largest class."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["colour_kmeans", "kmeans_labels", "largest_class", "match_clusters"]

_SEED = 20231123
_MOST_CLUSTERS = 16


def colour_kmeans(
    image: NDArray[np.uint8], truth: NDArray[np.uint8], *, sample: int = 20_000
) -> NDArray[np.uint8]:
    """Cluster one image's colours and give each cluster the class that the truth says it is.

    The number of clusters is the number of classes in the truth, and each class gets one of them
    (see :func:`match_clusters`). Naming clusters by the truth is generous on purpose: no model
    gets that help.

    Args:
        image: uint8 [H, W, 3] RGB.
        truth: uint8 labels [H, W], at most 16 different ones.
        sample: pixels that the clusters are fitted to.

    Returns:
        uint8 labels [H, W].
    """
    pixels = image.reshape(-1, 3).astype(np.float32)
    clusters = len(np.unique(truth))
    rng = np.random.default_rng(_SEED)
    chosen = pixels[rng.choice(len(pixels), min(sample, len(pixels)), replace=False)]
    cv2.setRNGSeed(_SEED)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 0.2)
    _, _, centres = cv2.kmeans(
        chosen, clusters, np.empty((0,), np.int32), stop, 3, cv2.KMEANS_PP_CENTERS
    )
    # one centre at a time: all differences at once would take a gigabyte of a large tile
    distance = np.stack([((pixels - centre) ** 2).sum(-1) for centre in centres], -1)
    return match_clusters(distance.argmin(1).reshape(truth.shape), truth)


def kmeans_labels(
    image: NDArray[np.uint8], truth: NDArray[np.uint8], ignored: int
) -> NDArray[np.uint8]:
    """:func:`colour_kmeans` of the labelled pixels; the others stay ``ignored``.

    Args:
        image: uint8 [H, W, 3] RGB.
        truth: uint8 labels [H, W], some of them not ``ignored``.
        ignored: label of pixels that no metric counts.

    Returns:
        uint8 labels [H, W].
    """
    known = truth != ignored
    labels = np.full(truth.shape, ignored, np.uint8)
    labels[known] = colour_kmeans(image[known][None], truth[known][None])[0]
    return labels


def largest_class(
    counts: NDArray[np.int64], classes: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """Confusion matrix of a map that is everywhere the class most frequent in the truth.

    Args:
        counts: int64 [C, C] pixels, rows are truth; of any map.
        classes: that may be the largest; None takes all.

    Returns:
        int64 [C, C].
    """
    totals = counts.sum(1)
    choice = np.arange(len(totals)) if classes is None else np.asarray(classes)
    matrix = np.zeros_like(counts)
    matrix[:, choice[totals[choice].argmax()]] = totals
    return matrix


def match_clusters(clusters: NDArray[np.integer], truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Name clusters after classes, one to one, so that most pixels are right.

    This is the usual matching of unsupervised segmentation (the assignment problem). With as
    many clusters as a class likes, naming each after its majority would reward clusters that say
    nothing about classes.

    Args:
        clusters: integers [H, W], 0 … k-1.
        truth: uint8 labels [H, W] with at least k different ones, at most 16.

    Returns:
        uint8 labels [H, W].
    """
    present = np.unique(truth)
    count = int(clusters.max()) + 1
    if count > len(present) or len(present) > _MOST_CLUSTERS:
        raise ValueError(
            f"expected at most {_MOST_CLUSTERS} classes and no more clusters than classes, found "
            f"{len(present)} classes and {count} clusters"
        )
    overlap = [np.bincount(clusters[truth == c], minlength=len(present)).tolist() for c in present]
    # exact: the best total of the first classes for every set of clusters they may have taken;
    # up to 16 classes that is cheaper than a dependency for the assignment problem
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for row in overlap:
        step: dict[int, tuple[int, tuple[int, ...]]] = {}
        for used, (total, chosen) in best.items():
            for column, hits in enumerate(row):
                key = used | 1 << column
                if key != used and total + hits > step.get(key, (-1, ()))[0]:
                    step[key] = (total + hits, (*chosen, column))
        best = step
    names = np.zeros(len(present), np.uint8)
    names[list(best[(1 << len(present)) - 1][1])] = present
    result: NDArray[np.uint8] = names[clusters]
    return result
