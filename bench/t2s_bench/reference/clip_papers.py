"""CLIP's dense paths as their papers write them: a second reading, independent of our modules.

Sources: Radford et al., CLIP (2021); Li et al., CLIP Surgery (2023), section on the dual path;
Li et al., SegEarth-OV (2025), the last block. No original package can stand in: CLIP Surgery's
repository has no licence. Slow where that makes it plainer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ClipPapers"]

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


class ClipPapers:
    """CLIP's image tower from a state dict, one image at a time.

    Args:
        state: with the names of OpenAI's and open_clip's checkpoints.
        heads: of the image tower.
        surgery_blocks: last blocks that CLIP Surgery follows.
        quick_gelu: the activation that the weights were trained with.
        dtype: to compute in.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        *,
        heads: int,
        surgery_blocks: int,
        quick_gelu: bool,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.weights = {
            name.removeprefix("visual."): tensor.detach().to(dtype)
            for name, tensor in state.items()
            if name.startswith("visual.")
        }
        self.heads, self.quick_gelu, self.dtype = heads, quick_gelu, dtype
        self.layers = sum(name.endswith("attn.in_proj_weight") for name in self.weights)
        self.first = self.layers - surgery_blocks

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Layer norm with the weights of that name."""
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(-1, keepdim=True)
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    def tokens(self, image: Tensor) -> Tensor:
        """Tokens ``[1 + g * g, C]`` of an image uint8 ``[side, side, 3]``, class token first."""
        kernel = self.weights["conv1.weight"]
        patch = kernel.shape[-1]
        grid = image.shape[0] // patch
        mean, std = (torch.tensor(x, dtype=self.dtype) for x in (_MEAN, _STD))
        pixels = (image.to(self.dtype) / 255 - mean) / std
        blocks = pixels.reshape(grid, patch, grid, patch, 3)
        rows = torch.einsum("iyjxc,dcyx->ijd", blocks, kernel).reshape(grid * grid, -1)
        tokens = torch.cat([self.weights["class_embedding"][None], rows])
        return self.norm("ln_pre", tokens + self.positions(grid))

    def positions(self, grid: int) -> Tensor:
        """Bilinear between patch centres, edges repeated; the class token's row stays."""
        known = self.weights["positional_embedding"]
        side = round((len(known) - 1) ** 0.5)
        table = known[1:].reshape(side, side, -1)
        at = ((torch.arange(grid, dtype=self.dtype) + 0.5) * side / grid - 0.5).clamp(0, side - 1)
        low = at.floor().long()
        high = (low + 1).clamp(max=side - 1)
        part = (at - low)[:, None]
        wide = table[low] * (1 - part[..., None]) + table[high] * part[..., None]
        new = wide[:, low] * (1 - part) + wide[:, high] * part
        return torch.cat([known[:1], new.reshape(grid * grid, -1)])

    def projections(self, block: str, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v, each ``[heads, tokens, d]``."""
        weight = self.weights[f"{block}.attn.in_proj_weight"]
        packed = x @ weight.T + self.weights[f"{block}.attn.in_proj_bias"]
        q, k, v = (
            part.reshape(len(x), self.heads, -1).transpose(0, 1) for part in packed.chunk(3, -1)
        )
        return q, k, v

    def attention(self, a: Tensor, b: Tensor) -> Tensor:
        """Weights ``[heads, tokens, tokens]``."""
        scores: Tensor = a @ b.transpose(1, 2) * a.shape[-1] ** -0.5
        return scores.softmax(-1)

    def output(self, block: str, x: Tensor) -> Tensor:
        """Heads joined and projected."""
        joined = x.transpose(0, 1).reshape(x.shape[1], -1)
        weight = self.weights[f"{block}.attn.out_proj.weight"]
        return joined @ weight.T + self.weights[f"{block}.attn.out_proj.bias"]

    def mlp(self, block: str, x: Tensor) -> Tensor:
        """The feed-forward part."""
        hidden = x @ self.weights[f"{block}.mlp.c_fc.weight"].T
        hidden = hidden + self.weights[f"{block}.mlp.c_fc.bias"]
        active = hidden * torch.sigmoid(1.702 * hidden) if self.quick_gelu else F.gelu(hidden)
        weight = self.weights[f"{block}.mlp.c_proj.weight"]
        return active @ weight.T + self.weights[f"{block}.mlp.c_proj.bias"]

    def project(self, x: Tensor) -> Tensor:
        """Unit embeddings of tokens."""
        features = self.norm("ln_post", x) @ self.weights["proj"]
        return features / (features**2).sum(-1, keepdim=True).sqrt()

    def surgery(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Patch, surgery and class embeddings of an image uint8 ``[side, side, 3]``.

        Returns:
            ``[g * g, D]`` with SegEarth-OV's last block, ``[g * g, D]`` of CLIP Surgery's second
            path, ``[D]`` of the class token.
        """
        o = self.tokens(image)
        x = o
        for index in range(self.layers):
            block = f"transformer.resblocks.{index}"
            if index == self.first:
                x = o
            h = self.norm(f"{block}.ln_1", o)
            q, k, v = self.projections(block, h)
            if index == self.layers - 1:  # SegEarth-OV: no residual, no feed-forward
                weights = self.attention(q, q) + self.attention(k, k) + self.attention(v, v)
                patches = self.output(block, weights @ v)
            o = o + self.output(block, self.attention(q, k) @ v)
            o = o + self.mlp(block, self.norm(f"{block}.ln_2", o))
            if index >= self.first:  # CLIP Surgery: v-v attention on the side, no feed-forward
                x = x + self.output(block, self.attention(v, v) @ v)
        x = torch.cat([o[:1], x[1:]])
        return self.project(patches)[1:], self.project(x)[1:], self.project(o)[0]
