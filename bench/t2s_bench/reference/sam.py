"""The original Segment Anything at full size, and what our graphs have to equal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2s_bench.reference.case import Case, Limit, as_arrays, official_file, seeded_image
from t2s_bench.reference.loading import load_sam
from t2s_bench.reference.mobile_sam import MobileSamEncoder, official_names, watch_tiny_vit
from t2s_bench.reference.packages import segment_anything, tiny_vit
from t2s_bench.reference.stages import Stages, token_rows
from t2s_bench.reference.weights import randomise_deep
from t2s_export.architectures.sam import (
    MOBILE_SAM,
    SAM_VIT_B,
    SAM_VIT_H,
    SAM_VIT_L,
    MaskDecoderGraph,
    MaskEncoderGraph,
    MobileSamConfig,
    SamConfig,
)
from t2s_export.architectures.sam.graphs import FoldedVit
from t2s_export.architectures.sam.image_encoder import PatchEmbed
from t2s_export.architectures.sam.tiny_vit_graph import FoldedTinyVit

__all__ = [
    "SAM_FILES",
    "build_original",
    "decoder_case",
    "official_state",
    "sam_cases",
    "sam_like",
]

SAM_FILES = {
    "sam_vit_b": ("vit_b", "sam_vit_b_01ec64.pth", SAM_VIT_B),
    "sam_vit_l": ("vit_l", "sam_vit_l_0b3195.pth", SAM_VIT_L),
    "sam_vit_h": ("vit_h", "sam_vit_h_4b8939.pth", SAM_VIT_H),
    "mobile_sam": ("tiny_vit", "mobile_sam.pt", MOBILE_SAM),
}
"""Name of the architecture, of the official file, and our sizes."""

_SEED = 101
_BOXES = 20
_MASK_LIMITS = {"mask_logits": Limit(), "iou": Limit(max_abs=1e-3)}


def sam_cases(model: str, folder: Path) -> Iterator[Case]:
    """Prove one official SAM: encoder, and the decoder with boxes and with points.

    Args:
        model: a key of `SAM_FILES`.
        folder: where the checkpoint goes; it is gone when the first case comes.

    Raises:
        MissingOriginalError: segment_anything is not installed.
    """
    architecture, name, config = SAM_FILES[model]
    original = build_original(model)
    path = official_file(folder, name, official_state(original))
    ours = load_sam(path, architecture)
    encoder, decoder = MaskEncoderGraph(ours), MaskDecoderGraph(ours)
    del ours  # its weights are mapped from the file
    path.unlink()
    size = config.image_size
    image = seeded_image(size, 1, _SEED)
    stages = Stages()
    if isinstance(encoder.encoder, FoldedTinyVit):
        watch_tiny_vit(stages, original.image_encoder, encoder.encoder, image)
    else:
        _watch_vit(stages, original.image_encoder, encoder.encoder, image)

    def encode() -> Tensor:
        with torch.no_grad():
            if isinstance(original.image_encoder, MobileSamEncoder):
                return cast(Tensor, original.image_encoder(image)[-1])
            planes = image.permute(0, 3, 1, 2).float()
            return cast(Tensor, original.image_encoder(original.preprocess(planes)))

    with stages.running():
        embedding = encode()
    case = Case(
        graph="mask_encoder",
        role="mask_encoder",
        module=encoder,
        # the graph is the same for any batch that is traced (tests/export/sam)
        example={"image": image},
        feeds=as_arrays({"image": image}),
        expected=as_arrays({"image_embedding": embedding}),
        opponent=encode,
        what=f"one image of {size}²",
        limits={"image_embedding": Limit()},
        stages=stages.figures,
    )
    del encoder
    yield case
    del case
    original.image_encoder = nn.Identity()  # the largest part, no longer needed
    for boxes in (True, False):
        yield decoder_case(original, decoder, embedding, size, boxes=boxes)


def build_original(model: str) -> Any:
    """The original with random weights: the package's, for MobileSAM with timm's encoder."""
    architecture, _, config = SAM_FILES[model]
    package = segment_anything()
    if isinstance(config, MobileSamConfig):
        original = package.sam_model_registry["vit_b"]()
        original.image_encoder = MobileSamEncoder(
            tiny_vit(),
            package,
            config.embed_dims,
            config.depths,
            config.num_heads,
            config.window_sizes,
            config.out_channels,
        )
    else:
        original = package.sam_model_registry[architecture]()
    original.eval().requires_grad_(False)
    randomise_deep(original, _SEED)
    return original


def sam_like(config: SamConfig) -> Any:
    """The original SAM at our sizes, built as ``segment_anything.build_sam`` does.

    A configuration with a stem gets the project's own, for the original has none.
    """
    modeling = segment_anything().modeling
    grid, channels = config.grid, config.out_channels
    original = modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.embed_dim,
            depth=config.depth,
            num_heads=config.num_heads,
            mlp_ratio=config.mlp_ratio,
            out_chans=channels,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=config.window_size,
            global_attn_indexes=config.global_blocks,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(grid, grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=config.mask_in_channels,
        ),
        mask_decoder=modeling.MaskDecoder(
            transformer_dim=channels,
            transformer=modeling.TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=channels,
                num_heads=config.decoder_heads,
                mlp_dim=config.decoder_mlp_dim,
            ),
            iou_head_hidden_dim=config.iou_hidden_dim,
        ),
    ).eval()
    if config.stem:
        _add_stem(original.image_encoder, config)
    return original


def _add_stem(encoder: Any, config: SamConfig) -> None:
    """Put the project's stem, and the norm behind its positions, into an original encoder."""
    encoder.patch_embed, encoder.norm_pre = PatchEmbed(config), nn.LayerNorm(config.embed_dim)
    encoder.blocks[0].register_forward_pre_hook(lambda _, args: (encoder.norm_pre(args[0]),))


def official_state(original: Any) -> dict[str, Tensor]:
    """The state dict with the names of the published file."""
    state: dict[str, Tensor] = original.state_dict()
    if not isinstance(original.image_encoder, MobileSamEncoder):
        return state
    renamed = official_names(original.image_encoder.state_dict())
    rest = {k: v for k, v in state.items() if not k.startswith("image_encoder.")}
    return {**{f"image_encoder.{k}": v for k, v in renamed.items()}, **rest}


def _watch_vit(stages: Stages, original: Any, ours: FoldedVit, image: Tensor) -> None:
    def tokens(*_: Any) -> Tensor:
        planes = image.permute(0, 3, 1, 2).float()
        x = F.conv2d(planes, ours.weight, ours.bias, stride=ours.stride)
        return x.permute(0, 2, 3, 1) + ours.positions

    stages.watch(
        "tokens", original.blocks[0], tokens, lambda args, _, output: cast(Tensor, args[0])
    )
    for index, (theirs, block) in enumerate(zip(original.blocks, ours.blocks, strict=True)):

        def run(
            args: tuple[Any, ...], _: dict[str, Any], output: Any, block: nn.Module = block
        ) -> Tensor:
            return cast(Tensor, block(args[0].reshape(-1, ours.dim)).view_as(output))

        kind = "window" if theirs.window_size else "global"
        stages.watch(f"block {index} ({kind})", theirs, run)
    stages.watch(
        "neck", original.neck, lambda args, _, output: cast(Tensor, ours.neck(token_rows(args[0])))
    )


def _prompts(size: int, boxes: bool) -> tuple[Tensor, Tensor]:
    """Coordinates ``[N, P, 2]`` and labels ``[N, P]``: boxes, or points with a padding point."""
    generator = torch.Generator().manual_seed(_SEED)
    xy = torch.rand((_BOXES, 2, 2), generator=generator) * size
    if boxes:
        return xy.sort(1)[0], torch.tensor([2.0, 3.0]).repeat(_BOXES, 1)
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]).repeat(_BOXES // 4, 1)
    padded = torch.cat([xy, torch.zeros(_BOXES, 1, 2)], 1)
    return padded, torch.cat([labels, -torch.ones(_BOXES, 1)], 1)


def decoder_case(
    original: Any, decoder: MaskDecoderGraph, embedding: Tensor, size: int, *, boxes: bool
) -> Case:
    """Twenty prompts in one call, against the original's own batched call.

    Args:
        original: the package's model (its prompt encoder and mask decoder).
        decoder: our graph module with the same weights.
        embedding: ``[1, C, h, w]`` of an image.
        size: of the model frame in pixels.
        boxes: boxes, or else two points each with the padding point that the original adds.
    """
    coords, labels = _prompts(size, boxes)
    encoder, theirs = original.prompt_encoder, original.mask_decoder

    def decode() -> tuple[Tensor, Tensor]:
        given: dict[str, Any] = {"points": None, "boxes": None, "masks": None}
        if boxes:
            given["boxes"] = coords.reshape(-1, 4)
        else:
            given["points"] = (coords[:, :-1], labels[:, :-1])
        with torch.no_grad():
            sparse, dense = encoder(**given)
            result = theirs.predict_masks(
                image_embeddings=embedding,
                image_pe=encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
            )
        return cast(tuple[Tensor, Tensor], result)

    stages = Stages()
    _watch_decoder(stages, encoder, theirs, decoder, coords, labels)
    with stages.running():
        masks, iou = decode()
    feeds = {"image_embedding": embedding, "point_coords": coords, "point_labels": labels}
    return Case(
        graph=f"mask_decoder, {'boxes' if boxes else 'points'}",
        role="mask_decoder",
        module=decoder,
        # sizes that no axis of the model has
        example={**feeds, "point_coords": torch.rand(3, 5, 2), "point_labels": torch.ones(3, 5)},
        feeds=as_arrays(feeds),
        expected=as_arrays({"mask_logits": masks, "iou": iou}),
        opponent=decode,
        what=f"{_BOXES} {'boxes' if boxes else 'prompts of two points'}",
        limits=_MASK_LIMITS,
        stages=stages.figures,
    )


def _watch_decoder(
    stages: Stages,
    encoder: Any,
    theirs: Any,
    graph: MaskDecoderGraph,
    coords: Tensor,
    labels: Tensor,
) -> None:
    ours = graph.mask_decoder
    stages.add("positions", encoder.get_dense_pe()[0].flatten(1).t(), graph.positions)
    stages.watch(
        "prompt encoder",
        encoder,
        lambda *_: cast(Tensor, graph.prompt_encoder(coords, labels)),
        lambda args, _, output: cast(Tensor, output[0]),
    )
    for index, layer in enumerate(theirs.transformer.layers):
        part = ours.transformer.layers[index]

        def run(
            _: tuple[Any, ...], given: dict[str, Any], output: Any, part: nn.Module = part
        ) -> Sequence[Tensor]:
            names = ("queries", "keys", "query_pe", "key_pe")
            return cast(Sequence[Tensor], part(*(given[name] for name in names)))

        stages.watch(f"two-way layer {index}", layer, run)

    def tokens(image: Tensor) -> Tensor:
        return image.flatten(2).transpose(1, 2)

    stages.watch(
        "transformer",
        theirs.transformer,
        lambda args, *_: cast(
            Sequence[Tensor], ours.transformer(args[2], tokens(args[0]), tokens(args[1]))
        ),
    )
    weights = torch.randn(1, 4, ours.dim // 8, generator=torch.Generator().manual_seed(_SEED))
    stages.watch(
        "mask upscaling",
        theirs.output_upscaling,
        lambda args, *_: ours._masks(weights, tokens(args[0])),
        lambda args, _, output: torch.einsum(
            "nmc,nchw->nmhw", weights.expand(len(output), -1, -1), output
        ),
    )
    for index, mlp in enumerate(theirs.output_hypernetworks_mlps):
        part = ours.output_hypernetworks_mlps[index]
        stages.watch(
            f"hypernetwork {index}",
            mlp,
            lambda args, _, output, part=part: cast(Tensor, part(args[0])),  # type: ignore[misc]
        )
    stages.watch(
        "iou head",
        theirs.iou_prediction_head,
        lambda args, *_: cast(Tensor, ours.iou_prediction_head(args[0])),
    )
