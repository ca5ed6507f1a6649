"""SAM's mask decoder on a window of the image embedding: small boxes at a fifth of the cost.

A box of twenty pixels does not need the attention of a whole frame. The decoder's weights work on
any number of image tokens; what tells it where it is are the position features, and these stay
the frame's own. A model that was trained so (nano) finds such masks better than on the whole
frame, where the softmax over thousands of tokens dilutes what little belongs to the object; one
that was not (the official checkpoints) has no graph of this role.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.sam.mask_decoder import MaskDecoder
from t2s_export.architectures.sam.model import Sam

__all__ = ["LocalMaskDecoder", "LocalMaskDecoderGraph"]


class LocalMaskDecoder(nn.Module):
    """Decodes each prompt on its own window of one embedding, with a model's own parameters.

    Args:
        sam: the model; gradients land in its parameters.
        cells: side of the windows in image tokens.
    """

    cell: Tensor

    def __init__(self, sam: Sam, cells: int) -> None:
        super().__init__()
        config = sam.config
        self.grid, self.cells = config.grid, cells
        self.prompt_encoder = sam.prompt_encoder
        window = config.decoder_at(cells * config.patch_size)
        with torch.device("meta"):
            self.mask_decoder = MaskDecoder(window)
        for name, parameter in sam.mask_decoder.named_parameters():
            owner, _, leaf = name.rpartition(".")
            setattr(self.mask_decoder.get_submodule(owner), leaf, parameter)
        rows = torch.arange(cells, dtype=torch.int32)
        offsets = (rows[:, None] * self.grid + rows).view(1, cells * cells)
        self.register_buffer("cell", offsets.to(sam.prompt_encoder.labels.device), persistent=False)

    def forward(
        self, image_embedding: Tensor, point_coords: Tensor, point_labels: Tensor, window: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            image_embedding: ``[1, C, h, w]`` of the whole frame.
            point_coords: ``[N, P, 2]`` float32 x y in pixels of the frame.
            point_labels: ``[N, P]`` float32, as ``Sam.decode`` takes them.
            window: ``[N, 2]`` int32, row and column of the first image token of each window.

        Returns:
            ``mask_logits [N, 4, 4 cells, 4 cells]`` over the windows and ``iou [N, 4]``.
        """
        prompts = self.prompt_encoder(point_coords, point_labels)
        first = window[:, :1] * self.grid + window[:, 1:]
        index = first + self.cell
        image = F.embedding(index, self.prompt_encoder.image_tokens(image_embedding)[0])
        positions = F.embedding(index, self.positions())
        return cast(tuple[Tensor, Tensor], self.mask_decoder(prompts, image, positions))

    def positions(self) -> Tensor:
        """Position features of the frame's image tokens ``[h * w, C]``."""
        return self.prompt_encoder.grid_positions()


class LocalMaskDecoderGraph(LocalMaskDecoder):
    """``mask_decoder_local``: the same with weights of its own and constants folded."""

    table: Tensor

    def __init__(self, sam: Sam, cells: int) -> None:
        super().__init__(copy.deepcopy(sam), cells)
        positions = self.prompt_encoder.grid_positions().detach()
        self.register_buffer("table", positions, persistent=False)
        self.requires_grad_(False)
        self.eval()

    def positions(self) -> Tensor:
        """The folded table."""
        return self.table
