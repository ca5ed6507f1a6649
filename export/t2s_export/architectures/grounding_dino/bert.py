"""The text encoder: BERT by the parameter names of Hugging Face, without its pooler.

Source: Devlin et al. 2018, "BERT", arXiv:1810.04805.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_export.architectures.grounding_dino.config import GroundingDinoConfig

__all__ = ["BertModel"]

_EPSILON = 1e-12


class BertEmbeddings(nn.Module):
    """Words, positions and the one token type, summed and normalised."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        width = config.bert_width
        self.word_embeddings = nn.Embedding(config.vocabulary_size, width)
        self.position_embeddings = nn.Embedding(config.bert_positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        """Embed ``[B, T]`` ids as ``[B, T, C]``."""
        words = self.word_embeddings(input_ids) + self.token_type_embeddings.weight[0]
        embedded: Tensor = self.LayerNorm(words + self.position_embeddings(position_ids))
        return embedded


class BertSelfAttention(nn.Module):
    """Multi-head self-attention without its output layer."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        self.width, self.heads = config.bert_width, config.bert_heads
        self.query = nn.Linear(self.width, self.width)
        self.key = nn.Linear(self.width, self.width)
        self.value = nn.Linear(self.width, self.width)

    def forward(self, tokens: Tensor, bias: Tensor, length: int) -> Tensor:
        """Attend on ``[B, T, C]`` with an additive bias ``[B, 1, T, T]``."""
        inner = self.width // self.heads

        def by_head(projected: Tensor) -> Tensor:
            return projected.reshape(-1, length, self.heads, inner).transpose(1, 2)

        query, key = by_head(self.query(tokens)), by_head(self.key(tokens))
        scores = torch.matmul(query, key.transpose(-1, -2)) * inner**-0.5 + bias
        mixed = torch.matmul(scores.softmax(dim=-1), by_head(self.value(tokens)))
        return mixed.transpose(1, 2).reshape(-1, length, self.width)


class BertOutput(nn.Module):
    """A linear layer whose result is added to the residual and normalised."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        """Map ``[B, T, inner]`` and the residual ``[B, T, C]`` to ``[B, T, C]``."""
        output: Tensor = self.LayerNorm(self.dense(hidden) + residual)
        return output


class BertAttention(nn.Module):
    """Self-attention with its output layer."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = BertOutput(config.bert_width, config.bert_width)

    def forward(self, tokens: Tensor, bias: Tensor, length: int) -> Tensor:
        """Attend on ``[B, T, C]``."""
        output: Tensor = self.output(self.self(tokens, bias, length), tokens)
        return output


class BertIntermediate(nn.Module):
    """The widening half of the feed-forward part."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.bert_width, config.bert_ffn_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[B, T, C]`` to ``[B, T, hidden]``."""
        return F.gelu(self.dense(tokens))


class BertLayer(nn.Module):
    """One transformer layer of the text encoder."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config.bert_ffn_width, config.bert_width)

    def forward(self, tokens: Tensor, bias: Tensor, length: int) -> Tensor:
        """Map ``[B, T, C]`` to the same shape."""
        tokens = self.attention(tokens, bias, length)
        output: Tensor = self.output(self.intermediate(tokens), tokens)
        return output


class BertEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config) for _ in range(config.bert_layers))

    def forward(self, tokens: Tensor, bias: Tensor, length: int) -> Tensor:
        """Map ``[B, T, C]`` to the same shape."""
        for layer in self.layer:
            tokens = layer(tokens, bias, length)
        return tokens


class BertModel(nn.Module):
    """Token ids to contextual embeddings."""

    def __init__(self, config: GroundingDinoConfig) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)

    def forward(self, input_ids: Tensor, position_ids: Tensor, bias: Tensor) -> Tensor:
        """Encode.

        Args:
            input_ids: integer ``[B, T]``.
            position_ids: integer ``[B, T]``, counted from 0 in each phrase.
            bias: float ``[B, 1, T, T]``, 0 where a token may attend.

        Returns:
            ``[B, T, C]``.
        """
        tokens = self.embeddings(input_ids, position_ids)
        encoded: Tensor = self.encoder(tokens, bias, input_ids.shape[1])
        return encoded
