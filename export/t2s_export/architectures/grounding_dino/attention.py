"""Attention, feed-forward and perceptron blocks that several parts of the model share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.grounding_dino.folding import Foldable

if TYPE_CHECKING:
    from t2s_export.architectures.grounding_dino.geometry import FrameGeometry

__all__ = ["MASKED", "FeedForward", "Mlp", "MultiheadAttention", "attention_bias"]

MASKED = -1e4
"""Bias of a masked attention or class logit. Finite, so that no NaN arises and float16 holds it;
its softmax weight is exactly zero."""


def attention_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a mask (True: may attend) into an additive bias: 0 where True, else `MASKED`."""
    return (1.0 - mask.to(dtype)) * MASKED


class MultiheadAttention(Foldable):
    """`torch.nn.MultiheadAttention` by parameter names, batch first, with an additive bias.

    Args:
        width: channels of queries, keys, values and output.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads, self.head_width = width, heads, width // heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def derive(self, geometry: FrameGeometry) -> tuple[Tensor, ...]:
        """Projections with the softmax scale folded into the query rows."""
        scale = self.head_width**-0.5
        query, key, value = self.in_proj_weight.chunk(3)
        query_bias, key_bias, value_bias = self.in_proj_bias.chunk(3)
        return query * scale, query_bias * scale, key, key_bias, value, value_bias

    def _heads(self, tokens: Tensor, length: int) -> Tensor:
        return tokens.reshape(-1, length, self.heads, self.head_width).transpose(1, 2)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        geometry: FrameGeometry,
        query_length: int,
        key_length: int,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            query: ``[B, Q, D]``.
            key: ``[B, K, D]``; the same object as ``query`` for self-attention.
            value: ``[B, K, D]``.
            geometry: of the frame (part of the common signature of derived weights).
            query_length: Q, given so that exported graphs hold no shape arithmetic.
            key_length: K.
            bias: additive, broadcastable to ``[B, heads, Q, K]``, or None.

        Returns:
            ``[B, Q, D]``.
        """
        w_q, b_q, w_k, b_k, w_v, b_v = self.derived(geometry)
        queries = self._heads(F.linear(query, w_q, b_q), query_length)
        keys = self._heads(F.linear(key, w_k, b_k), key_length)
        values = self._heads(F.linear(value, w_v, b_v), key_length)
        scores = torch.matmul(queries, keys.transpose(-1, -2))
        if bias is not None:
            scores += bias
        mixed = torch.matmul(scores.softmax(dim=-1), values)
        mixed = mixed.transpose(1, 2).reshape(-1, query_length, self.width)
        output: Tensor = self.out_proj(mixed)
        return output


class FeedForward(nn.Module):
    """The two linear layers of a transformer layer, to be inherited: ``linear1``, ``linear2``."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)

    def feed_forward(self, tokens: Tensor) -> Tensor:
        """Apply both layers with a ReLU between."""
        output: Tensor = self.linear2(F.relu(self.linear1(tokens), inplace=True))
        return output


class Mlp(nn.Module):
    """Linear layers with ReLUs between, under the names ``layers.0``, ``layers.1`` and so on."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[..., first width]`` to ``[..., last width]``."""
        for layer in self.layers[:-1]:
            tokens = F.relu(layer(tokens), inplace=True)
        output: Tensor = self.layers[-1](tokens)
        return output
