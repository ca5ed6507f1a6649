"""SAM's two-way mask decoder for N prompts on one image embedding.

Parameter names and shapes are those of the official checkpoints below ``mask_decoder.``. The
arithmetic differs from the original in order only: a prompt has about seven tokens, an image has
thousands, so products are associated such that the image side is never projected per prompt.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.sam.config import DecoderConfig
from t2s_export.architectures.sam.layers import LayerNorm2d, ReluMlp

__all__ = ["MASKS", "MaskDecoder"]

MASKS = 4
"""One mask for clear prompts and three for ambiguous ones."""


class TokenAttention(nn.Module):
    """Projected multi-head attention between prompt tokens and image tokens.

    Heads are a batch axis of the weights, so that splitting and joining them costs no operator;
    only the number of tokens T is asked for, the number of prompts N never.
    """

    def __init__(self, config: DecoderConfig, downsample: int = 1) -> None:
        super().__init__()
        self.dim = config.out_channels
        self.cells = config.grid**2
        self.heads = config.decoder_heads
        inner = self.dim // downsample
        self.head_dim = inner // self.heads
        self.scale = self.head_dim**-0.5
        self.q_proj = nn.Linear(self.dim, inner)
        self.k_proj = nn.Linear(self.dim, inner)
        self.v_proj = nn.Linear(self.dim, inner)
        self.out_proj = nn.Linear(inner, self.dim)

    def _weight(self, projection: nn.Linear) -> Tensor:
        """Weight of an input projection by heads, ``[heads, d, C]``."""
        return projection.weight.view(self.heads, self.head_dim, self.dim)

    def _project(self, projection: nn.Linear, x: Tensor) -> Tensor:
        """Project ``[N, T, C]`` tokens to ``[N, heads, T, d]``."""
        weight = self._weight(projection).transpose(1, 2)
        bias = projection.bias.view(self.heads, 1, self.head_dim)
        return torch.matmul(x[:, None], weight) + bias

    def _out_weight(self) -> Tensor:
        """Weight of the output projection by heads, ``[heads, d, C]``."""
        return self.out_proj.weight.t().reshape(self.heads, self.head_dim, self.dim)

    def _join(self, x: Tensor) -> Tensor:
        """Join the heads of ``[N, heads, T, d]`` to ``[N, T, C]``."""
        return torch.matmul(x, self._out_weight()).sum(1) + self.out_proj.bias

    def among_tokens(self, query_key: Tensor, value: Tensor) -> Tensor:
        """Self-attention of ``[N, T, C]`` tokens."""
        q = self._project(self.q_proj, query_key) * self.scale
        k = self._project(self.k_proj, query_key)
        v = self._project(self.v_proj, value)
        return self._join(torch.matmul(torch.matmul(q, k.transpose(2, 3)).softmax(-1), v))

    def tokens_to_image(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from ``[N, T, C]`` tokens to ``[1 or N, S, C]`` image keys and values.

        The key projection moves to the token side; its bias is the same for all keys of a query
        and drops out of the softmax. The value projection acts on the few attended rows.
        """
        tokens = query.shape[1]
        q = self._project(self.q_proj, query) * self.scale
        q = torch.matmul(q, self._weight(self.k_proj)).reshape(-1, self.heads * tokens, self.dim)
        weights = torch.matmul(q, key.transpose(1, 2)).softmax(-1)
        out = torch.matmul(weights, value).reshape(-1, self.heads, tokens, self.dim)
        out = torch.matmul(out, self._weight(self.v_proj).transpose(1, 2))
        return self._join(out + self.v_proj.bias.view(self.heads, 1, self.head_dim))

    def image_to_tokens(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from ``[1 or N, S, C]`` image tokens to ``[N, T, C]`` keys and values.

        The query and output projections move to the token side. Returns ``[N, S, C]``.
        """
        tokens, heads = key.shape[1], self.heads
        k = self._project(self.k_proj, key) * self.scale
        bias = torch.matmul(k, self.q_proj.bias.view(heads, self.head_dim, 1))
        k = torch.matmul(k, self._weight(self.q_proj)).reshape(-1, heads * tokens, self.dim)
        scores = torch.matmul(query, k.transpose(1, 2)) + bias.reshape(-1, 1, heads * tokens)
        weights = scores.view(-1, self.cells, heads, tokens).softmax(-1)
        v = torch.matmul(self._project(self.v_proj, value), self._out_weight())
        # each head's weights sum to one, so its share of the output's bias rides on the values
        v = (v + self.out_proj.bias / heads).reshape(-1, heads * tokens, self.dim)
        return torch.matmul(weights.view(-1, self.cells, heads * tokens), v)


class TransformerMlp(nn.Module):
    """The decoder layers' MLP."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., dim]`` to the same shape."""
        return cast(Tensor, self.lin2(F.relu(self.lin1(x))))


class TwoWayLayer(nn.Module):
    """Tokens attend to themselves and the image, then the image attends to the tokens."""

    def __init__(self, config: DecoderConfig, first: bool) -> None:
        super().__init__()
        dim, downsample = config.out_channels, config.attention_downsample
        self.first = first
        self.self_attn = TokenAttention(config)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = TokenAttention(config, downsample)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = TransformerMlp(dim, config.decoder_mlp_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = TokenAttention(config, downsample)

    def forward(
        self, queries: Tensor, keys: Tensor, query_positions: Tensor, key_positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update ``[N, T, C]`` queries and ``[1 or N, S, C]`` keys; keys come back as N."""
        if self.first:  # the tokens are their own positions so far: no residual
            queries = self.self_attn.among_tokens(queries, queries)
        else:
            placed = queries + query_positions
            queries = queries + self.self_attn.among_tokens(placed, queries)
        queries = self.norm1(queries)
        placed_keys = keys + key_positions
        queries = queries + self.cross_attn_token_to_image.tokens_to_image(
            queries + query_positions, placed_keys, keys
        )
        queries = self.norm2(queries)
        queries = self.norm3(queries + self.mlp(queries))
        keys = keys + self.cross_attn_image_to_token.image_to_tokens(
            placed_keys, queries + query_positions, queries
        )
        return queries, self.norm4(keys)


class TwoWayTransformer(nn.Module):
    """The stack of two-way layers and the last look at the image."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        dim = config.out_channels
        self.layers = nn.ModuleList(
            TwoWayLayer(config, first=index == 0) for index in range(config.decoder_depth)
        )
        self.final_attn_token_to_image = TokenAttention(config, config.attention_downsample)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, keys: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return updated tokens ``[N, T, C]`` and image tokens ``[N, S, C]``."""
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, positions)
        queries = queries + self.final_attn_token_to_image.tokens_to_image(
            queries + tokens, keys + positions, keys
        )
        return self.norm_final_attn(queries), keys


class MaskDecoder(nn.Module):
    """Prompt tokens and image tokens to four masks and their predicted IoU."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        dim = config.out_channels
        self.dim = dim
        self.grid = config.grid
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(MASKS, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            ReluMlp((dim, dim, dim, dim // 8)) for _ in range(MASKS)
        )
        hidden = config.iou_hidden_dim
        self.iou_prediction_head = ReluMlp((dim, hidden, hidden, MASKS))

    def forward(self, prompts: Tensor, image: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            prompts: ``[N, P, C]`` tokens of the prompt encoder.
            image: ``[1 or N, h * w, C]`` image tokens, the no-mask embedding added.
            positions: ``[h * w, C]`` position features of the image tokens.

        Returns:
            mask logits ``[N, 4, 4h, 4w]`` and predicted IoU ``[N, 4]``.
        """
        outputs = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        # zeros of the prompts repeat the output tokens N times: an Expand would ask for shapes
        tokens = torch.cat([prompts[:, :1] * 0.0 + outputs, prompts], 1)
        hidden, keys = self.transformer(tokens, image, positions)
        logits = self._masks(self._channel_weights(hidden[:, 1 : 1 + MASKS]), keys)
        return logits, self.iou_prediction_head(hidden[:, 0])

    def _channel_weights(self, tokens: Tensor) -> Tensor:
        """The hypernetworks, all masks in one product for each layer.

        Args:
            tokens: ``[N, 4, C]``, one for each mask.

        Returns:
            ``[N, 4, C / 8]``.
        """
        networks = [cast(ReluMlp, network).layers for network in self.output_hypernetworks_mlps]
        x = tokens.transpose(0, 1)
        for depth, same in enumerate(zip(*networks, strict=True)):
            layers = [cast(nn.Linear, layer) for layer in same]
            x = F.relu(x) if depth else x
            x = torch.matmul(x, torch.stack([layer.weight.t() for layer in layers]))
            x = x + torch.stack([layer.bias[None] for layer in layers])
        return x.transpose(0, 1)

    def _masks(self, weights: Tensor, keys: Tensor) -> Tensor:
        """Upscale image tokens four times and weigh their channels.

        Args:
            weights: ``[N, 4, C / 8]``, one set of channel weights per mask.
            keys: image tokens ``[N, h * w, C]``.

        Returns:
            mask logits ``[N, 4, 4h, 4w]``.
        """
        first, norm, _, second, _ = self.output_upscaling
        grid, quarter, eighth = 2 * self.grid, self.dim // 4, self.dim // 8
        upper, lower = _double(cast(nn.ConvTranspose2d, first), keys)
        rows = (-1, self.grid, 1, 2 * self.grid * quarter)
        x = torch.cat([upper.view(*rows), lower.view(*rows)], 2).view(-1, grid * grid, quarter)
        x = F.gelu(cast(LayerNorm2d, norm).last(x))
        halves = []
        for half in _double(cast(nn.ConvTranspose2d, second), x):
            channels = F.gelu(half.view(-1, 2 * grid * grid, eighth)).transpose(1, 2)
            halves.append(torch.matmul(weights, channels).view(-1, MASKS, grid, 1, 2 * grid))
        return torch.cat(halves, 3).view(-1, MASKS, 2 * grid, 2 * grid)


def _double(layer: nn.ConvTranspose2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Apply a transposed convolution with kernel 2 and stride 2 to channel-last data.

    Children never overlap, so the layer is one matrix product for the upper and one for the lower
    children of every pixel, and each product's rows already are rows of the doubled image.

    Args:
        layer: weights ``[in, out, 2, 2]``.
        x: ``[N, pixels, in]``, row-major.

    Returns:
        upper and lower children, ``[N * pixels, 2 * out]`` each: left child, right child.
    """
    flat = x.reshape(-1, layer.in_channels)
    shape = (2 * layer.out_channels, layer.in_channels)
    bias = torch.cat([cast(Tensor, layer.bias)] * 2)
    upper, lower = (
        F.linear(flat, layer.weight[:, :, half].permute(2, 1, 0).reshape(shape), bias)
        for half in (0, 1)
    )
    return upper, lower
