"""The classes of the race as token ids: made once, for both sides.

One phrase for each class: Text2Seg runs its detector once more for every synonym, which would only
make it slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from t2s_rt.bundle import Bundle
from t2s_rt.prompts import PromptPack, build_pack
from t2s_rt.prompts.tokens import tokenize_caption, tokenize_texts

__all__ = ["TEMPLATES", "WORDS", "Phrase", "make_phrases", "word_pack"]

WORDS = ("building", "road", "tree", "water", "car", "field", "parking lot")
"""Known to every vocabulary, nano's included."""
TEMPLATES = 85
"""Sentences in CLIP Surgery's prompt ensemble, by which Text2Seg embeds a class for its points."""


@dataclass(frozen=True, eq=False)
class Phrase:
    """One class as the reference is asked for it.

    Attributes:
        name: the word.
        caption: int64 ``[1, T]``, the detector's caption of this word alone, with [CLS] and [SEP].
        special_ids: ids that end a phrase.
        span: tokens [start, end) of the word within the caption.
        sentences: int64 ``[85, L]``, the word in CLIP's templates.
        empty: int64 ``[85, L]``, the templates without a word (the redundant text).
        word: int64 ``[1, L]``, the word alone.
    """

    name: str
    caption: NDArray[np.int64]
    special_ids: tuple[int, ...]
    span: tuple[int, int]
    sentences: NDArray[np.int64]
    empty: NDArray[np.int64]
    word: NDArray[np.int64]


def make_phrases(bundle: Bundle, count: int, context: int) -> list[Phrase]:
    """The first classes of :data:`WORDS`.

    Args:
        bundle: whose tokenizers.
        count: how many classes.
        context: L, the tokens that the original CLIP pads every text to.
    """
    templates = list(islice(cycle(bundle.text.clip_templates), TEMPLATES))

    def texts(word: str) -> NDArray[np.int64]:
        return _padded(bundle, [t.replace("{}", word).strip() for t in templates], context)

    empty = texts("")
    phrases = []
    for word in WORDS[:count]:
        tokens = tokenize_caption(bundle, [word])
        phrases.append(
            Phrase(
                name=word,
                caption=tokens.ids[None].astype(np.int64),
                special_ids=tokens.special_ids,
                span=tokens.spans[0],
                sentences=texts(word),
                empty=empty,
                word=_padded(bundle, [word], context),
            )
        )
    return phrases


def _padded(bundle: Bundle, texts: list[str], context: int) -> NDArray[np.int64]:
    ids = tokenize_texts(bundle, texts)
    return np.pad(ids, ((0, 0), (0, context - ids.shape[1]))).astype(np.int64)


def word_pack(bundle: Bundle, words: tuple[str, ...]) -> PromptPack:
    """A pack of these words, without the prompt bank's synonyms."""
    return build_pack(bundle, "; ".join(words), use_bank=False)
