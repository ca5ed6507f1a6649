"""Caption masks against Grounding DINO's own function.

The function below is the original's text, quoted for comparison only: IDEA-Research/GroundingDINO
``bertwarper.py`` (Apache-2.0), with torch's names replaced by numpy's line by line. Where the
package is installed, the original itself is asked.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from t2s_rt.prompts import caption_inputs, join_caption

CLS, SEP, STOP, ASK = 101, 102, 1012, 1029
SPECIAL = (CLS, SEP, STOP, ASK)


def original(input_ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """``generate_masks_with_special_tokens_and_transfer_map``, line by line, one row."""
    bs, num_token = input_ids.shape
    special_tokens_mask = np.zeros((bs, num_token), dtype=bool)
    for special_token in SPECIAL:
        special_tokens_mask |= input_ids == special_token
    idxs = np.argwhere(special_tokens_mask)
    attention_mask = np.repeat(np.eye(num_token, dtype=bool)[None], bs, axis=0)
    position_ids = np.zeros((bs, num_token))
    previous_col = 0
    for i in range(idxs.shape[0]):
        row, col = idxs[i]
        if (col == 0) or (col == num_token - 1):
            attention_mask[row, col, col] = True
            position_ids[row, col] = 0
        else:
            attention_mask[row, previous_col + 1 : col + 1, previous_col + 1 : col + 1] = True
            position_ids[row, previous_col + 1 : col + 1] = np.arange(0, col - previous_col)
        previous_col = col
    return attention_mask, position_ids


IDS = st.lists(st.sampled_from((*SPECIAL, 7, 8, 9)), min_size=1, max_size=24)


@given(IDS)
def test_equal_to_the_original(ids: list[int]) -> None:
    attention, positions = original(np.array([ids]))
    found = caption_inputs(ids, SPECIAL)
    np.testing.assert_array_equal(found.self_attention_mask, attention)
    np.testing.assert_array_equal(found.position_ids, positions)
    assert found.text_token_mask.all() and found.text_token_mask.shape == (1, len(ids))


def test_equal_to_the_installed_package() -> None:
    """The original itself, on captions as its tokenizer makes them: [CLS] ... . [SEP]."""
    torch = pytest.importorskip("torch", exc_type=ImportError)
    oracle = importlib.import_module("tests.oracles.grounding_dino_original")
    random = np.random.default_rng(0)
    for _ in range(20):
        words = random.choice([7, 8, 9, STOP, ASK], size=int(random.integers(1, 20)))
        ids = [CLS, *words.tolist(), STOP, SEP]
        attention, positions = oracle.text_masks(torch.tensor([ids]))
        found = caption_inputs(ids, SPECIAL)
        np.testing.assert_array_equal(found.self_attention_mask, attention.numpy())
        np.testing.assert_array_equal(found.position_ids, positions.numpy())


def test_known_example() -> None:
    #       [CLS] parking lot  .   road  .  [SEP]
    found = caption_inputs([CLS, 7, 8, STOP, 9, STOP, SEP], SPECIAL)
    assert found.position_ids.tolist() == [[0, 0, 1, 2, 0, 1, 0]]
    blocks = np.array([0, 1, 1, 1, 2, 2, 3])
    np.testing.assert_array_equal(found.self_attention_mask[0], blocks[:, None] == blocks[None])
    assert found.position_ids.dtype == np.int32


def test_without_the_last_full_stop_the_last_phrase_falls_apart() -> None:
    """The original's quirk, and why :func:`join_caption` always ends with a full stop."""
    found = caption_inputs([CLS, 7, STOP, 8, 9, SEP], SPECIAL)
    np.testing.assert_array_equal(found.self_attention_mask[0, 3:5, 3:5], np.eye(2, dtype=bool))


def test_caption_text() -> None:
    assert join_caption(["Building", "parking lot"]) == "building . parking lot ."


def test_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected token ids \[T\]"):
        caption_inputs(np.zeros((2, 3)), SPECIAL)
