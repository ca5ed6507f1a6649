"""The official checkpoints' names.

Our parameters carry the names of the official checkpoints. What the checkpoints hold beyond them:

* *dropped*: ``relative_position_index`` and ``position_ids`` (constants), ``label_enc`` (a training
  aid), ``bert.pooler`` and ``class_embed`` (never used);
* *aliases*: the decoder layers share one box head, which the checkpoints hold once per layer and
  again under ``transformer.decoder.bbox_embed``. We keep ``bbox_embed.0``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from t2s_rt.errors import UsageError

__all__ = ["from_official"]

_DROPPED = re.compile(
    r"relative_position_index$|^label_enc\.|^bert\.pooler\.|position_ids$|class_embed\."
)
_ALIAS = re.compile(r"^(?:transformer\.decoder\.)?bbox_embed\.\d+\.")


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate an official state dict to ours.

    Args:
        state: as stored under "model" in the official files, with or without the prefix
            ``module.`` of distributed training.

    Returns:
        what `GroundingDino.load_state_dict` takes.

    Raises:
        UsageError: the box heads of the decoder layers differ, so that one cannot stand for all.
    """
    result: dict[str, Tensor] = {}
    for stored, value in state.items():
        name = stored.removeprefix("module.")
        if _DROPPED.search(name):
            continue
        name = _ALIAS.sub("bbox_embed.0.", name)
        known = result.setdefault(name, value)
        if known is not value and not _same(known, value):
            raise UsageError(
                f"expected all decoder layers to share one box head, but {stored!r} differs from "
                "the first layer's; this is no released Grounding DINO checkpoint"
            )
    return result


def _same(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    return first.is_meta or second.is_meta or torch.equal(first, second)
