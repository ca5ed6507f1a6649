"""Export forms of CLIP: exactly the contracts' inputs and outputs, constants folded.

Each graph copies the towers that it needs; the model it was made from is not touched.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.clip.model import Clip
from t2s_export.architectures.clip.vision import resize_positions
from t2s_rt.errors import UsageError

__all__ = ["ClipDenseGraph", "ClipImageGraph", "ClipPatchesGraph", "ClipTextGraph"]


class _FoldedTokens(nn.Module):
    """uint8 image to normalised tokens for one image size; normalisation inside the convolution."""

    weight: Tensor
    bias: Tensor
    positions: Tensor

    def __init__(self, clip: Clip, size: int) -> None:
        super().__init__()
        visual, patch = clip.visual, clip.config.patch_size
        if size <= 0 or size % patch:
            raise UsageError(
                f"CLIP graph: expected an image size that is a multiple of the patch size "
                f"{patch}, found {size}; choose another size"
            )
        self.side = visual.conv1.kernel_size[0]
        self.stem = copy.deepcopy(visual.stem)
        self.width = clip.config.width
        self.cells = (size // patch) ** 2
        self.ln_pre = copy.deepcopy(visual.ln_pre)
        weight = visual.conv1.weight.detach() / visual.std[:, None, None]
        bias = -(weight * visual.mean[:, None, None]).sum((1, 2, 3))
        positions = resize_positions(visual.positional_embedding.detach(), (size // patch,) * 2)
        positions = positions.clone()
        positions[0] += visual.class_embedding.detach()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("positions", positions[None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 ``[B, size, size, 3]`` to ``[B, 1 + cells, C]``."""
        x = image.permute(0, 3, 1, 2).to(self.weight.dtype)
        x = self.stem(F.conv2d(x, self.weight, self.bias, stride=self.side))
        x = x.reshape(-1, self.width, self.cells).transpose(1, 2)
        # a row of zeros in front becomes the class token when the positions are added; made of x,
        # because a Pad or Expand would bring operators that ask for the batch size
        return cast(Tensor, self.ln_pre(torch.cat([x[:, :1] * 0.0, x], 1) + self.positions))


class _ImageGraph(nn.Module):
    def __init__(self, clip: Clip, size: int) -> None:
        super().__init__()
        self.tokens = _FoldedTokens(clip, size)
        self.visual = copy.deepcopy(clip.visual)
        for block in self.visual.transformer.blocks:
            block.attn.fold(self.tokens.cells + 1)
        self.requires_grad_(False)
        self.eval()


class ClipImageGraph(_ImageGraph):
    """``clip_image``: crops to class embeddings.

    Args:
        clip: the model.
        size: side of the crops, pixels; a multiple of the patch size.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 ``[B, size, size, 3]`` RGB to unit ``embeddings [B, D]``."""
        return self.visual.class_path(self.tokens(image))


class ClipDenseGraph(_ImageGraph):
    """``clip_dense``: an image to patch, surgery and class embeddings in one pass.

    Args:
        clip: the model.
        size: side of the image, pixels; a multiple of the patch size.
    """

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map uint8 ``[B, size, size, 3]`` RGB to three sets of unit embeddings.

        Returns:
            ``patch_embeddings [B, hw, D]``, ``surgery_embeddings [B, hw, D]``,
            ``image_embedding [B, D]``.
        """
        return self.visual.dense_paths(self.tokens(image))


class ClipPatchesGraph(_ImageGraph):
    """``clip_patches``: an image to the patch embeddings of ``clip_dense`` alone.

    Args:
        clip: the model.
        size: side of the image, pixels; a multiple of the patch size.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 ``[B, size, size, 3]`` RGB to unit ``patch_embeddings [B, hw, D]``."""
        return self.visual.patch_path(self.tokens(image))


class ClipTextGraph(nn.Module):
    """``clip_text``: token ids to text embeddings; number and length of texts stay dynamic."""

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.text = copy.deepcopy(clip)
        del self.text.visual
        for block in self.text.transformer.blocks:
            block.attn.fold()
        self.requires_grad_(False)
        self.eval()

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map int32 ``[N, L]`` to unit ``embeddings [N, D]``."""
        return self.text.text_path(input_ids)
