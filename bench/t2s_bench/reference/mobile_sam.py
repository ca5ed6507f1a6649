"""MobileSAM's image encoder of timm's TinyViT blocks: no package of MobileSAM is to be had.

The blocks are timm's, which follow the original TinyViT as MobileSAM does (padding before the layer
norm, biases by distance). What MobileSAM changed was read in its public source a second time, apart
from our architecture: the last step between stages keeps the grid (stride 1), the classifier gives
way to SAM's neck, which is segment_anything's here, and so is the preparation of pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_bench.reference.stages import Stages, token_rows
from t2s_export.architectures.sam.tiny_vit_graph import FoldedTinyVit

__all__ = ["MobileSamEncoder", "official_names", "randomise_statistics", "watch_tiny_vit"]


class MobileSamEncoder(nn.Module):
    """The encoder of timm's blocks; ``forward`` returns the output of every part.

    Args:
        timm_tiny_vit: the module timm.models.tiny_vit.
        segment_anything: the package.
        dims: width of each stage.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        windows: side of each stage's windows.
        channels: channels of the embedding.
    """

    def __init__(
        self,
        timm_tiny_vit: ModuleType,
        segment_anything: ModuleType,
        dims: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        windows: Sequence[int],
        channels: int,
    ) -> None:
        super().__init__()
        norm_2d: Any = segment_anything.modeling.common.LayerNorm2d
        self.patch_embed = timm_tiny_vit.PatchEmbed(3, dims[0], nn.GELU)
        self.layers = nn.ModuleList()
        for stage in range(4):
            layer = nn.Module()
            if stage == 0:
                layer.blocks = timm_tiny_vit.ConvLayer(dims[0], depths[0], nn.GELU).blocks
            else:
                layer.blocks = nn.Sequential(
                    *(
                        timm_tiny_vit.TinyVitBlock(dims[stage], heads[stage], windows[stage])
                        for _ in range(depths[stage])
                    )
                )
            if stage < 3:
                merging = timm_tiny_vit.PatchMerging(dims[stage], dims[stage + 1], nn.GELU)
                if stage == 2:
                    # MobileSAM: where out_dim is 320, 448 or 576, the last width of all TinyViTs
                    merging.conv2.conv.stride = (1, 1)
                layer.downsample = merging
            self.layers.append(layer)
        self.neck = nn.Sequential(
            nn.Conv2d(dims[3], channels, kernel_size=1, bias=False),
            norm_2d(channels),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            norm_2d(channels),
        )
        self.eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode uint8 ``[B, H, W, 3]``: patches, four stages, the embedding, all channel first."""
        mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
        deviation = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
        x = self.patch_embed((image.permute(0, 3, 1, 2).float() - mean) / deviation)
        outputs = [x]
        for stage, layer in enumerate(self.layers):
            rows = stage > 0  # timm's attention blocks have the channels last
            x = x.permute(0, 2, 3, 1) if rows else x
            x = layer.blocks(x)  # type: ignore[operator]
            x = x.permute(0, 3, 1, 2) if rows else x
            x = layer.downsample(x) if stage < 3 else x  # type: ignore[operator]
            outputs.append(x)
        return [*outputs, self.neck(x)]


def official_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of :class:`MobileSamEncoder` as mobile_sam.pt has them."""

    def rename(name: str) -> str:
        name = name.replace("patch_embed.conv1.", "patch_embed.seq.0.")
        name = name.replace("patch_embed.conv2.", "patch_embed.seq.2.")
        return re.sub(r"\.conv\.weight$", ".c.weight", name)

    return {rename(name): tensor for name, tensor in weights.items()}


@torch.no_grad()
def randomise_statistics(module: nn.Module, seed: int) -> None:
    """Draw the running variance of every batch norm between 0.5 and 2."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_var is not None:
            part.running_var.copy_(0.5 + 1.5 * torch.rand(part.num_features, generator=generator))


def watch_tiny_vit(
    stages: Stages, original: MobileSamEncoder, ours: FoldedTinyVit, image: Tensor
) -> None:
    """Watch every part of one call.

    Args:
        stages: takes the figures.
        original: of timm's blocks.
        ours: folded, with the same weights.
        image: uint8 ``[1, H, W, 3]``.
    """

    def patches(*_: Any) -> Tensor:
        x = (image.float() - ours.mean).permute(0, 3, 1, 2)
        return cast(Tensor, ours.patch2(F.gelu(ours.patch1(x))))

    stages.watch("patches", original.patch_embed, patches)
    first = cast(Any, original.layers[0])
    stages.watch("stage 0", first.blocks, lambda args, *_: cast(Tensor, ours.blocks(args[0])))
    for index, stage in enumerate(ours.stages):
        merging, blocks = cast(Any, original.layers[index]), cast(Any, original.layers[index + 1])
        part = cast(Any, stage)

        def merge(args: tuple[Any, ...], _: Any, __: Any, part: Any = part) -> Tensor:
            return cast(Tensor, part.merging(args[0]))

        stages.watch(f"merging {index}", merging.downsample, merge)
        for number, block in enumerate(blocks.blocks):

            def run(
                args: tuple[Any, ...], _: Any, output: Tensor, part: Any = part.blocks[number]
            ) -> Tensor:
                return cast(Tensor, part(args[0].reshape(-1, output.shape[-1])).view_as(output))

            stages.watch(f"stage {index + 1} block {number}", block, run)

    def neck(args: tuple[Any, ...], *_: Any) -> Tensor:
        return cast(Tensor, ours.neck(token_rows(args[0])))

    stages.watch("neck", original.neck, neck)
