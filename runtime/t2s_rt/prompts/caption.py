"""The detector's caption: phrases joined by full stops, and the masks that keep them apart.

Source: ``generate_masks_with_special_tokens_and_transfer_map`` of Grounding DINO
(IDEA-Research/GroundingDINO, ``models/GroundingDINO/bertwarper.py``, Apache-2.0), written
anew in numpy and compared with the original in the tests.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["SEPARATORS", "CaptionInputs", "caption_inputs", "join_caption"]

SEPARATORS = ("[CLS]", "[SEP]", ".", "?")
"""Tokens that end a phrase, in the order of the original package."""


class CaptionInputs(NamedTuple):
    """What the text encoder and the detector need beside token ids.

    Attributes:
        text_token_mask: bool [1, T], true for a real token (all of them: nothing is padded).
        self_attention_mask: bool [1, T, T], true where a token may attend to another.
        position_ids: int32 [1, T], place of each token within its own phrase.
    """

    text_token_mask: npt.NDArray[np.bool_]
    self_attention_mask: npt.NDArray[np.bool_]
    position_ids: npt.NDArray[np.int32]


def join_caption(phrases: Sequence[str]) -> str:
    """``["building", "Parking lot"]`` becomes ``"building . parking lot ."``.

    The final full stop is never left out: without it the original gives the last phrase no
    block of its own, so that its tokens attend to themselves only and all sit at position 0.
    """
    return "".join(f"{phrase.lower()} . " for phrase in phrases).rstrip()


def caption_inputs(
    token_ids: npt.ArrayLike | Sequence[int], special_ids: Collection[int]
) -> CaptionInputs:
    """Masks and positions of one tokenised caption, as Grounding DINO builds them.

    A phrase and the separator that ends it form one block: its tokens attend to each other and
    to nothing else, and positions count from 0 within it. A separator at the first or the last
    place ([CLS] and [SEP]) stands alone at position 0.

    Args:
        token_ids: [T] or [1, T], with [CLS] and [SEP].
        special_ids: ids of :data:`SEPARATORS`.

    Returns:
        Arrays with a leading axis of 1.

    Raises:
        ValueError: the ids are not one sequence.
    """
    ids = np.asarray(token_ids)
    if ids.ndim == 2 and ids.shape[0] == 1:
        ids = ids[0]
    if ids.ndim != 1:
        raise ValueError(f"expected token ids [T] or [1, T], found shape {ids.shape}")
    length = ids.shape[0]
    attention = np.eye(length, dtype=np.bool_)
    positions = np.zeros(length, dtype=np.int32)
    previous = 0
    for column in np.flatnonzero(np.isin(ids, list(special_ids))).tolist():
        if 0 < column < length - 1:
            block = slice(previous + 1, column + 1)
            attention[block, block] = True
            positions[block] = np.arange(column - previous)
        previous = column
    return CaptionInputs(np.ones((1, length), dtype=np.bool_), attention[None], positions[None])
