"""The trainable models behind the contracts: what the exported graphs are compared with.

The graph modules that are exported fold constants and reorder arithmetic. Comparing a file with
the *trainable* module proves the folding together with the export.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2s_export.architectures.clip import Clip
from t2s_export.architectures.grounding_dino import GroundingDino
from t2s_export.architectures.grounding_dino.query_selection import proposal_scores
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
    """``GroundingDino.detect`` as the detector's contract.

    It can be made to follow a graph's choice of proposals: their scores differ by as little as
    1e-6, so a rounding swaps two of them; each rank has a learned content of its own, so a swap
    changes both rows, and through the attention among queries a little of all others. That says
    nothing about the graph. What does is how far its choice is from the best one.
    """

    def __init__(self, model: GroundingDino) -> None:
        super().__init__()
        self.model = model
        self._selected: Tensor | None = None
        self.shortfall = 0.0
        """Largest difference of any rank's score between the choice followed and the best one,
        over the largest score where that is above 1."""

    def follow(self, selected: Tensor | None) -> None:
        """From now on use these proposals int64 ``[B, Q]``; None uses the best."""
        self._selected = selected

    def forward(
        self, image: Tensor, features: Tensor, token_mask: Tensor, attention: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One caption for all images of the batch, as the contract has it."""
        model, batch = self.model, image.shape[0]
        given = (features, token_mask, attention, places)
        text = model.text_inputs(*(t.expand(batch, *t.shape[1:]) for t in given))
        geometry = model.geometry(image.shape[1], image.shape[2])
        selection, layers = model.run(image, text, geometry, False, self._selected)
        if self._selected is not None:
            exclude = model.config.exclude_invalid_proposals
            scores = proposal_scores(selection.logits, geometry, exclude)
            best = torch.topk(scores, self._selected.shape[1], dim=1)[0]
            away = (scores.gather(1, self._selected) - best).abs().max()
            self.shortfall = float(away / best.abs().max().clamp(min=1.0))
        logits, boxes = layers[-1]
        return logits, boxes


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
