"""Absolute CLIP scores: a softmax over the label set, never over masks or min-max of a map.

The label set is the pack's classes plus its "other" words, so that a class competes with
everything that it could be mistaken for. Synonyms of a class are joined by their maximum before
the softmax: more synonyms never split a class's mass, and repeating one changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from t2s_rt.prompts import PromptPack

__all__ = ["LabelSet", "softmax"]

SURGERY_SCALE = 2.0
"""Scale of the class-token softmax in CLIP Surgery's weights (nearly flat on purpose)."""


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the last axis."""
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=-1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True)
class LabelSet:
    """Text embeddings of the classes and of the words that they compete with.

    Attributes:
        texts: float32 ``[S, D]``, unit length: all synonyms of all classes, then other words.
        starts: int ``[K + O]``: first row of each label in ``texts``; other words have one row.
        classes: K, the number of classes; labels from K on are other words.
        redundant: float32 ``[D]``: embedding of the empty text.
        scale: from cosine to logit.
    """

    texts: NDArray[np.float32]
    starts: NDArray[np.intp]
    classes: int
    redundant: NDArray[np.float32]
    scale: float

    @classmethod
    def from_pack(cls, pack: PromptPack, scale: float | None = None) -> LabelSet:
        """The label set of a prompt pack, with the pack's own logit scale unless given."""
        others = np.asarray(pack.other_embeddings, dtype=np.float32)
        groups = [np.asarray(group, dtype=np.float32) for group in pack.class_embeddings]
        sizes = [len(group) for group in groups] + [1] * len(others)
        width = groups[0].shape[1]
        return cls(
            texts=np.concatenate([*groups, others.reshape(-1, width)]),
            starts=np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp),
            classes=len(groups),
            redundant=np.asarray(pack.redundant_embedding, dtype=np.float32),
            scale=float(pack.logit_scale if scale is None else scale),
        )

    def cosines(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosines ``[n, K + O]`` of features ``[n, D]``, maximum over synonyms."""
        return np.maximum.reduceat(features @ self.texts.T, self.starts, axis=1)

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities ``[n, K + O]`` over the label set; rows sum to 1."""
        return softmax(self.scale * self.cosines(features))

    def surgery_scores(
        self, features: NDArray[np.float32], image_embedding: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """CLIP Surgery's feature surgery, then probabilities ``[n, K + O]`` over the label set.

        With features F, texts T, the redundant text R and weights w from the class token:
        ``S = w F (T - R)``, minus its mean over the labels (Li et al., arXiv 2304.05653; the
        identity that avoids the ``[n, K, D]`` tensor is one product and one row mean).

        Args:
            features: surgery embeddings float32 ``[n, D]``, unit length.
            image_embedding: class token float32 ``[D]``, unit length.
        """
        weights = softmax(SURGERY_SCALE * self.cosines(image_embedding[None])[0])
        weights = weights / weights.mean()
        similarity = self.cosines(features) - (features @ self.redundant)[:, None]
        similarity = similarity * weights
        similarity = similarity - similarity.mean(axis=1, keepdims=True)
        return softmax(self.scale * similarity)

    def class_planes(
        self, scores: NDArray[np.float32], grid: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities of a patch grid as planes.

        Args:
            scores: ``[h * w, K + O]`` in row-major order.
            grid: ``(h, w)``.

        Returns:
            class planes ``[K, h, w]`` and the best other word's plane ``[h, w]`` (zeros
            where the pack has no other words).
        """
        planes = np.ascontiguousarray(scores.T, dtype=np.float32).reshape(-1, *grid)
        others = planes[self.classes :]
        best = others.max(axis=0) if len(others) else np.zeros(grid, dtype=np.float32)
        return planes[: self.classes], best
