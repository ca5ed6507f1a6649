"""The two kinds of tokenizer as Hugging Face ``tokenizers`` JSON, from a vocabulary in memory.

Nano's own words and the official vocabularies go through the same two functions, so that what the
runtime learns about one holds for the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "BERT_MARKERS",
    "CLIP_END",
    "CLIP_START",
    "END_OF_WORD",
    "byte_alphabet",
    "byte_pair_tokenizer",
    "tokenizer_text",
    "word_piece_tokenizer",
]

BERT_MARKERS: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""Tokens of a WordPiece vocabulary that stand for no text."""
CLIP_START = "<|startoftext|>"
CLIP_END = "<|endoftext|>"
END_OF_WORD = "</w>"
# the pattern of CLIP's simple tokenizer: contractions, letter runs, single digits, other runs
_CLIP_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def word_piece_tokenizer(
    vocabulary: Mapping[str, int], markers: Sequence[str] = BERT_MARKERS
) -> Tokenizer:
    """BERT's WordPiece tokenizer; lower case, accents dropped, adds ``[CLS]`` and ``[SEP]``.

    Args:
        vocabulary: token → id.
        markers: tokens that stand for no text; all in the vocabulary.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece(dict(vocabulary), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(t, vocabulary[t]) for t in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(markers))
    return tokenizer


def byte_alphabet() -> list[str]:
    """The 256 printable stand-ins of bytes, in CLIP's order (``bytes_to_unicode``)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(b) for b in printable]
    others = [b for b in range(256) if b not in set(printable)]
    return characters + [chr(256 + i) for i in range(len(others))]


def byte_pair_tokenizer(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]
) -> Tokenizer:
    """CLIP's byte-pair tokenizer; lower case, adds start and end of text.

    Args:
        vocabulary: token → id, :data:`CLIP_START` and :data:`CLIP_END` included.
        merges: pairs in rank order.
    """
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    tokenizer = Tokenizer(
        models.BPE(
            dict(vocabulary),
            list(merges),
            continuing_subword_prefix="",
            end_of_word_suffix=END_OF_WORD,
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


def tokenizer_text(tokenizer: Tokenizer, pretty: bool = True) -> str:
    """The text of a tokenizer file: indented, or short for a large vocabulary."""
    return tokenizer.to_str(pretty=pretty) + "\n"
