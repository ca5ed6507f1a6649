"""SAM's decoder begins with a box that it can draw.

From random weights a mask decoder needs thousands of steps until the corners of a box move its
mask at all, and tens of thousands until the mask ends within two pixels of them: until then the
image can teach it nothing. All that is needed lies in its architecture, and this module writes it
into the weights; training may change every one of them.

- Position features (any matrix serves a SAM): some see x alone and some y alone. Of each axis the
  first are odd harmonics of one wave that is longer than the frame, so that a product of features
  of two places is a square wave of their distance: positive on one side, negative on the other.
- Each of four heads with which image tokens attend to prompt tokens takes one axis and one
  direction. It is drawn to a corner that lies before it, and else to the other tokens. Corners
  carry a flag; where attention finds it, the head writes into one channel. Left of both corners
  the rising head finds none, right of the first it finds one, and the falling head the other way
  about: a token is in the box where all four channels are high. Near an edge attention is shared,
  so that the channel tells how far away it is.
- The upscaling adds to each channel how far a child lies from its parent, and mask 0 starts as
  "no channel is low".

The channels of positions, flag and results are left free by the image embedding and the norms at
the start, and nothing else writes to them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from t2s_export.architectures.sam import Sam
from t2s_export.architectures.sam.mask_decoder import MaskDecoder, TokenAttention, TwoWayLayer
from t2s_rt.errors import UsageError

__all__ = ["HEADS", "place_positions"]

HEADS = ((0, 1.0), (1, 1.0), (0, -1.0), (1, -1.0))
"""Axis (0 is x) and direction of each head."""
_LONGEST = 0.25
"""Frequency of the longest wave, in cycles over half the frame: its half is the frame."""
_SHORTEST = 9.0
_FLAG, _WRITTEN = 6.0, 3.0
_STEEPNESS = 11.0
"""Attention scores rise by about 0.4 a pixel at an edge, half a token's side from end to end."""
_PREFERENCE = 0.4
"""What a corner's flag adds to its score, against the other tokens together at the edge."""
_HIGH = 5.5
"""Of a written channel, after the norm behind it; it is 0 beyond the edge."""
_RISE = 0.4
"""Of a written channel at an edge, for one pixel."""


@dataclass(frozen=True)
class _Channels:
    """Which channels of the decoder's width C serve geometry.

    Attributes:
        waves: of each axis, the (sine, cosine) channels of its harmonics.
        flag: of tokens, set in corners; its own position feature is 0.
        one: of image tokens, constant; its own position feature is 0.
        written: of image tokens, one for each head.
    """

    waves: tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]
    flag: int
    one: int
    written: tuple[int, ...]

    @property
    def positions(self) -> list[int]:
        """Channels that only position features use."""
        return [c for axis in self.waves for pair in axis for c in pair]


def _channels(width: int, harmonics: int) -> _Channels:
    """Lay out the channels: sines first, cosines behind them, x and y in turn."""
    half = width // 2
    x, y = (tuple((2 * i + axis, half + 2 * i + axis) for i in range(harmonics)) for axis in (0, 1))
    first = half + 2 * harmonics
    return _Channels((x, y), half - 1, half - 2, tuple(range(first, first + len(HEADS))))


def place_positions(sam: Sam) -> None:
    """Write what a box means into an untrained SAM, in place.

    Raises:
        UsageError: heads other than four, or narrower than eight channels.
    """
    decoder = sam.mask_decoder
    layers = [cast(TwoWayLayer, layer) for layer in decoder.transformer.layers]
    attention = layers[0].cross_attn_image_to_token
    if attention.heads != len(HEADS) or attention.head_dim < 8:
        raise UsageError(
            f"a SAM to begin with geometry: expected {len(HEADS)} decoder heads of at least 8 "
            f"channels, found {attention.heads} of {attention.head_dim}; change the configuration"
        )
    harmonics = attention.head_dim // 2 - 1
    channels = _channels(decoder.dim, harmonics)
    with torch.no_grad():
        _waves(sam, harmonics)
        _tokens(sam, channels)
        for layer in layers:
            _layer(layer, channels)
        _upscaling(decoder, channels)


def _waves(sam: Sam, harmonics: int) -> None:
    """Frequencies of the position features; each axis has one of frequency 0."""
    matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    own = [_LONGEST * (2 * i + 1) for i in range(harmonics)]
    others = matrix.shape[1] // 2 - harmonics - 1
    low, high = math.log10(own[-1] + 2 * _LONGEST), math.log10(_SHORTEST)
    frequencies = torch.cat([torch.tensor(own), torch.logspace(low, high, others)])
    matrix.zero_()
    for axis in (0, 1):
        matrix[axis, axis : 2 * len(frequencies) : 2] = frequencies


def _tokens(sam: Sam, channels: _Channels) -> None:
    """Embeddings that leave geometry's channels free, and the corners' flag."""
    free = [*channels.positions, *channels.written, channels.flag, channels.one]
    prompts, decoder = sam.prompt_encoder, sam.mask_decoder
    labels = [prompts.not_a_point_embed, *prompts.point_embeddings]
    for label in labels:
        nn.init.normal_(cast(nn.Embedding, label).weight, std=0.5)
    for table in (*labels, decoder.iou_token, decoder.mask_tokens):
        cast(nn.Embedding, table).weight[:, free] = 0.0
    for corner in labels[3:]:
        cast(nn.Embedding, corner).weight[:, channels.flag] = _FLAG
    prompts.no_mask_embed.weight.zero_()
    last_norm = sam.image_encoder.neck[-1]
    cast(Tensor, last_norm.weight)[free] = 0.0


def _layer(layer: TwoWayLayer, channels: _Channels) -> None:
    """Tokens keep what they are and see what is near them; image tokens find their sides."""
    own = layer.self_attn
    kept = torch.ones(own.dim)
    kept[channels.positions] = 0.0
    if layer.first:  # it has no residual: what tokens do not tell themselves is lost
        alike = 1.5 * nn.init.orthogonal_(torch.empty(own.dim, own.dim))
        through = nn.init.orthogonal_(torch.empty(own.dim, own.dim))
        _set(own, alike, alike, through * kept, through.t())
    for norm in (layer.norm1, layer.norm3, layer.norm4):
        norm.weight[channels.positions] = 0.0
    layer.norm4.weight[channels.one], layer.norm4.bias[channels.one] = 0.0, 1.0
    near = layer.cross_attn_token_to_image
    # unrelated projections of queries and keys cannot compare positions
    shared = 2.0 * nn.init.orthogonal_(torch.empty_like(near.q_proj.weight))
    _set(near, shared, shared, near.v_proj.weight.clone(), near.out_proj.weight.clone())
    _sides(layer.cross_attn_image_to_token, channels)


def _set(attention: TokenAttention, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> None:
    """Weights of the four projections; their biases become 0."""
    layers = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
    for layer, weight in zip(layers, (q, k, v, out), strict=True):
        layer.weight.copy_(weight)
        nn.init.zeros_(layer.bias)


def _sides(attention: TokenAttention, channels: _Channels) -> None:
    """Each head's square wave of the distance to a corner, its flag and what it writes."""
    q, k = (torch.zeros_like(attention.q_proj.weight) for _ in range(2))
    v, out = 0.05 * torch.randn_like(q), 0.1 * attention.out_proj.weight
    out[list(channels.written)] = 0.0
    for head, (axis, direction) in enumerate(HEADS):
        first = head * attention.head_dim
        for i, (sine, cosine) in enumerate(channels.waves[axis]):
            # sin(a - b) = sin a cos b - cos a sin b
            size = math.sqrt(_STEEPNESS / (2 * i + 1) / attention.scale)
            row = first + 2 * i
            q[row, sine] = q[row + 1, cosine] = size
            k[row, cosine], k[row + 1, sine] = direction * size, -direction * size
        k[first + attention.head_dim - 2, channels.flag] = 1.0
        v[first] = 0.0
        v[first, channels.flag] = 1.0
        out[:, first] = 0.0
        out[channels.written[head], first] = _WRITTEN
    _set(attention, q, k, v, out)
    for head in range(len(HEADS)):
        row = (head + 1) * attention.head_dim - 2
        attention.q_proj.bias[row] = _PREFERENCE / (2 * _FLAG * attention.scale)


def _upscaling(decoder: MaskDecoder, channels: _Channels) -> None:
    """Channels of the children: how far beyond each edge, and mask 0 as the sum of them."""
    first, norm, _, second, _ = decoder.output_upscaling
    for layer in (first, second):
        nn.init.zeros_(cast(Tensor, layer.bias))
    count, constant = len(HEADS), 2 * len(HEADS)
    weight = cast(Tensor, first.weight)
    weight[:, : constant + 1] = 0.0
    cast(Tensor, norm.weight)[constant], cast(Tensor, norm.bias)[constant] = 0.0, 1.0
    following = cast(Tensor, second.weight)
    following[:, : count + 1] = 0.0
    following[constant, count] = 1.0
    for head, (axis, direction) in enumerate(HEADS):
        # both signs, for the activation passes one: gelu(x) - gelu(-x) = x
        for channel, sign in ((head, -1.0), (count + head, 1.0)):
            weight[channels.written[head], channel] = sign
            for child in (0, 1):
                at = (slice(None), child) if axis == 0 else (child, slice(None))
                moved = direction * _RISE * (4.0 * child - 2.0)
                weight[channels.one, channel][at] = sign * (moved - _HIGH / 2)
                following[channel, head][at] = -sign
                following[constant, head][at] = -direction * 0.6 * _RISE * (2.0 * child - 1.0)
    last = cast(nn.Linear, decoder.output_hypernetworks_mlps[0].layers[-1])  # type: ignore[index]
    last.bias[:count], last.bias[count] = -3.0, 1.5
