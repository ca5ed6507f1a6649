"""The trainable models behind the contracts: what the exported graphs are compared with.

The graph modules that are exported fold constants and reorder arithmetic. Comparing a file with
the *trainable* module proves the folding together with the export.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2s_export.architectures.clip import Clip
from t2s_export.architectures.grounding_dino import GroundingDino
from t2s_export.architectures.sam import Sam
from t2s_export.architectures.sam.mask_decoder import MaskDecoder

__all__ = [
    "ClipDenseReference",
    "ClipImageReference",
    "ClipPatchesReference",
    "ClipTextReference",
    "DetectorReference",
    "DetectorTextReference",
    "MaskDecoderLocalReference",
    "MaskDecoderReference",
    "MaskEncoderReference",
]


class DetectorReference(nn.Module):
    """``GroundingDino.detect`` as the detector's contract."""

    def __init__(self, model: GroundingDino) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, image: Tensor, features: Tensor, token_mask: Tensor, attention: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One caption for all images of the batch, as the contract has it."""
        batch = image.shape[0]
        text = [t.expand(batch, *t.shape[1:]) for t in (features, token_mask, attention, places)]
        found = self.model.detect(image, *text)
        return found.logits, found.boxes


class DetectorTextReference(nn.Module):
    """``GroundingDino.encode_text`` as the detector_text contract."""

    def __init__(self, model: GroundingDino) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, position_ids: Tensor, attention: Tensor) -> Tensor:
        """Text features."""
        return self.model.encode_text(input_ids, position_ids, attention)


class MaskEncoderReference(nn.Module):
    """``Sam.encode`` as the mask_encoder contract."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Image embedding."""
        return self.model.encode(image)


class MaskDecoderReference(nn.Module):
    """``Sam.decode`` as the mask_decoder contract."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(self, embedding: Tensor, coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """All four masks and their predicted IoU."""
        return self.model.decode(embedding, coords, labels)


class MaskDecoderLocalReference(nn.Module):
    """The mask_decoder_local contract, prompt by prompt on windows cut out by slices."""

    def __init__(self, model: Sam, cells: int) -> None:
        super().__init__()
        self.model = model
        self.cells = cells
        self.decoder = MaskDecoder(model.config.decoder_at(cells * model.config.patch_size))
        self.decoder.load_state_dict(model.mask_decoder.state_dict())

    def forward(
        self, embedding: Tensor, coords: Tensor, labels: Tensor, window: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All four masks over each window and their predicted IoU."""
        grid, prompts = self.model.config.grid, self.model.prompt_encoder
        positions = prompts.grid_positions().view(grid, grid, -1)
        tokens = prompts.image_tokens(embedding).view(grid, grid, -1)
        results = []
        for index, (row, column) in enumerate(window.tolist()):
            rows, columns = slice(row, row + self.cells), slice(column, column + self.cells)
            one = slice(index, index + 1)
            results.append(
                self.decoder(
                    prompts(coords[one], labels[one]),
                    tokens[rows, columns].flatten(0, 1)[None],
                    positions[rows, columns].flatten(0, 1),
                )
            )
        logits, iou = zip(*results, strict=True)
        return torch.cat(logits), torch.cat(iou)


class ClipImageReference(nn.Module):
    """``Clip.encode_image`` as the clip_image contract."""

    def __init__(self, model: Clip) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Class embeddings."""
        return self.model.encode_image(image)


class ClipDenseReference(nn.Module):
    """``Clip.dense`` as the clip_dense contract."""

    def __init__(self, model: Clip) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Patch, surgery and class embeddings."""
        return self.model.dense(image)


class ClipPatchesReference(nn.Module):
    """``Clip.dense``'s first output as the clip_patches contract."""

    def __init__(self, model: Clip) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Patch embeddings."""
        return self.model.dense(image)[0]


class ClipTextReference(nn.Module):
    """``Clip.encode_text`` as the clip_text contract."""

    def __init__(self, model: Clip) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        """Text embeddings."""
        return self.model.encode_text(input_ids)
