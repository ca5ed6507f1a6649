"""Segment Anything as one trainable module with the official parameter names."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from t2s_export.architectures.sam.config import AnySamConfig, SamConfig
from t2s_export.architectures.sam.image_encoder import ImageEncoder
from t2s_export.architectures.sam.mask_decoder import MaskDecoder
from t2s_export.architectures.sam.prompt_encoder import PromptEncoder
from t2s_export.architectures.sam.tiny_vit import TinyVit

__all__ = ["Sam"]


class Sam(nn.Module):
    """Segment Anything: an image encoder, a prompt encoder and a mask decoder.

    ``state_dict()`` has the keys and shapes of segment_anything's checkpoints, or of MobileSAM's
    but for the classifier's, which no mask needs.

    Args:
        config: the sizes, e.g. ``SAM_VIT_B`` or ``MOBILE_SAM``; its class says which image encoder.
    """

    image_encoder: ImageEncoder | TinyVit

    def __init__(self, config: AnySamConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = (
            ImageEncoder(config) if isinstance(config, SamConfig) else TinyVit(config)
        )
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)

    def encode(self, image: Tensor) -> Tensor:
        """Encode RGB ``[B, H, W, 3]`` in 0..255, uint8 or float, to ``[B, C, h, w]``."""
        return cast(Tensor, self.image_encoder(image))

    def decode(
        self, embedding: Tensor, point_coords: Tensor, point_labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode N prompts on one image embedding, or on one embedding per prompt.

        Prompts of points only need a padding point (0, 0) with label -1 from the caller, as the
        original adds one.

        Args:
            embedding: ``[1, C, h, w]``, or ``[N, C, h, w]`` in training.
            point_coords: ``[N, P, 2]`` x y in model-frame pixels.
            point_labels: ``[N, P]`` float: -1 padding, 0 negative, 1 positive, 2 and 3 corners.

        Returns:
            mask logits ``[N, 4, 4h, 4w]`` and predicted IoU ``[N, 4]``.
        """
        prompts = self.prompt_encoder(point_coords, point_labels)
        image = self.prompt_encoder.image_tokens(embedding)
        positions = self.prompt_encoder.grid_positions()
        return cast(tuple[Tensor, Tensor], self.mask_decoder(prompts, image, positions))
