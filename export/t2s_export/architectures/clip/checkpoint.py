"""The names of CLIP's tensors in the files of OpenAI and of open_clip, which are the same.

Dropped, because no forward reads them:

* ``input_resolution``, ``context_length``, ``vocab_size``: numbers beside the tensors in OpenAI's
  archives, which the shapes say too;
* ``attn_mask``: the causal mask, a constant;
* ``logit_bias``: of open_clip's sigmoid loss; no embedding depends on it.
"""

from __future__ import annotations

from t2s_export.architectures.naming import Place

__all__ = ["SCALARS", "official_place"]

SCALARS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""What OpenAI's archives hold beside the parameters, and nobody else's files."""
_DROPPED = SCALARS | {"attn_mask", "logit_bias"}


def official_place(stored: str) -> Place | None:
    """The place of a tensor of a CLIP by OpenAI's names."""
    return None if stored.rpartition(".")[2] in _DROPPED else Place(stored)
