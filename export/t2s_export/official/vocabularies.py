"""The two official vocabularies as the tokenizers of a bundle.

``bert-base-uncased``'s ``vocab.txt`` gives Grounding DINO's WordPiece tokenizer, CLIP's
``bpe_simple_vocab_16e6.txt.gz`` the byte-pair tokenizer of every CLIP that the project exports.

Two things of CLIP's own ``SimpleTokenizer`` are left out, for they need libraries that do not fly
and touch no word that a prompt is made of: *ftfy*, which mends broken encodings and replaces curly
quotes, ligatures and full-width letters by plain ones; and HTML entities (``&amp;``), which are
not decoded. Where a text holds neither, the ids are the same.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from t2s_export.errors import CheckpointError
from t2s_export.tokenizer_files import (
    BERT_MARKERS,
    CLIP_END,
    CLIP_START,
    END_OF_WORD,
    byte_alphabet,
    byte_pair_tokenizer,
    word_piece_tokenizer,
)
from t2s_rt.prompts.caption import SEPARATORS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["bert_tokenizer", "clip_tokenizer", "read_bert", "read_merges"]

_MAX_BYTES = 64 << 20
"""Of a vocabulary as text; the official ones have 0.2 and 3.2 MB."""
_GZIP = b"\x1f\x8b"
_MERGES = 49152 - 256 - 2
"""Merges that CLIP takes out of its file, which holds five times as many."""


def bert_tokenizer(path: Path, rows: int) -> Tokenizer:
    """Grounding DINO's tokenizer.

    Args:
        path: ``vocab.txt`` of bert-base-uncased.
        rows: of the model's word embedding; the vocabulary must have as many tokens.

    Raises:
        CheckpointError: the file is missing, no such vocabulary, or of another size.
    """
    vocabulary = read_bert(path)
    if len(vocabulary) != rows:
        raise CheckpointError(
            f"{path}: expected {rows} tokens, as many as the detector has word embeddings, found "
            f"{len(vocabulary)}; the official detectors use bert-base-uncased: "
            "t2s-rt models pull bert-base-uncased-vocab"
        )
    extra = ("[MASK]",) if "[MASK]" in vocabulary else ()
    return word_piece_tokenizer(vocabulary, (*BERT_MARKERS, *extra))


def clip_tokenizer(path: Path, rows: int) -> Tokenizer:
    """CLIP's tokenizer.

    Args:
        path: ``bpe_simple_vocab_16e6.txt.gz``, or the same file unpacked.
        rows: of the model's token embedding; the vocabulary must have as many tokens.

    Raises:
        CheckpointError: the file is missing, no such vocabulary, or of another size.
    """
    merges = read_merges(path)
    alphabet = byte_alphabet()
    tokens = [*alphabet, *(c + END_OF_WORD for c in alphabet), *(a + b for a, b in merges)]
    tokens += [CLIP_START, CLIP_END]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    if not len(tokens) == len(vocabulary) == rows:
        raise CheckpointError(
            f"{path}: expected {rows} different tokens, as many as CLIP has embeddings, found "
            f"{len(vocabulary)} of {len(tokens)}; every official CLIP uses one vocabulary: "
            "t2s-rt models pull bpe_simple_vocab_16e6"
        )
    return byte_pair_tokenizer(vocabulary, merges)


def read_bert(path: Path) -> dict[str, int]:
    """A WordPiece vocabulary, one token a line: token → line.

    Raises:
        CheckpointError: the file is missing or holds something else.
    """
    # not splitlines(): some tokens are line breaks to Unicode
    lines = _text(path).replace("\r\n", "\n").removesuffix("\n").split("\n")
    vocabulary = {token: i for i, token in enumerate(lines)}
    missing = [token for token in (*BERT_MARKERS, *SEPARATORS) if token not in vocabulary]
    if missing or len(vocabulary) != len(lines):
        found = f"no {', '.join(missing)}" if missing else "some tokens twice"
        raise CheckpointError(
            f"{path}: expected the vocabulary of bert-base-uncased, one token a line, found "
            f"{found}; get it with: t2s-rt models pull bert-base-uncased-vocab"
        )
    return vocabulary


def read_merges(path: Path) -> list[tuple[str, str]]:
    """CLIP's byte-pair merges in rank order.

    Raises:
        CheckpointError: the file is missing or holds something else.
    """
    lines = _text(path).split("\n")[1 : 1 + _MERGES]
    merges = []
    for line in lines:
        first, _, second = line.partition(" ")
        if not first or not second or " " in second:
            break
        merges.append((first, second))
    if len(merges) != _MERGES:
        raise CheckpointError(
            f"{path}: expected a header and {_MERGES} lines of two tokens each, found "
            f"{len(merges)} such lines; get it with: t2s-rt models pull bpe_simple_vocab_16e6"
        )
    return merges


def _text(path: Path) -> str:
    """The text of a vocabulary, unpacked if need be; bounded, whatever the file says."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if data.startswith(_GZIP):
            unpacker = zlib.decompressobj(wbits=31)
            data = unpacker.decompress(data, _MAX_BYTES + 1)
            if len(data) <= _MAX_BYTES and not unpacker.eof:
                raise CheckpointError(
                    f"{path}: expected a whole gzip file, found one whose end is missing; "
                    "download it again, then `t2s-rt models verify`"
                )
        text = data[: _MAX_BYTES + 1].decode("utf-8")
    except (OSError, zlib.error, UnicodeDecodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else cause
        raise CheckpointError(
            f"{path}: expected a vocabulary as UTF-8 text, plain or gzip, but it cannot be read "
            f"({reason}); `t2s-rt models pull` fetches the official ones"
        ) from cause
    if len(data) > _MAX_BYTES:
        raise CheckpointError(
            f"{path}: expected a vocabulary, found more than {_MAX_BYTES >> 20} MiB of text; "
            "name the official file"
        )
    return text
