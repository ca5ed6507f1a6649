"""Damaged, hostile and unfit packs: refused by name, whatever they hold."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save

from t2s_rt.errors import (
    PackError,
)
from t2s_rt.prompts import (
    decode_pack,
)


def _refused_or_read(data: bytes) -> None:
    try:
        decode_pack(data)
    except PackError as error:
        assert str(error)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_packs_give_pack_errors_only(data: st.DataObject) -> None:
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["flip", "cut", "insert", "end"]))
        if how == "flip":
            content[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del content[at : at + data.draw(st.integers(1, 200))]
        elif how == "insert":
            content[at:at] = data.draw(st.binary(max_size=8))
        else:
            del content[at:]
        if not content:
            break
    _refused_or_read(bytes(content))


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_no_pack(data: bytes) -> None:
    with pytest.raises(PackError):
        decode_pack(data)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_metadata_gives_pack_errors_only(data: st.DataObject) -> None:
    """Well-formed safetensors whose JSON says anything at all."""
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
        max_leaves=4,
    )
    meta = json.loads(META)
    place: Any = meta
    while True:
        key = data.draw(
            st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place))))
        )
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(values)
            break
        place = inner
    _refused_or_read(save(TENSORS, {"t2s_prompt_pack": json.dumps(meta)}))


TENSORS: dict[str, NDArray[Any]] = {
    "token_ids": np.array([2, 8, 9, 4, 3], np.int32),
    "text_features": np.ones((5, 4), np.float32),
    "clip": np.tile(np.array([0.6, 0.8, 0], np.float16), (4, 1)),
}
META = json.dumps(
    {
        "schema_version": 1,
        "bundle": "tiny",
        "fingerprint": "ab" * 32,
        "caption": "low road .",
        "special_ids": [2, 3, 4, 5],
        "templates": ["{}"],
        "logit_scale": 20.0,
        "other_words": ["water"],
        "classes": [
            {
                "name": "low road",
                "synonyms": ["x"],
                "asked": 1,
                "colour": [1, 2, 3],
                "kind": "both",
                "thresholds": {"dense": 0.5},
                "spans": [[1, 3], [1, 2]],
            }
        ],
    }
)
GOOD = save(TENSORS, {"t2s_prompt_pack": META})


def test_the_good_example_is_read() -> None:
    pack = decode_pack(GOOD)
    assert pack.classes[0].phrases == ("low road", "x")
    assert pack.spans == (((1, 3), (1, 2)),)


def _with(meta: dict[str, Any] | None = None, **tensors: NDArray[Any] | None) -> bytes:
    kept = {name: array for name, array in {**TENSORS, **tensors}.items() if array is not None}
    return save(kept, {"t2s_prompt_pack": json.dumps({**json.loads(META), **(meta or {})})})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_with({"schema_version": 2}), "schema version 2, but .* reads version 1"),
        (save(TENSORS), "t2s_prompt_pack is missing"),
        (save(TENSORS, {"t2s_prompt_pack": "[]"}), "expected an object"),
        (save(TENSORS, {"t2s_prompt_pack": "[" * 100_000}), "expected a JSON object"),
        (_with(clip=None), "expected the tensors token_ids, text_features, clip"),
        (_with(more=np.zeros(1, np.float32)), "expected the tensors"),
        (_with(token_ids=np.zeros(5, np.int64)), "token_ids: expected I32"),
        (_with(clip=np.zeros((3, 3), np.float16)), "expected 4 CLIP embeddings, found 3"),
        (_with(clip=np.zeros((4, 3), np.float16)), "unit length"),
        (_with(clip=np.full((4, 3), np.inf, np.float16)), "finite"),
        (_with(clip=np.full((4, 3), np.nan, np.float16)), "finite"),
        (_with(text_features=np.full((5, 4), np.nan, np.float32)), "finite"),
        (_with(text_features=np.ones((4, 4), np.float32)), "text_features: expected float32"),
        (_with(token_ids=np.zeros(5000, np.int32)), "at most 4096 tokens"),
        (_with({"classes": []}), "at least one class|1 to 254"),
        (_with({"fingerprint": "zz"}), "fingerprint"),
    ],
)
def test_unfit_packs_are_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(PackError, match=message):
        decode_pack(data)


@pytest.mark.parametrize(
    "span", [[0, 1], [3, 3], [3, 2], [4, 6], [-1, 2], [1, 5], [1], ["a", 2], [1.0, 2]]
)
def test_spans_outside_the_caption_are_refused(span: list[Any]) -> None:
    meta = json.loads(META)
    meta["classes"][0]["spans"][0] = span
    with pytest.raises(PackError, match="span"):
        decode_pack(_with(meta))


def test_an_empty_tensor_with_absurd_sizes_allocates_nothing() -> None:
    header = json.dumps(
        {
            "__metadata__": {"t2s_prompt_pack": META},
            "token_ids": {"dtype": "I32", "shape": [0], "data_offsets": [0, 0]},
            "text_features": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]},
            "clip": {"dtype": "F16", "shape": [2**62, 0], "data_offsets": [0, 0]},
        }
    ).encode()
    with pytest.raises(PackError):
        decode_pack(len(header).to_bytes(8, "little") + header)
