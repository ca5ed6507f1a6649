"""Nano's two tokenizers as Hugging Face ``tokenizers`` JSON: BERT WordPiece and CLIP BPE.

Both run the same code paths as the official vocabularies (BertNormalizer and BertPreTokenizer;
CLIP's lower-casing, pattern, byte alphabet, merges and ``</w>``), only over nano's own words:
each known word is one token, so a caption of nano is short and an unknown word is ``[UNK]`` in
the WordPiece vocabulary. The files are the same on every run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from t2s_export.nano.vocabulary import known_words
from t2s_export.tokenizer_files import (
    BERT_MARKERS,
    CLIP_END,
    CLIP_START,
    END_OF_WORD,
    byte_alphabet,
    byte_pair_tokenizer,
    tokenizer_text,
    word_piece_tokenizer,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "BERT_SPECIALS",
    "CLIP_END",
    "CLIP_START",
    "bert_vocabulary",
    "byte_pair_vocabulary",
    "clip_tokenizer",
    "detector_tokenizer",
    "write_tokenizers",
]

BERT_SPECIALS: tuple[str, ...] = (*BERT_MARKERS, ".", "?")
"""First ids of the WordPiece vocabulary; the last four bound phrases in Grounding DINO."""


def bert_vocabulary() -> dict[str, int]:
    """WordPiece vocabulary: specials, then the known words; token → id."""
    return {token: i for i, token in enumerate((*BERT_SPECIALS, *known_words()))}


def detector_tokenizer() -> Tokenizer:
    """BERT WordPiece tokenizer over nano's words; adds ``[CLS]`` and ``[SEP]``."""
    return word_piece_tokenizer(bert_vocabulary())


def _merge(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Join every occurrence of ``pair``, left to right."""
    merged: list[str] = []
    i = 0
    while i < len(symbols):
        if symbols[i : i + 2] == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return tuple(merged)


def byte_pair_vocabulary(words: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-pair merges that make each of ``words`` one token, and the vocabulary with them.

    The merges are learnt as usual (most frequent neighbouring pair first; ties in alphabetical
    order) until every word is whole. Layout of ids as in CLIP: bytes, bytes with ``</w>``,
    merges, start, end; so the end of text has the highest id, which CLIP's pooling relies on.

    Args:
        words: lower-case ASCII words.

    Returns:
        vocabulary (token → id) and merges in rank order.
    """
    states = {word: (*word[:-1], word[-1] + END_OF_WORD) for word in words}
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(p for s in states.values() for p in zip(s[:-1], s[1:], strict=True))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        states = {word: _merge(symbols, best) for word, symbols in states.items()}
    alphabet = byte_alphabet()
    tokens = [*alphabet, *(c + END_OF_WORD for c in alphabet)]
    tokens += dict.fromkeys(a + b for a, b in merges)
    tokens += [CLIP_START, CLIP_END]
    return {token: i for i, token in enumerate(tokens)}, merges


def clip_tokenizer() -> Tokenizer:
    """CLIP byte-pair tokenizer over nano's words; adds start and end of text."""
    return byte_pair_tokenizer(*byte_pair_vocabulary(known_words()))


def write_tokenizers(folder: Path) -> tuple[Path, Path]:
    """Write ``detector_tokenizer.json`` and ``clip_tokenizer.json``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = (folder / "detector_tokenizer.json", folder / "clip_tokenizer.json")
    for path, tokenizer in zip(paths, (detector_tokenizer(), clip_tokenizer()), strict=True):
        path.write_text(tokenizer_text(tokenizer), encoding="utf-8")
    return paths
