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

BERT_SPECIALS: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?")
"""First ids of the WordPiece vocabulary; the last four bound phrases in Grounding DINO."""
CLIP_START = "<|startoftext|>"
CLIP_END = "<|endoftext|>"
_END_OF_WORD = "</w>"
# the pattern of CLIP's simple tokenizer: contractions, letter runs, single digits, other runs
_CLIP_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def bert_vocabulary() -> dict[str, int]:
    """WordPiece vocabulary: specials, then the known words; token → id."""
    return {token: i for i, token in enumerate((*BERT_SPECIALS, *known_words()))}


def detector_tokenizer() -> Tokenizer:
    """BERT WordPiece tokenizer over nano's words; adds ``[CLS]`` and ``[SEP]``."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary = bert_vocabulary()
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(t, vocabulary[t]) for t in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return tokenizer


def _byte_alphabet() -> list[str]:
    """The 256 printable stand-ins of bytes, in CLIP's order (``bytes_to_unicode``)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(b) for b in printable]
    others = [b for b in range(256) if b not in set(printable)]
    return characters + [chr(256 + i) for i in range(len(others))]


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
    states = {word: (*word[:-1], word[-1] + _END_OF_WORD) for word in words}
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(p for s in states.values() for p in zip(s[:-1], s[1:], strict=True))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        states = {word: _merge(symbols, best) for word, symbols in states.items()}
    alphabet = _byte_alphabet()
    tokens = [*alphabet, *(c + _END_OF_WORD for c in alphabet)]
    tokens += dict.fromkeys(a + b for a, b in merges)
    tokens += [CLIP_START, CLIP_END]
    return {token: i for i, token in enumerate(tokens)}, merges


def clip_tokenizer() -> Tokenizer:
    """CLIP byte-pair tokenizer over nano's words; adds start and end of text."""
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    vocabulary, merges = byte_pair_vocabulary(known_words())
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary,
            merges,
            continuing_subword_prefix="",
            end_of_word_suffix=_END_OF_WORD,
            unk_token=CLIP_END,
            fuse_unk=False,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLIP_START} $A {CLIP_END}",
        special_tokens=[(t, vocabulary[t]) for t in (CLIP_START, CLIP_END)],
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([CLIP_START, CLIP_END])
    return tokenizer


def write_tokenizers(folder: Path) -> tuple[Path, Path]:
    """Write ``detector_tokenizer.json`` and ``clip_tokenizer.json``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = (folder / "detector_tokenizer.json", folder / "clip_tokenizer.json")
    for path, tokenizer in zip(paths, (detector_tokenizer(), clip_tokenizer()), strict=True):
        path.write_text(tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")
    return paths
