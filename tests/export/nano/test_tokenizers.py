"""Nano's tokenizer files: whole words, real BERT and CLIP behaviour, parity with transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2s_export.nano.captions import encode_caption, special_ids
from t2s_export.nano.labels import encode_texts
from t2s_export.nano.tokenizers_ import (
    BERT_SPECIALS,
    CLIP_END,
    CLIP_START,
    bert_vocabulary,
    byte_pair_vocabulary,
    clip_tokenizer,
    detector_tokenizer,
    write_tokenizers,
)
from t2s_export.nano.vocabulary import TRUTH_CLASSES, known_phrases, known_words
from t2s_rt.synthetic import CLASSES

TEXTS = [
    "building . low vegetation . parking lot .",
    "Buildings, ROADS and   trees?",
    "an aerial photo of bare ground",
    "tennis court. Café-car",
]


def test_truth_classes_are_the_generator_s() -> None:
    assert [(c.id, c.name) for c in TRUTH_CLASSES] == [(c.id, c.name) for c in CLASSES[1:]]


def test_every_known_word_is_one_token() -> None:
    bert, clip = detector_tokenizer(), clip_tokenizer()
    for word in known_words():
        assert bert.encode(word).tokens == ["[CLS]", word, "[SEP]"]
        assert clip.encode(word.upper()).tokens == [CLIP_START, word + "</w>", CLIP_END]


def test_unknown_words_and_stops() -> None:
    encoded = detector_tokenizer().encode("building. zebra")
    assert encoded.tokens == ["[CLS]", "building", ".", "[UNK]", "[SEP]"]
    vocabulary = detector_tokenizer().get_vocab()
    assert [vocabulary[t] for t in ("[CLS]", "[SEP]", ".", "?")] == list(special_ids())


def test_clip_end_of_text_has_the_highest_id_and_empty_text_has_two_tokens() -> None:
    tokenizer = clip_tokenizer()
    start, end = tokenizer.encode("").ids
    assert end == tokenizer.get_vocab_size() - 1 == start + 1


def test_training_ids_are_the_tokenizers_ids() -> None:
    bert, clip = detector_tokenizer(), clip_tokenizer()
    phrases = list(known_phrases())
    caption = encode_caption((p, 0) for p in phrases)
    assert bert.encode(" . ".join(phrases) + " .").ids == list(caption.ids)
    for (start, end), phrase in zip(caption.spans, phrases, strict=True):
        assert bert.decode(list(caption.ids[start:end])) == phrase
    rows = encode_texts(["", *phrases])
    for row, phrase in zip(rows.tolist(), ["", *phrases], strict=True):
        ids = clip.encode(phrase).ids
        assert row[: len(ids)] == ids and not any(row[len(ids) :])


def test_files_are_the_same_on_every_run(tmp_path: Path) -> None:
    first = [p.read_bytes() for p in write_tokenizers(tmp_path / "a")]
    assert first == [p.read_bytes() for p in write_tokenizers(tmp_path / "b")]
    assert json.loads(first[0])["model"]["type"] == "WordPiece"
    assert json.loads(first[1])["model"]["type"] == "BPE"


def test_as_transformers_bert_tokenizer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="an oracle of tests/oracles")
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(bert_vocabulary()) + "\n", encoding="utf-8")
    oracle = transformers.BertTokenizer(str(vocabulary), do_lower_case=True)
    for text in TEXTS:
        assert detector_tokenizer().encode(text).ids == oracle(text)["input_ids"]


def test_as_transformers_clip_tokenizer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="an oracle of tests/oracles")
    vocabulary, merges = byte_pair_vocabulary(known_words())
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (tmp_path / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    oracle = transformers.CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    for text in TEXTS:
        assert clip_tokenizer().encode(text).ids == oracle(text)["input_ids"]


def test_specials_come_first() -> None:
    assert list(bert_vocabulary())[: len(BERT_SPECIALS)] == list(BERT_SPECIALS)
    assert bert_vocabulary()["[PAD]"] == 0
