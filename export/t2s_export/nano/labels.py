"""CLIP's label sets for training: which words compete, and which truth each of them means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from t2s_export.nano.auxiliary import CLASSES
from t2s_export.nano.tokenizers_ import CLIP_END, CLIP_START, byte_pair_vocabulary
from t2s_export.nano.vocabulary import (
    ABSENT_PHRASES,
    OTHER_PHRASES,
    TEMPLATE,
    TRUTH_CLASSES,
    known_words,
)

__all__ = ["LabelSet", "encode_texts", "full_labels", "sample_labels"]


@dataclass(frozen=True)
class LabelSet:
    """Words that compete for a patch.

    Attributes:
        ids: int64 ``[1 + K, L]`` token ids; row 0 is the empty text, padded with 0.
        means: bool ``[C, K]``, true where word k means truth class c (0: any other-word).
        asked: bool ``[C]``, classes that a word of the set means; other patches are left out.
    """

    ids: Tensor
    means: Tensor
    asked: Tensor


@lru_cache(maxsize=1)
def _vocabulary() -> dict[str, int]:
    return byte_pair_vocabulary(known_words())[0]


def encode_texts(texts: list[str]) -> Tensor:
    """Token ids of texts of known words, int64 ``[N, L]``, as the tokenizer would give them."""
    vocabulary = _vocabulary()
    rows = [
        [
            vocabulary[CLIP_START],
            *(vocabulary[word + "</w>"] for word in text.split()),
            vocabulary[CLIP_END],
        ]
        for text in texts
    ]
    ids = torch.zeros(len(rows), max(len(r) for r in rows), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return ids


def _label_set(entries: list[tuple[str, int]], template: bool) -> LabelSet:
    prefix = " ".join(TEMPLATE) + " " if template else ""
    ids = encode_texts(["", *(prefix + phrase for phrase, _ in entries)])
    means = torch.zeros(CLASSES, len(entries), dtype=torch.bool)
    for column, (_, class_id) in enumerate(entries):
        if class_id >= 0:
            means[class_id, column] = True
    return LabelSet(ids, means, means.any(1))


def full_labels() -> LabelSet:
    """All classes by name against all other words: what evaluation asks."""
    entries = [(c.name, c.id) for c in TRUTH_CLASSES] + [(p, 0) for p in OTHER_PHRASES]
    return _label_set(entries, template=False)


def sample_labels(rng: np.random.Generator) -> LabelSet:
    """Draw one word per class, at times not of every class, and words of nothing shown."""
    entries: list[tuple[str, int]] = []
    drop = 0.25 if rng.random() < 0.3 else 0.0
    for c in TRUTH_CLASSES:
        if rng.random() < drop:
            continue
        draw = rng.random()
        if draw < 0.45 or (draw >= 0.85 and not c.plurals):
            phrase = c.name
        else:
            phrase = str(rng.choice(c.phrases if draw < 0.85 else c.plurals))
        entries.append((phrase, c.id))
    entries += [(phrase, 0) for phrase in OTHER_PHRASES if rng.random() > drop]
    entries += [(phrase, -1) for phrase in ABSENT_PHRASES if rng.random() < 0.3]
    if not entries:
        entries = [(OTHER_PHRASES[0], 0)]
    return _label_set(entries, template=bool(rng.random() < 0.25))
