"""Modules of a few parameters that fulfil contracts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ToyClipDense", "ToyClipImage", "ToyDetector", "toy_detector_inputs", "toy_images"]


def toy_images(batch: int, size: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, size, size, 3)
    return {"image": torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)}


class ToyClipDense(nn.Module):
    """Patches of 4 x 4 pixels, a class token, one attention: the shapes of a CLIP image tower."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(48, 6)
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.norm = nn.LayerNorm(6)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch = image.shape[0]
        pixels = image.to(torch.float32) / 255
        patches = pixels.reshape(batch, 2, 4, 2, 4, 3).transpose(2, 3).reshape(batch, 4, 48)
        x = torch.cat([self.token.expand(batch, -1, -1), self.embed(patches)], dim=1)
        heads = self.norm(x).reshape(batch, 5, 2, 3).transpose(1, 2)
        attended = (heads @ heads.transpose(-1, -2)).softmax(-1) @ heads
        y = functional.normalize(x + attended.transpose(1, 2).reshape(batch, 5, 6), dim=-1)
        values = functional.normalize(x, dim=-1)
        return y[:, 1:], values[:, 1:], y[:, 0]


class ToyClipImage(nn.Module):
    """The class token of :class:`ToyClipDense`."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = ToyClipDense()

    def forward(self, image: Tensor) -> Tensor:
        return self.dense(image)[2]  # type: ignore[no-any-return]


class ToyDetector(nn.Module):
    """64 pixels as queries, of which the best 16 are kept."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Linear(3, 8)
        self.boxes = nn.Linear(8, 4)

    def forward(
        self,
        image: Tensor,
        text_features: Tensor,
        text_token_mask: Tensor,
        text_self_attention_mask: Tensor,
        position_ids: Tensor,
    ) -> tuple[Tensor, Tensor]:
        pixels = (image.to(torch.float32) / 255).flatten(1, 2)
        queries = torch.tanh(self.features(pixels))
        seen = text_self_attention_mask.to(torch.float32) @ text_features
        seen = seen * (1 + 0.1 * position_ids.to(torch.float32)[..., None])
        bias = (1 - text_token_mask.to(torch.float32)) * -1e4
        logits = queries @ seen.transpose(-1, -2) + bias[:, None]
        best = torch.topk(logits.amax(-1), 16).indices[..., None]
        logits = logits.gather(1, best.expand(-1, -1, logits.shape[-1]))
        return logits, self.boxes(queries.gather(1, best.expand(-1, -1, 8))).sigmoid()


def toy_detector_inputs(batch: int, tokens: int, padding: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    mask = torch.ones(1, tokens, dtype=torch.bool)
    mask[:, tokens - padding :] = False
    return {
        **toy_images(batch),
        "text_features": torch.randn(1, tokens, 8, generator=generator),
        "text_token_mask": mask,
        "text_self_attention_mask": torch.eye(tokens, dtype=torch.bool)[None].clone(),
        "position_ids": torch.arange(tokens, dtype=torch.int32)[None],
    }
