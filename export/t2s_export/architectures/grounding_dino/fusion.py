"""Bi-directional attention between image and text tokens, re-associated for short texts.

The original projects all S image tokens to queries and values and attends over T text tokens. T is
far smaller than S, so here the projections are multiplied together first and applied to the text
side: every product with the image tokens is one matrix product of inner size D.

With per-head projections q(v) = v Wq + bq, k(t) = t Wk + bk, and so on:

* scores ``q(v) . k(t) = v . u(t) + c(t)`` with ``u(t) = k(t) Wq'`` and ``c(t) = k(t) . bq``;
* image update ``sum_t p(t) (vl(t) Wo')``, with ``vl(t) Wo'`` computed once per text token;
* text update ``(sum_s p(s) v_s) Wv Wo'``: the sum over image tokens first (its weights sum to 1).

The original's clamps at +-50000 and the subtraction of the global maximum cancel in the softmax.
Source: Liu et al. 2023, "Grounding DINO", arXiv:2303.05499, after GLIP, arXiv:2112.03857.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2s_export.architectures.grounding_dino.config import GroundingDinoConfig
from t2s_export.architectures.grounding_dino.folding import Foldable
from t2s_export.architectures.grounding_dino.geometry import FrameGeometry

__all__ = ["FusionLayer"]

_OFFICIAL_GAIN = 1e-4


class BiAttentionWeights(nn.Module):
    """The parameters of the bi-directional attention; `FusionLayer` computes with them."""

    def __init__(self, width: int, embed: int) -> None:
        super().__init__()
        self.v_proj = nn.Linear(width, embed)
        self.l_proj = nn.Linear(width, embed)
        self.values_v_proj = nn.Linear(width, embed)
        self.values_l_proj = nn.Linear(width, embed)
        self.out_v_proj = nn.Linear(embed, width)
        self.out_l_proj = nn.Linear(embed, width)
        for layer in self.children():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)


class FusionLayer(Foldable):
    """One exchange between image and text tokens."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        width, embed = config.d_model, config.half_ffn_width
        self.width, self.heads, self.head_width = (
            width,
            config.half_heads,
            embed // config.half_heads,
        )
        self.layer_norm_v = nn.LayerNorm(width)
        self.layer_norm_l = nn.LayerNorm(width)
        self.attn = BiAttentionWeights(width, embed)
        self.gamma_v = nn.Parameter(torch.full((width,), _OFFICIAL_GAIN))
        self.gamma_l = nn.Parameter(torch.full((width,), _OFFICIAL_GAIN))

    def derive(self, geometry: FrameGeometry) -> tuple[Tensor, ...]:
        """Multiply the projections together, per head, gains and softmax scale included."""
        attn, heads, inner, width = self.attn, self.heads, self.head_width, self.width

        def split(layer: nn.Linear) -> tuple[Tensor, Tensor]:
            """Weight ``[heads, inner, D]`` and bias ``[heads, 1, inner]`` of an input layer."""
            return layer.weight.view(heads, inner, width), layer.bias.view(heads, 1, inner)

        w_query, b_query = split(attn.v_proj)
        w_query, b_query = w_query * inner**-0.5, b_query * inner**-0.5
        w_key, b_key = split(attn.l_proj)
        w_image, b_image = split(attn.values_v_proj)
        w_text, b_text = split(attn.values_l_proj)
        # output layers as [heads, inner, D], with the gain of each channel
        to_image = (attn.out_v_proj.weight.view(width, heads, inner)).permute(1, 2, 0)
        to_image = to_image * self.gamma_v
        to_text = (attn.out_l_proj.weight.view(width, heads, inner)).permute(1, 2, 0)
        to_text = to_text * self.gamma_l
        key_t, query_bias_t = w_key.transpose(1, 2), b_query.transpose(1, 2)
        return (
            torch.matmul(key_t, w_query),  # u(t): [heads, D, D]
            torch.matmul(b_key, w_query),  # [heads, 1, D]
            torch.matmul(key_t, query_bias_t),  # c(t): [heads, D, 1]
            torch.matmul(b_key, query_bias_t),  # [heads, 1, 1]
            torch.matmul(w_text.transpose(1, 2), to_image),
            torch.matmul(b_text, to_image),
            attn.out_v_proj.bias * self.gamma_v,
            torch.matmul(w_image.transpose(1, 2), to_text),
            torch.matmul(b_image, to_text).sum(dim=0) + attn.out_l_proj.bias * self.gamma_l,
        )

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        token_bias: Tensor,
        geometry: FrameGeometry,
        text_length: int,
    ) -> tuple[Tensor, Tensor]:
        """Exchange.

        Args:
            image: ``[B, S, D]``.
            text: ``[B or 1, T, D]``.
            token_bias: ``[B or 1, 1, 1, T]``, `MASKED` for padding.
            geometry: of the frame.
            text_length: T.

        Returns:
            image ``[B, S, D]`` and text ``[B, T, D]``.
        """
        w_u, b_u, w_c, b_c, w_v, b_v, bias_v, w_t, bias_t = self.derived(geometry)
        image, text = self.layer_norm_v(image), self.layer_norm_l(text)
        rows = self.heads * text_length
        by_head = text.unsqueeze(1)
        keys = (torch.matmul(by_head, w_u) + b_u).reshape(-1, rows, self.width)
        shift = (torch.matmul(by_head, w_c) + b_c).reshape(-1, 1, rows)
        values = (torch.matmul(by_head, w_v) + b_v).reshape(-1, rows, self.width)
        scores = torch.matmul(image, keys.transpose(1, 2)) + shift  # [B, S, heads * T]
        over_image = scores.transpose(1, 2).softmax(dim=-1)
        over_text = scores.reshape(-1, geometry.tokens, self.heads, text_length) + token_bias
        over_text = over_text.softmax(dim=-1).reshape(-1, geometry.tokens, rows)
        image_update = torch.matmul(over_text, values) + bias_v
        seen = torch.matmul(over_image, image).reshape(-1, self.heads, text_length, self.width)
        text_update = torch.matmul(seen, w_t).sum(dim=1) + bias_t
        return image + image_update, text + text_update
