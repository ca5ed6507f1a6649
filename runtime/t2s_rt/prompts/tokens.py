"""Words to token ids, through the ``tokenizers`` library and the bundle's own JSON files."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2s_rt.bundle import Bundle
from t2s_rt.errors import BundleError, MissingExtraError, UnknownWordError, UsageError
from t2s_rt.prompts.caption import SEPARATORS, join_caption

__all__ = [
    "CaptionTokens",
    "check_words",
    "tokenize_caption",
    "tokenize_texts",
]

Span = tuple[int, int]

_NO_WORDS = frozenset({"[UNK]", "<|startoftext|>", "<|endoftext|>"})
"""Tokens that stand for no word: the unknown one, which for CLIP is the end, and those that a text
makes by spelling them out. BERT's others cannot be: a caption is lower case, and they are not."""


@dataclass(frozen=True)
class CaptionTokens:
    """A tokenised detector caption.

    Attributes:
        caption: the text.
        ids: int32 [T], with [CLS] and [SEP].
        special_ids: ids of the separators that bound phrases.
        spans: for each phrase, in order, its tokens [start, end) without the separator.
    """

    caption: str
    ids: NDArray[np.int32]
    special_ids: tuple[int, ...]
    spans: tuple[Span, ...]


def check_words(bundle: Bundle, phrases: Sequence[str]) -> None:
    """Refuse phrases that a bundle with a closed vocabulary does not know.

    Raises:
        UnknownWordError: naming the phrases, near ones, and all that the bundle knows.
    """
    known = bundle.text.words
    if known is None:
        return
    unknown = [phrase for phrase in phrases if phrase.lower() not in known]
    if unknown:
        raise _unknown_words(bundle, unknown)


def tokenize_caption(bundle: Bundle, phrases: Sequence[str]) -> CaptionTokens:
    """Tokenise ``"building . house . road ."`` with the detector's tokenizer.

    Raises:
        UnknownWordError: the tokenizer yields its unknown token, or a phrase spells a marker.
        UsageError: too many tokens for the bundle, or a phrase that yields none.
        BundleError: the bundle has no such tokenizer, or an unfit one.
        MissingExtraError: the ``tokenizers`` library is not installed.
    """
    tokenizer = _load(bundle, "detector")
    caption = join_caption(phrases)
    encoding = tokenizer.encode(caption)
    ids = np.asarray(encoding.ids, dtype=np.int32)
    _check_ends(bundle, "detector", encoding.tokens, "[CLS]", "[SEP]")
    spans, unknown, start = [], [], 0
    for phrase in phrases:
        end = start + len(phrase.lower())
        span = _span(encoding.offsets, start, end)
        if span is None:
            raise UsageError(
                f"the detector's tokenizer makes no token of {phrase!r}; use other words"
            )
        if _NO_WORDS.intersection(encoding.tokens[slice(*span)]):
            unknown.append(phrase)
        spans.append(span)
        start = end + len(" . ")
    if unknown:
        raise _unknown_words(bundle, unknown)
    limit = detector_token_limit(bundle)
    if len(ids) > limit:
        raise UsageError(
            f"the prompts make {len(ids)} tokens, but the detector of bundle {bundle.name} takes "
            f"at most {limit}; use fewer or shorter words"
        )
    special = [tokenizer.token_to_id(token) for token in SEPARATORS]
    return CaptionTokens(caption, ids, tuple(i for i in special if i is not None), tuple(spans))


def detector_token_limit(bundle: Bundle) -> int:
    """Longest caption in tokens: the manifest's limit, or a graph's static T if smaller."""
    limit = bundle.text.max_detector_tokens
    for role, name in (("detector", "text_features"), ("detector_text", "input_ids")):
        for entry in bundle.graphs:
            if entry.role != role:
                continue
            size = next(spec.shape[1] for spec in entry.inputs if spec.name == name)
            limit = min(limit, size) if isinstance(size, int) else limit
    return limit


def tokenize_texts(bundle: Bundle, texts: Sequence[str]) -> NDArray[np.int32]:
    """Tokenise sentences with CLIP's tokenizer.

    Args:
        bundle: whose tokenizer.
        texts: sentences; an empty one is allowed.

    Returns:
        int32 [N, L], padded with zeros to the context length.

    Raises:
        UnknownWordError: the tokenizer yields its unknown token, or a phrase spells a marker.
        UsageError: a text longer than the context.
        BundleError: the bundle has no such tokenizer, or an unfit one.
        MissingExtraError: the ``tokenizers`` library is not installed.
    """
    tokenizer = _load(bundle, "clip")
    length = _context_length(bundle)
    ids = np.zeros((len(texts), length), dtype=np.int32)
    for row, text in enumerate(texts):
        encoding = tokenizer.encode(text.lower())
        _check_ends(bundle, "clip", encoding.tokens, "<|startoftext|>", "<|endoftext|>")
        if _NO_WORDS.intersection(encoding.tokens[1:-1]):
            raise _unknown_words(bundle, [text])
        if len(encoding.ids) > length:
            raise UsageError(
                f"{text!r} makes {len(encoding.ids)} tokens, but CLIP of bundle {bundle.name} "
                f"takes at most {length}; use fewer words"
            )
        ids[row, : len(encoding.ids)] = encoding.ids
    return ids


def _context_length(bundle: Bundle) -> int:
    size = bundle.graph("clip_text").inputs[0].shape[1]
    return size if isinstance(size, int) else bundle.text.clip_context_length


def _span(offsets: Sequence[Span], start: int, end: int) -> Span | None:
    """Tokens whose characters lie within [start, end); special tokens have empty offsets."""
    inside = [i for i, (a, b) in enumerate(offsets) if a < b and a >= start and b <= end]
    return (inside[0], inside[-1] + 1) if inside else None


def _check_ends(bundle: Bundle, name: str, tokens: Sequence[str], first: str, last: str) -> None:
    if len(tokens) < 2 or tokens[0] != first or tokens[-1] != last:
        raise BundleError(
            f"bundle {bundle.name}: expected the {name} tokenizer to add {first} and {last}, "
            f"found {' '.join(tokens[:3])} ... {' '.join(tokens[-1:])}; export the bundle again"
        )


def _unknown_words(bundle: Bundle, phrases: Sequence[str]) -> UnknownWordError:
    known = bundle.text.words
    quoted = ", ".join(repr(phrase) for phrase in phrases)
    if known is None:
        return UnknownWordError(
            f"bundle {bundle.name}: its tokenizer does not know {quoted}; use other words"
        )
    near = [
        match
        for phrase in phrases
        for match in difflib.get_close_matches(phrase.lower(), known, n=1, cutoff=0.75)
    ]
    hint = f" (did you mean {', '.join(dict.fromkeys(near))}?)" if near else ""
    return UnknownWordError(
        f"bundle {bundle.name} does not know {quoted}{hint}; it knows: {', '.join(known)}"
    )


def _load(bundle: Bundle, name: str) -> Any:
    path: Path | None = bundle.tokenizers.get(name)
    if path is None:
        has = ", ".join(bundle.tokenizers) or "none"
        raise BundleError(
            f"bundle {bundle.name}: expected a {name} tokenizer to embed words, found {has}; "
            "make the prompt pack with the whole bundle and use --pack"
        )
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError("embedding words", "tokenizers", "cpu") from error
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise BundleError(f"{path}: no tokenizer file ({error})") from error
