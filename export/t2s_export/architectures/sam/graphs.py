"""Export forms of Segment Anything: exactly the contracts' inputs and outputs, constants folded.

Against the trainable ViT (:mod:`t2s_export.architectures.sam.image_encoder`) the exported one
gathers the relative positions once, puts the normalisation into the patch convolution and the
scale of the scores into the query weights, pays no projection for window padding, and unrolls
global attention by rows of queries. No operator asks for a shape, so the batch may be dynamic.
MobileSAM's encoder is in :mod:`t2s_export.architectures.sam.tiny_vit_graph`.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.sam.config import SamConfig
from t2s_export.architectures.sam.image_encoder import (
    DecomposedAttention,
    EncoderBlock,
    ImageEncoder,
    relative_table,
)
from t2s_export.architectures.sam.layers import FoldedNeck
from t2s_export.architectures.sam.model import Sam
from t2s_export.architectures.sam.packed_windows import PackedWindows
from t2s_export.architectures.sam.tiny_vit import TinyVit
from t2s_export.architectures.sam.tiny_vit_graph import FoldedTinyVit

__all__ = ["FoldedVit", "MaskDecoderGraph", "MaskEncoderGraph"]


class _FoldedAttention(nn.Module):
    """Decomposed attention of a fixed grid with its constants folded.

    The bias of the keys adds the same to every score of a query and drops out of the softmax; the
    bias of the values passes through it and joins the output's. So a padding token, which the
    original feeds as zeros before the projection, is zero after it and is never computed.
    """

    weight: Tensor
    bias: Tensor
    row_table: Tensor
    column_table: Tensor

    def __init__(self, attention: DecomposedAttention, config: SamConfig, window: int) -> None:
        super().__init__()
        dim, scale = config.embed_dim, attention.scale
        self.heads = config.num_heads
        self.head_dim = dim // config.num_heads
        self.grid = config.grid
        self.size = window or config.grid
        self.windows = PackedWindows(self.grid, self.size, self.heads, self.head_dim)
        self.chunk_rows = self.size if window else config.global_rows
        weight, bias = attention.qkv.weight.detach().clone(), attention.qkv.bias.detach().clone()
        weight[:dim] *= scale
        bias[:dim] *= scale
        self.proj = copy.deepcopy(attention.proj)
        with torch.no_grad():
            self.proj.bias.add_(self.proj.weight @ bias[2 * dim :])
        bias[dim:] = 0.0
        rows = relative_table(attention.rel_pos_h.detach(), self.size) / scale
        columns = relative_table(attention.rel_pos_w.detach(), self.size) / scale
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("row_table", rows.transpose(1, 2).contiguous(), persistent=False)
        self.register_buffer("column_table", columns.transpose(1, 2).contiguous(), persistent=False)

    def _biases(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Row biases ``[G, n, n, n, 1]`` and column biases ``[G, n, n, 1, n]`` for queries."""
        size, head_dim = self.size, self.head_dim
        grid = q.reshape(-1, size, size, head_dim)
        if size == self.grid:  # few and large products as they are
            rows = torch.matmul(grid, self.row_table).reshape(-1, size, size, size, 1)
            columns = torch.matmul(grid.transpose(1, 2), self.column_table).transpose(1, 2)
            return rows, columns.reshape(-1, size, size, 1, size)
        # one product per row (column) of queries over all groups: few and large
        rows = grid.permute(1, 0, 2, 3).reshape(size, -1, head_dim)
        rows = torch.matmul(rows, self.row_table).reshape(size, -1, size, size, 1)
        columns = grid.permute(2, 0, 1, 3).reshape(size, -1, head_dim)
        columns = torch.matmul(columns, self.column_table).reshape(size, -1, size, 1, size)
        return rows.permute(1, 0, 2, 3, 4), columns.permute(1, 2, 0, 3, 4)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, step: int
    ) -> Tensor:
        """Some rows of queries: ``[B * windows, heads, step * n, d]``."""
        cells = self.size**2
        bias = (rows + columns).reshape(-1, self.heads, step * self.size, cells)
        weights = (torch.matmul(q, k.transpose(2, 3)) + bias).softmax(-1)
        return torch.matmul(weights, v)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B * grid * grid, C]`` to the same shape."""
        packed = F.linear(x, self.weight, self.bias)
        q, k, v = self.windows.split(packed)
        rows, columns = self._biases(q)
        step, size = self.chunk_rows, self.size
        if step == size:
            out = self._attend(q, k, v, rows, columns, step)
        else:
            count = size // step
            queries = q.split_with_sizes([step * size] * count, 2)
            biases = (x.split_with_sizes([step] * count, 1) for x in (rows, columns))
            chunks = zip(queries, *biases, strict=True)
            out = torch.cat([self._attend(a, k, v, b, c, step) for a, b, c in chunks], 2)
        return cast(Tensor, self.proj(self.windows.join(out)))


class _FoldedBlock(nn.Module):
    def __init__(self, block: EncoderBlock, config: SamConfig) -> None:
        super().__init__()
        self.norm1 = copy.deepcopy(block.norm1)
        self.attn = _FoldedAttention(block.attn, config, block.window)
        self.norm2 = copy.deepcopy(block.norm2)
        self.mlp = copy.deepcopy(block.mlp)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class FoldedVit(nn.Module):
    """An image to its embedding, through a ViT; weights are copied, not touched."""

    weight: Tensor
    bias: Tensor
    positions: Tensor

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        config = encoder.config
        patch = encoder.patch_embed.proj
        self.stride, self.dim = patch.stride, config.embed_dim
        weight = patch.weight.detach() / encoder.std[:, None, None]
        bias = cast(Tensor, patch.bias).detach() - (weight * encoder.mean[:, None, None]).sum(
            (1, 2, 3)
        )
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.stem = copy.deepcopy(encoder.patch_embed.stem)
        self.norm_pre = copy.deepcopy(encoder.norm_pre)
        self.register_buffer("positions", encoder.pos_embed.detach().clone(), persistent=False)
        self.blocks = nn.ModuleList(
            _FoldedBlock(cast(EncoderBlock, block), config) for block in encoder.blocks
        )
        self.neck = FoldedNeck(encoder.neck, config.grid)

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 ``[B, H, W, 3]`` RGB to ``[B, C, h, w]``."""
        x = image.permute(0, 3, 1, 2).to(self.weight.dtype)
        x = self.stem(F.conv2d(x, self.weight, self.bias, stride=self.stride))
        x = self.norm_pre(x.permute(0, 2, 3, 1) + self.positions)
        # rows of tokens: a product of two matrices takes its bias along, one of more axes does not
        x = x.reshape(-1, self.dim)
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.neck(x))


class MaskEncoderGraph(nn.Module):
    """``mask_encoder``: an image to its embedding, with either image encoder.

    Args:
        sam: the model; its weights are copied, not touched.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        encoder = sam.image_encoder
        self.encoder = (
            FoldedTinyVit(encoder) if isinstance(encoder, TinyVit) else FoldedVit(encoder)
        )
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 ``[B, H, W, 3]`` RGB to ``image_embedding [B, C, h, w]``."""
        return cast(Tensor, self.encoder(image))


class MaskDecoderGraph(nn.Module):
    """``mask_decoder``: N prompts of P points on one image embedding; N and P stay dynamic.

    Args:
        sam: the model; its weights are copied, not touched.
    """

    positions: Tensor

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        prompts = sam.prompt_encoder
        self.prompt_encoder = copy.deepcopy(prompts)
        self.mask_decoder = copy.deepcopy(sam.mask_decoder)
        self.register_buffer("positions", prompts.grid_positions().detach(), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(
        self, image_embedding: Tensor, point_coords: Tensor, point_labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            image_embedding: ``[1, C, h, w]``.
            point_coords: ``[N, P, 2]`` float32 x y in model-frame pixels.
            point_labels: ``[N, P]`` float32: -1 padding, 0 negative, 1 positive, 2 and 3 the
                corners of a box; prompts of points only need one padding point.

        Returns:
            ``mask_logits [N, 4, 4h, 4w]`` and ``iou [N, 4]``.
        """
        prompts = self.prompt_encoder(point_coords, point_labels)
        return cast(
            tuple[Tensor, Tensor],
            self.mask_decoder(
                prompts, self.prompt_encoder.image_tokens(image_embedding), self.positions
            ),
        )
