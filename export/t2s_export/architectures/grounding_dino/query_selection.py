"""Language-guided query selection: the proposals that fit the caption best.

Also the contrastive class head, which has no parameters: the logit of a query and a text token is
their inner product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from t2s_export.architectures.grounding_dino.attention import MASKED, Mlp
from t2s_export.architectures.grounding_dino.geometry import FrameGeometry

__all__ = ["Selection", "contrastive_logits", "proposal_scores", "select_queries"]


def contrastive_logits(queries: Tensor, text: Tensor, token_bias: Tensor) -> Tensor:
    """Class logits of each query and text token.

    Args:
        queries: ``[B, Q, D]``.
        text: ``[B, T, D]``.
        token_bias: ``[B or 1, 1, 1, T]``, `MASKED` for padding.

    Returns:
        ``[B, Q, T]``; padding has about `MASKED`, never infinity.
    """
    return torch.matmul(queries, text.transpose(1, 2)) + token_bias.squeeze(1)


@dataclass(frozen=True)
class Selection:
    """What the query selection gives to the decoder, and to the losses in training.

    Attributes:
        reference: float32 ``[B, Q, 4]``, cx cy w h in 0..1 of the frame, detached.
        index: int64 ``[B, Q]``, the proposals kept, best first.
        logits: ``[B, S, T]`` of all proposals.
        boxes: float32 ``[B, S, 4]`` of all proposals, or None outside training.
    """

    reference: Tensor
    index: Tensor
    logits: Tensor
    boxes: Tensor | None


def proposal_scores(logits: Tensor, geometry: FrameGeometry, exclude_invalid: bool) -> Tensor:
    """What proposals are ranked by: their highest logit, ``[B, S]``, detached.

    Args:
        logits: ``[B, S, T]``.
        geometry: of the frame.
        exclude_invalid: put proposals that leave the frame last.
    """
    scores = logits.detach().amax(dim=-1)
    if exclude_invalid:
        scores = scores + (1.0 - geometry.valid.squeeze(-1)) * MASKED
    return scores


def select_queries(
    tokens: Tensor,
    text: Tensor,
    token_bias: Tensor,
    box_head: Mlp,
    geometry: FrameGeometry,
    queries: int,
    exclude_invalid: bool,
    dense: bool,
    selected: Tensor | None,
) -> Selection:
    """Keep the proposals with the highest logit over the caption's tokens.

    Args:
        tokens: ``[B, S, D]``, normalised output tokens of the encoder.
        text: ``[B, T, D]``.
        token_bias: ``[B or 1, 1, 1, T]``.
        box_head: predicts the change of a proposal in logit space.
        geometry: of the frame.
        queries: Q.
        exclude_invalid: never keep a proposal that leaves the frame.
        dense: predict the boxes of all proposals, else only of those kept.
        selected: int64 ``[B, Q]`` to use these proposals instead, for comparisons: neighbouring
            scores differ by so little that rounding swaps rows.
    """
    logits = contrastive_logits(tokens, text, token_bias)
    if selected is None:
        scores = proposal_scores(logits, geometry, exclude_invalid)
        selected = torch.topk(scores, queries, dim=1)[1]
    index = selected.unsqueeze(-1)
    boxes: Tensor | None = None
    if dense:
        deltas = box_head(tokens).float() + geometry.proposals
        boxes = deltas.sigmoid()
        reference = boxes.detach().gather(1, index.repeat(1, 1, 4))
    else:
        kept = tokens.gather(1, index.repeat(1, 1, tokens.shape[-1]))
        proposals = geometry.proposals.index_select(0, selected.reshape(-1))
        deltas = box_head(kept).float() + proposals.reshape(-1, queries, 4)
        reference = deltas.sigmoid().detach()
    return Selection(reference, selected, logits, boxes)
