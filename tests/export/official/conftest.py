"""The official vocabularies with their tokenizers, and small checkpoints with a preset for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from tests.export.official import small

from t2s_export.cli import export as export_group
from t2s_export.official.command import _command
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


@pytest.fixture(scope="module")
def checkpoints(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every family, in the formats of their authors."""
    folder = tmp_path_factory.mktemp("checkpoints")
    small.save_sam(folder / "sam.pth")
    small.save_detector(folder / "dino.pth")
    small.save_openai_clip(folder / "clip.pt")
    small.copy_vocabularies(folder, test_data)
    return folder


@pytest.fixture
def known_small() -> Iterator[None]:
    with small.known():
        yield


@pytest.fixture(scope="module")
def preset() -> Iterator[click.Command]:
    """``t2s-rt export small``."""
    command = _command(small.PRESET)
    export_group.add_command(command)
    yield command
    export_group.commands.pop(small.PRESET.name)
