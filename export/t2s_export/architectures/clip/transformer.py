"""The residual attention blocks that CLIP's image and text towers share.

Parameter names and shapes are those of OpenAI's CLIP and of open_clip.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Attention", "ResidualBlock", "Transformer", "unit"]


def unit(x: Tensor) -> Tensor:
    """Scale the last axis to length one."""
    return x / cast(Tensor, torch.linalg.vector_norm(x, dim=-1, keepdim=True))


class Attention(nn.Module):
    """Multi-head attention with one packed input projection.

    :meth:`fold` turns it into its export form: the square root of the softmax scale goes into the
    query, key and value projections and back out of the output projection, so that q-k, q-q, k-k
    and v-v products all come out scaled without an operator, and are smaller in fp16. With a fixed
    number of tokens the graph also needs no operator that asks for shapes.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.folded = False
        self.length: int | None = None
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.normal_(self.in_proj_weight, std=width**-0.5)
        nn.init.normal_(self.out_proj.weight, std=width**-0.5)
        nn.init.zeros_(self.out_proj.bias)

    @torch.no_grad()
    def fold(self, length: int | None = None) -> None:
        """Fold the scale into the weights, once, and attend with plain matrix products.

        Args:
            length: tokens of every input; None where that stays dynamic.
        """
        self.length = length
        if not self.folded:
            root = self.scale**0.5
            self.in_proj_weight.mul_(root)
            self.in_proj_bias.mul_(root)
            self.out_proj.weight.div_(root)
            self.folded = True

    def _split(self, x: Tensor, length: int | None) -> Tensor:
        """``[B, L, C]`` to ``[B, heads, L, d]``."""
        shape = (x.shape[0], x.shape[1]) if length is None else (-1, length)
        return x.reshape(*shape, self.heads, self.width // self.heads).transpose(1, 2)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``[B, heads, L, d]`` of ``[B, L, C]``."""
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (
            self._split(part, self.length) for part in packed.split_with_sizes([self.width] * 3, -1)
        )
        return q, k, v

    def project_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values only."""
        packed = F.linear(x, self.in_proj_weight[self.width :], self.in_proj_bias[self.width :])
        k, v = (
            self._split(part, self.length) for part in packed.split_with_sizes([self.width] * 2, -1)
        )
        return k, v

    def project_query(self, x: Tensor) -> Tensor:
        """The query ``[B, heads, 1, d]`` of one token ``[B, 1, C]``."""
        weight, bias = self.in_proj_weight[: self.width], self.in_proj_bias[: self.width]
        return self._split(F.linear(x, weight, bias), 1)

    def attend(self, a: Tensor, b: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """``softmax(a b^T scale + mask) value``; a q, k or v with a matching b."""
        if not self.folded:
            return F.scaled_dot_product_attention(a, b, value, attn_mask=mask, scale=self.scale)
        scores = torch.matmul(a, b.transpose(2, 3))
        if mask is not None:
            scores = scores + mask
        return torch.matmul(scores.softmax(-1), value)

    def merge(self, x: Tensor) -> Tensor:
        """Join heads and apply the output projection: ``[B, heads, L, d]`` to ``[B, L, C]``."""
        joined = x.transpose(1, 2)
        shape = (-1, self.length) if self.length else (x.shape[0], x.shape[2])
        return cast(Tensor, self.out_proj(joined.reshape(*shape, self.width)))

    def merge_one(self, x: Tensor) -> Tensor:
        """:meth:`merge` for one token: ``[B, heads, 1, d]`` to ``[B, 1, C]``."""
        return cast(Tensor, self.out_proj(x.reshape(-1, 1, self.width)))


class Mlp(nn.Module):
    """Two linear layers around QuickGELU or the exact GELU."""

    def __init__(self, width: int, hidden: int, quick_gelu: bool) -> None:
        super().__init__()
        self.quick_gelu = quick_gelu
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., width]`` to the same shape."""
        x = self.c_fc(x)
        x = x * torch.sigmoid(1.702 * x) if self.quick_gelu else F.gelu(x)
        return cast(Tensor, self.c_proj(x))


class ResidualBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, quick_gelu: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_ratio * width, quick_gelu)

    def feed(self, x: Tensor) -> Tensor:
        """Add the MLP's output."""
        return cast(Tensor, x + self.mlp(self.ln_2(x)))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``[B, L, C]`` to the same shape; ``mask`` is added to the scores."""
        q, k, v = self.attn.project(self.ln_1(x))
        return self.feed(x + self.attn.merge(self.attn.attend(q, k, v, mask)))


class Transformer(nn.Module):
    """A stack of residual blocks."""

    def __init__(
        self, width: int, layers: int, heads: int, mlp_ratio: int, quick_gelu: bool
    ) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(
            ResidualBlock(width, heads, mlp_ratio, quick_gelu) for _ in range(layers)
        )

    @property
    def blocks(self) -> list[ResidualBlock]:
        """The blocks in order."""
        return [cast(ResidualBlock, block) for block in self.resblocks]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``[B, L, C]`` to the same shape."""
        for block in self.blocks:
            x = block(x, mask)
        return x
