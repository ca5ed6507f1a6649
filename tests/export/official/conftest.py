"""The official vocabularies and the tokenizers made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from t2s_export.official.vocabularies import bert_tokenizer, clip_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BERT_ROWS, CLIP_ROWS = 30522, 49408
"""Word embeddings of the official models."""


@pytest.fixture(scope="session")
def bert_file(test_data: Path) -> Path:
    return test_data / "tokenizers" / "bert" / "vocab.txt"


@pytest.fixture(scope="session")
def clip_file(test_data: Path) -> Path:
    return test_data / "tokenizers" / "clip" / "bpe_simple_vocab_16e6.txt.gz"


@pytest.fixture(scope="session")
def bert(bert_file: Path) -> Tokenizer:
    return bert_tokenizer(bert_file, BERT_ROWS)


@pytest.fixture(scope="session")
def clip(clip_file: Path) -> Tokenizer:
    return clip_tokenizer(clip_file, CLIP_ROWS)


@pytest.fixture(scope="session")
def bert_oracle(bert_file: Path) -> Any:
    """BERT's own algorithm in Python, as transformers keeps it."""
    module = pytest.importorskip(
        "transformers.models.bert.tokenization_bert_legacy", reason="an oracle of tests/oracles"
    )
    return module.BertTokenizerLegacy(str(bert_file))
