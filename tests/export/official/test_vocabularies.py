"""Tokenizers from the official vocabularies, against the tokenizers of those who published them."""

from __future__ import annotations

import gzip
import html
import importlib
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.export.official.conftest import BERT_ROWS, CLIP_ROWS
from tests.oracles import originals

from t2s_export.errors import CheckpointError
from t2s_export.official.presets import CLIP_OTHER_WORDS, CLIP_TEMPLATES
from t2s_export.official.vocabularies import bert_tokenizer, clip_tokenizer
from t2s_rt.prompts.bank import load_bank
from t2s_rt.prompts.caption import join_caption

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXTS = (
    "",
    "building",
    "Low-Vegetation, IMPERVIOUS surfaces",
    "the farmer's field, we're don't I'LL they've he'd I'm",
    "house no. 12345, 50% of 3.14 m² (2023)",
    "Café in a straße, naïve façade, Ångström, São Paulo",
    "建物 道路 水域",
    "здание, дорога; δρόμος",
    "हिन्दी ไทย العربية עברית 한국어 かな",
    "🏠 house 🚗car🌳",
    'a_b c/d e\\f g|h <i> {j} [k] ~l^ `m` "n" #o @p $q &r *s +t =u',
    "  tabs\tand \n breaks  ",
    "a" * 150,
    "antidisestablishmentarianism photovoltaics orthomosaic",
    "İstanbul ΟΔΟΣ ſ",
)


@pytest.fixture(scope="session")
def clip_oracle(clip_file: Path) -> Any:
    """open_clip's copy of CLIP's own tokenizer, over the file of the test data."""
    originals.open_clip()
    return importlib.import_module("open_clip.tokenizer").SimpleTokenizer(str(clip_file))


def _phrases() -> list[str]:
    return [phrase for item in load_bank().values() for phrase in item.phrases]


def _clip_ids(oracle: Any, text: str) -> list[int]:
    return [oracle.sot_token_id, *oracle.encode(text), oracle.eot_token_id]


def test_bert_gives_the_original_s_ids(bert: Tokenizer, bert_oracle: Any) -> None:
    phrases = _phrases()
    captions = [join_caption(phrases), join_caption(phrases[:1]), *TEXTS, *phrases]
    for text in (caption.lower() for caption in captions):
        assert bert.encode(text).ids == bert_oracle(text)["input_ids"], text


def test_bert_is_what_grounding_dino_loads(bert: Tokenizer, bert_file: Path) -> None:
    # AutoTokenizer, which the original calls, gives this class for bert-base-uncased
    transformers = pytest.importorskip("transformers", reason="an oracle of tests/oracles")
    oracle = transformers.BertTokenizer(str(bert_file))
    for text in (*TEXTS, "[MASK] of [SEP] and [CLS]"):
        assert bert.encode(text).ids == oracle(text)["input_ids"], text


def test_bert_s_separators_have_the_ids_of_the_original(bert: Tokenizer) -> None:
    assert [bert.token_to_id(t) for t in ("[CLS]", "[SEP]", ".", "?")] == [101, 102, 1012, 1029]


def test_clip_gives_the_original_s_ids(clip: Tokenizer, clip_oracle: Any) -> None:
    words = [*_phrases(), *CLIP_OTHER_WORDS, ""]
    sentences = [template.replace("{}", w) for template in CLIP_TEMPLATES for w in words]
    for text in (*TEXTS, *words, *sentences):
        assert clip.encode(text.lower()).ids == _clip_ids(clip_oracle, text), text


def test_clip_s_ends_are_the_last_ids(clip: Tokenizer) -> None:
    assert clip.encode("").ids == [CLIP_ROWS - 2, CLIP_ROWS - 1]


def _phrase_like(text: str) -> str:
    """What prompts are after the grammar: composed, one space between words."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _settled(character: str) -> bool:
    """In Unicode for so long that every library's tables agree, and printable."""
    return character.isprintable() and unicodedata.ucd_3_2_0.category(character) != "Cn"


PHRASES = st.text(st.characters(codec="utf-8").filter(_settled), max_size=40).map(_phrase_like)


@settings(max_examples=400, deadline=None)
@given(PHRASES.map(str.lower))
def test_bert_on_any_text(bert: Tokenizer, bert_oracle: Any, text: str) -> None:
    assert bert.encode(text).ids == bert_oracle(text)["input_ids"]


@settings(max_examples=400, deadline=None)
@given(PHRASES)
def test_clip_on_any_text(clip: Tokenizer, clip_oracle: Any, text: str) -> None:
    ftfy = importlib.import_module("ftfy")
    # what the module says is left out: mending by ftfy, HTML entities
    assume(ftfy.fix_text(text) == text and html.unescape(text) == text)
    assert clip.encode(text.lower()).ids == _clip_ids(clip_oracle, text)


def test_what_ftfy_and_html_change_is_left_as_it_is(clip: Tokenizer, clip_oracle: Any) -> None:
    for text in ("ﬁeld", "“field”", "fields &amp; trees"):
        assert clip.encode(text).ids != _clip_ids(clip_oracle, text)


def test_an_unpacked_vocabulary_is_the_same(
    clip: Tokenizer, clip_file: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "bpe_simple_vocab_16e6.txt"
    plain.write_bytes(gzip.decompress(clip_file.read_bytes()))
    assert clip_tokenizer(plain, CLIP_ROWS).to_str() == clip.to_str()


def test_windows_line_breaks_change_nothing(
    bert: Tokenizer, bert_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "vocab.txt"
    other.write_bytes(bert_file.read_bytes().replace(b"\n", b"\r\n"))
    assert bert_tokenizer(other, BERT_ROWS).to_str() == bert.to_str()


@pytest.mark.parametrize("content", [b"", b"building\nroad\n", b"\xff\xfe\0", b"\x1f\x8bbroken"])
def test_other_files_are_no_vocabulary(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    for read in (bert_tokenizer, clip_tokenizer):
        with pytest.raises(CheckpointError, match=r"vocab\.txt: expected .* found|cannot be read"):
            read(path, 10)


def test_missing_and_truncated_files(clip_file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        bert_tokenizer(tmp_path / "none.txt", BERT_ROWS)
    half = tmp_path / "half.txt.gz"
    half.write_bytes(clip_file.read_bytes()[:600_000])
    with pytest.raises(CheckpointError, match="whose end is missing"):
        clip_tokenizer(half, CLIP_ROWS)


def test_a_packed_flood_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "flood.txt.gz"
    path.write_bytes(gzip.compress(b"a" * (65 << 20)))
    with pytest.raises(CheckpointError, match="more than 64 MiB"):
        clip_tokenizer(path, CLIP_ROWS)


def test_vocabularies_of_other_sizes_are_refused(bert_file: Path, clip_file: Path) -> None:
    with pytest.raises(CheckpointError, match="expected 28996 tokens.*found 30522"):
        bert_tokenizer(bert_file, 28996)
    with pytest.raises(CheckpointError, match="expected 49410 different tokens"):
        clip_tokenizer(clip_file, 49410)
