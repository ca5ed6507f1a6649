"""CLIP as one trainable module with the parameter names of OpenAI's and open_clip's checkpoints."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from t2s_export.architectures.clip.config import ClipConfig
from t2s_export.architectures.clip.transformer import Transformer, unit
from t2s_export.architectures.clip.vision import VisionTransformer
from t2s_rt.errors import UsageError

__all__ = ["Clip", "causal_mask", "end_positions"]

MASKED = -1e4
"""Score of a hidden token: finite, zero after softmax, and inside fp16's range."""


def causal_mask(length: int) -> Tensor:
    """Scores to add so that a token sees itself and what stands before it, ``[L, L]``."""
    return torch.full((length, length), MASKED).triu(1)


def end_positions(input_ids: Tensor, positions: Tensor) -> Tensor:
    """Mark the end-of-text token, the first with the highest id, as booleans ``[N, L]``."""
    return input_ids.argmax(-1, keepdim=True) == positions


class Clip(nn.Module):
    """CLIP's two towers.

    ``state_dict()`` has the keys and shapes of OpenAI's and open_clip's ViT checkpoints.

    Args:
        config: the sizes, e.g. ``VIT_B_16`` or ``CLIP_NANO``.
    """

    mask: Tensor
    positions: Tensor

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        width = config.text_width
        self.visual = VisionTransformer(config)
        self.transformer = Transformer(
            width, config.text_layers, config.text_heads, config.mlp_ratio, config.quick_gelu
        )
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(config.context_length, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.register_buffer("mask", causal_mask(config.context_length), persistent=False)
        self.register_buffer("positions", torch.arange(config.context_length), persistent=False)

    def encode_image(self, crops: Tensor) -> Tensor:
        """Embed RGB crops.

        Args:
            crops: ``[B, H, W, 3]`` in 0..255, uint8 or float, sides multiples of the patch size.

        Returns:
            ``[B, D]`` unit embeddings of the class token.
        """
        return self.visual.class_path(self.visual.tokens(crops))

    def dense(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embed every patch of RGB images.

        Args:
            image: ``[B, H, W, 3]`` as for :meth:`encode_image`.

        Returns:
            ``patch_embeddings [B, hw, D]`` of the last block's q-q + k-k + v-v attention,
            ``surgery_embeddings [B, hw, D]`` of the v-v dual path, ``image_embedding [B, D]`` of
            the class token; patches row-major, all of unit length.
        """
        return self.visual.dense_paths(self.visual.tokens(image))

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """Embed texts.

        Args:
            input_ids: ``[N, L]`` integers, L up to the context length; the end-of-text token has
                the highest id of its row.

        Returns:
            ``[N, D]`` unit embeddings.
        """
        length = int(input_ids.shape[1])
        if length > self.config.context_length:
            raise UsageError(
                f"CLIP text: expected at most {self.config.context_length} tokens, "
                f"found {length}; shorten the text"
            )
        return self.text_path(input_ids)

    def text_path(self, input_ids: Tensor) -> Tensor:
        """:meth:`encode_text` without the check of the length, which no trace can hold."""
        length = input_ids.shape[1]
        x = self.token_embedding(input_ids) + self.positional_embedding[:length]
        x = self.ln_final(self.transformer(x, self.mask[:length, :length]))
        end = end_positions(input_ids, self.positions[:length]).to(x.dtype)
        pooled = torch.matmul(end[:, None], x)[:, 0]
        return unit(torch.matmul(pooled, self.text_projection))
