"""Training SAM on an aligned window of its frame: a quarter of the tokens, the same weights.

At nano size the prompts' masks over 72 × 72 tokens cost most of a step, and so would attention
over the whole grid. A window of 24 × 24 tokens at a multiple of the attention window sees the same
windowed attention, the same absolute positions and the same relative ones, only fewer of them.
The last part of the training uses whole frames.
"""

from __future__ import annotations

import dataclasses
import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from t2s_export.architectures.sam import LocalMaskDecoder, Sam
from t2s_export.nano.auxiliary import PREFIX
from t2s_export.nano.models import LOCAL_CELLS

__all__ = ["Output", "Prompts", "WindowedSam"]

Prompts = list[list[tuple[Tensor, Tensor, Tensor | None]]]
Output = tuple[list[list[tuple[Tensor, Tensor]]], Tensor]


class _WindowPositions(nn.Module):
    """Random Fourier features of positions in a window, as the whole frame would number them."""

    def __init__(self, matrix: Tensor, share: float) -> None:
        super().__init__()
        # shared with the frame's own layer; the name that the prompt encoder reads
        self.positional_encoding_gaussian_matrix = matrix
        self.share = share
        self.offset = torch.zeros(2)

    def forward(self, xy: Tensor, size: float = 1.0, shift: float = 0.0) -> Tensor:
        """Map positions ``[..., 2]`` to features, with the arguments of ``RandomPositions``.

        After the shift, coordinates are 0..size over the window.
        """
        # bfloat16 would round a place in the frame to about a pixel
        with torch.autocast(xy.device.type, enabled=False):
            placed = (xy + shift) * (self.share / size) + self.offset.to(xy)
            matrix = self.positional_encoding_gaussian_matrix
            angles = (2.0 * math.pi) * ((2.0 * placed - 1.0) @ matrix)
            return torch.cat([angles.sin(), angles.cos()], -1)


class _EncodeDecode(nn.Module):
    """Encoder and decoder behind one ``forward``, which ``functional_call`` needs."""

    def __init__(self, sam: Sam, local: LocalMaskDecoder | None = None) -> None:
        super().__init__()
        self.sam = sam
        self.local = local

    def forward(self, image: Tensor, prompts: Prompts, encoded: bool = False) -> Output:
        embeddings = image if encoded else self.sam.encode(image)
        masks = [
            [self._decode(embedding[None], *group) for group in groups]
            for embedding, groups in zip(embeddings, prompts, strict=True)
        ]
        return masks, embeddings

    def _decode(
        self, embedding: Tensor, coords: Tensor, labels: Tensor, window: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if window is None:
            return self.sam.decode(embedding, coords, labels)
        if self.local is None:
            raise TypeError("windows of the decoder are windows of the whole frame")
        return cast(tuple[Tensor, Tensor], self.local(embedding, coords, labels, window))


class WindowedSam:
    """Runs a :class:`Sam` on whole frames or on windows of ``window`` pixels.

    Args:
        sam: the model that is trained.
        window: side of a window in pixels, a multiple of the attention window.
    """

    def __init__(self, sam: Sam, window: int) -> None:
        config = sam.config
        self.sam = sam
        self.whole = _EncodeDecode(sam, LocalMaskDecoder(sam, LOCAL_CELLS))
        small_config = dataclasses.replace(config, image_size=window)
        with torch.device("meta"):
            small = Sam(small_config)
        positions = _WindowPositions(
            sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix,
            window / config.image_size,
        )
        small.prompt_encoder.pe_layer = positions  # type: ignore[assignment]
        self.positions = positions
        self.small = _EncodeDecode(small)
        self.cells = window // config.patch_size

    def _weights(self, row: int, column: int) -> dict[str, Tensor]:
        """The frame's weights as the window at grid cell (row, column) needs them."""
        grid, cells = self.sam.config.grid, self.cells
        weights: dict[str, Tensor] = {}
        for name, value in (*self.sam.named_parameters(), *self.sam.named_buffers()):
            if name.startswith(PREFIX) or name.endswith("positional_encoding_gaussian_matrix"):
                continue
            if name == "image_encoder.pos_embed":
                value = value[:, row : row + cells, column : column + cells]
            elif "rel_pos" in name and value.shape[0] == 2 * grid - 1:
                value = value[grid - cells : grid + cells - 1]
            weights[f"sam.{name}"] = value
        return weights

    def __call__(
        self,
        image: Tensor,
        prompts: Prompts,
        corner: tuple[int, int] | None = None,
        encoded: bool = False,
    ) -> Output:
        """Mask logits and IoU of groups of prompts.

        Args:
            image: ``[B, S, S, 3]``, S the frame's or the window's side.
            prompts: per image groups of (coords ``[N, P, 2]`` in pixels of ``image``, labels
                ``[N, P]``, window ``[N, 2]`` of the local decoder or None).
            corner: (row, column) of the window in frame pixels, None for whole frames.
            encoded: ``image`` already is an embedding ``[B, C, h, w]``.

        Returns:
            per image and group what ``Sam.decode`` returns, and the image embeddings
            ``[B, C, h, w]``.
        """
        if corner is None:
            return cast(Output, self.whole(image, prompts, encoded))
        size, patch = self.sam.config.image_size, self.sam.config.patch_size
        row, column = corner
        self.positions.offset = torch.tensor([column / size, row / size], device=image.device)
        weights = self._weights(row // patch, column // patch)
        result = functional_call(self.small, weights, (image, prompts, encoded))
        return cast(Output, result)
