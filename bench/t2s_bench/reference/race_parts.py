"""The parts of the reference chain in torch: the original packages', and nano's own modules.

The original Grounding DINO builds Swin backbones of its named sizes alone, and the original CLIP
no convolutional stem, so that neither can take nano's weights: there the project's trainable
modules run, which the tests prove equal to the originals on the sizes that both can build.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from t2s_bench.reference import grounding_dino
from t2s_bench.side_by_side.phrases import Phrase
from t2s_export.architectures.clip import Clip
from t2s_export.architectures.clip.config import PIXEL_MEAN as CLIP_MEAN
from t2s_export.architectures.clip.config import PIXEL_STD as CLIP_STD
from t2s_export.architectures.grounding_dino import GroundingDino
from t2s_rt.prompts import caption_inputs

__all__ = ["NanoClip", "NanoDetector", "OriginalClip", "OriginalDetector", "visual_tokens"]


class OriginalDetector:
    """groundingdino's model as a part of the chain.

    Args:
        model: from :func:`t2s_bench.reference.grounding_dino.build`.
        frame: side of its image, pixels.
        mean: of each RGB channel in 0..255.
        std: standard deviation likewise.
    """

    def __init__(
        self, model: Any, frame: int, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        self.model, self.frame = model, frame
        self._mean, self._std = torch.tensor(mean), torch.tensor(std)

    def encode_text(self, phrase: Phrase) -> Tensor:
        """BERT and the projection, ``[1, T, 256]``."""
        ids = torch.from_numpy(phrase.caption)
        mask, positions = grounding_dino.text_masks(ids, phrase.special_ids)
        return grounding_dino.encode_text(self.model, ids, mask, positions)

    def detect(self, image: Tensor, features: Tensor, phrase: Phrase) -> tuple[Tensor, Tensor]:
        """Logits ``[Q, 256]`` and boxes ``[Q, 4]`` of uint8 ``[1, s, s, 3]``."""
        ids = torch.from_numpy(phrase.caption)
        mask, positions = grounding_dino.text_masks(ids, phrase.special_ids)
        planes = ((image.float() - self._mean) / self._std).permute(0, 3, 1, 2)
        real = torch.ones(ids.shape, dtype=torch.bool)
        logits, boxes = grounding_dino.forward(self.model, planes, features, real, mask, positions)
        return logits[0], boxes[0]


class NanoDetector:
    """The project's trainable Grounding DINO in eager torch.

    Args:
        model: with nano's weights.
    """

    def __init__(self, model: GroundingDino) -> None:
        self.model, self.frame = model, model.config.frame

    def encode_text(self, phrase: Phrase) -> Tensor:
        """Text features ``[1, T, D]``."""
        ids = torch.from_numpy(phrase.caption)
        _, mask, positions = _text(phrase)
        return self.model.encode_text(ids, positions, mask)

    def detect(self, image: Tensor, features: Tensor, phrase: Phrase) -> tuple[Tensor, Tensor]:
        """Logits ``[Q, T]`` and boxes ``[Q, 4]`` of uint8 ``[1, s, s, 3]``."""
        found = self.model.detect(image, features, *_text(phrase))
        return found.logits[0], found.boxes[0]


def _text(phrase: Phrase) -> tuple[Tensor, Tensor, Tensor]:
    """Token mask, self-attention mask and positions of a caption."""
    made = caption_inputs(phrase.caption[0], phrase.special_ids)
    real, mask, positions = (torch.from_numpy(array) for array in made)
    return real, mask, positions


class OriginalClip:
    """open_clip's model as a part of the chain.

    Args:
        model: from open_clip.
        image_size: that it was built for, pixels; also of crops.
    """

    def __init__(self, model: Any, image_size: int) -> None:
        self.model, self.image_size, self.crop_size = model, image_size, image_size
        self._mean, self._std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)

    def _planes(self, image: Tensor) -> Tensor:
        return ((image.float() - self._mean) / self._std).permute(0, 3, 1, 2)

    def encode_text(self, ids: Tensor) -> Tensor:
        """Embeddings ``[N, D]``."""
        return cast(Tensor, self.model.encode_text(ids))

    def tokens(self, image: Tensor) -> Tensor:
        """Projected tokens ``[1, 1 + n, D]``: the steps of its image tower without the pooling."""
        return visual_tokens(self.model.visual, self._planes(image))

    def embed(self, crops: Tensor) -> Tensor:
        """Class embeddings ``[N, D]``."""
        return cast(Tensor, self.model.encode_image(self._planes(crops)))


def visual_tokens(visual: Any, planes: Tensor) -> Tensor:
    """All tokens of open_clip's image tower, projected: ``[B, 1 + n, D]``."""
    hidden = visual.transformer(visual._embeds(planes))
    return cast(Tensor, visual.ln_post(hidden) @ visual.proj)


class NanoClip:
    """The project's trainable CLIP in eager torch.

    Args:
        model: with nano's weights.
        crop_size: side of crops, pixels.
    """

    def __init__(self, model: Clip, crop_size: int) -> None:
        self.model, self.image_size, self.crop_size = model, model.config.image_size, crop_size

    def encode_text(self, ids: Tensor) -> Tensor:
        """Embeddings ``[N, D]``."""
        return self.model.encode_text(ids)

    def tokens(self, image: Tensor) -> Tensor:
        """Projected tokens ``[1, 1 + n, D]``."""
        visual = self.model.visual
        hidden = visual.tokens(image)
        for block in visual.transformer.blocks:
            hidden = block(hidden)
        return visual.embed(hidden)

    def embed(self, crops: Tensor) -> Tensor:
        """Class embeddings ``[N, D]``."""
        return self.model.encode_image(crops)
