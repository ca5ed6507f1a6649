"""Detector captions: phrases drawn for training, their token ids, spans and attention masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from t2s_export.nano.tokenizers_ import bert_vocabulary
from t2s_export.nano.vocabulary import (
    ABSENT_PHRASES,
    OTHER_PHRASES,
    TRUTH_CLASSES,
    TruthClass,
)

__all__ = [
    "BOX_CLASSES",
    "Caption",
    "CaptionBatch",
    "collate_captions",
    "encode_caption",
    "full_caption",
    "sample_caption",
    "special_ids",
]

BOX_CLASSES: tuple[TruthClass, ...] = tuple(c for c in TRUTH_CLASSES if c.boxes)
"""Classes whose objects the detector boxes."""
_NEGATIVE_PHRASES: tuple[str, ...] = (
    *(p for c in TRUTH_CLASSES if not c.boxes for p in (*c.phrases, *c.plurals)),
    *OTHER_PHRASES,
    *ABSENT_PHRASES,
)
_MAX_TOKENS = 64


@dataclass(frozen=True)
class Caption:
    """A caption: phrases joined by ``.`` between ``[CLS]`` and ``[SEP]``.

    Attributes:
        ids: token ids.
        spans: (start, end) token range of each phrase, the dot excluded.
        class_ids: truth class that each phrase means, 0 for a negative.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    class_ids: tuple[int, ...]

    def token_map(self, class_id: int, length: int) -> Tensor:
        """Float ``[length]``: 1 at the tokens of every phrase that means ``class_id``."""
        tokens = torch.zeros(length)
        for (start, end), meaning in zip(self.spans, self.class_ids, strict=True):
            if meaning == class_id:
                tokens[start:end] = 1
        return tokens


@dataclass(frozen=True)
class CaptionBatch:
    """Captions padded to one length, with the inputs of the text encoder.

    Attributes:
        captions: the B captions.
        input_ids: int64 ``[B, T]``, padded with 0.
        token_mask: bool ``[B, T]``, true where a token is no padding.
        self_attention_mask: bool ``[B, T, T]``, true where a token may see another.
        position_ids: int64 ``[B, T]``, place within the own phrase.
    """

    captions: tuple[Caption, ...]
    input_ids: Tensor
    token_mask: Tensor
    self_attention_mask: Tensor
    position_ids: Tensor


@lru_cache(maxsize=1)
def _vocabulary() -> dict[str, int]:
    return bert_vocabulary()


def special_ids() -> tuple[int, ...]:
    """Ids that bound phrases in Grounding DINO: ``[CLS]``, ``[SEP]``, ``.`` and ``?``."""
    return tuple(_vocabulary()[t] for t in ("[CLS]", "[SEP]", ".", "?"))


def encode_caption(phrases: Iterable[tuple[str, int]]) -> Caption:
    """Encode (phrase, truth class or 0) pairs of known words, as the tokenizer would."""
    vocabulary = _vocabulary()
    ids = [vocabulary["[CLS]"]]
    spans, class_ids = [], []
    for phrase, class_id in phrases:
        tokens = [vocabulary[word] for word in phrase.split()]
        spans.append((len(ids), len(ids) + len(tokens)))
        class_ids.append(class_id)
        ids += [*tokens, vocabulary["."]]
    return Caption((*ids, vocabulary["[SEP]"]), tuple(spans), tuple(class_ids))


def full_caption() -> Caption:
    """All truth classes by name: what evaluation asks; classes without boxes are negatives."""
    return encode_caption((c.name, c.id if c.boxes else 0) for c in TRUTH_CLASSES)


def _names(c: TruthClass, rng: np.random.Generator) -> list[str]:
    """One way to ask for a class: mostly one phrase, at times several synonyms at once."""
    draw = rng.random()
    if draw < 0.45:
        return [c.name]
    if draw < 0.75:
        return [str(rng.choice(c.phrases))]
    if draw < 0.85:
        return [str(rng.choice(c.plurals or c.phrases))]
    return list(c.phrases)


def sample_caption(rng: np.random.Generator) -> Caption:
    """Draw a caption: 40 % all box classes, else 1 to 4; synonyms; negatives; shuffled."""
    if rng.random() < 0.4:
        chosen: Sequence[TruthClass] = BOX_CLASSES
    else:
        count = int(rng.integers(1, len(BOX_CLASSES)))
        picks = rng.choice(len(BOX_CLASSES), count, replace=False)
        chosen = [BOX_CLASSES[int(i)] for i in picks]
    entries = [(phrase, c.id) for c in chosen for phrase in _names(c, rng)]
    if rng.random() < 0.7:
        negatives = rng.choice(_NEGATIVE_PHRASES, int(rng.integers(1, 6)), replace=False)
        entries += [(str(phrase), 0) for phrase in negatives]
    order = rng.permutation(len(entries))
    caption = encode_caption([entries[int(i)] for i in order])
    while len(caption.ids) > _MAX_TOKENS:
        order = order[:-1]
        caption = encode_caption([entries[int(i)] for i in order])
    return caption


def collate_captions(captions: Sequence[Caption]) -> CaptionBatch:
    """Pad captions to one length and make their masks by the host's own rule."""
    from t2s_rt.prompts import caption_inputs

    length = max(len(c.ids) for c in captions)
    ids = np.zeros((len(captions), length), np.int64)
    token_mask = np.zeros((len(captions), length), bool)
    attention = np.tile(np.eye(length, dtype=bool), (len(captions), 1, 1))
    positions = np.zeros((len(captions), length), np.int64)
    for row, caption in enumerate(captions):
        n = len(caption.ids)
        ids[row, :n] = caption.ids
        mask, own_attention, own_positions = caption_inputs(caption.ids, special_ids())
        token_mask[row, :n] = np.asarray(mask).reshape(n)
        attention[row, :n, :n] = np.asarray(own_attention).reshape(n, n)
        positions[row, :n] = np.asarray(own_positions).reshape(n)
    return CaptionBatch(
        tuple(captions),
        torch.from_numpy(ids),
        torch.from_numpy(token_mask),
        torch.from_numpy(attention),
        torch.from_numpy(positions),
    )
