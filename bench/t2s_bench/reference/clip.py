"""The original CLIP at full size, as open_clip builds it, and what our graphs have to equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from t2s_bench.reference.case import Case, Limit, as_arrays, official_file, seeded_image
from t2s_bench.reference.clip_papers import ClipPapers
from t2s_bench.reference.loading import load_clip
from t2s_bench.reference.packages import open_clip, quiet
from t2s_bench.reference.stages import Stages
from t2s_bench.reference.weights import randomise_deep
from t2s_export.architectures.clip import (
    VIT_B_16,
    VIT_B_32,
    VIT_L_14,
    VIT_L_14_336,
    Clip,
    ClipConfig,
    ClipDenseGraph,
    ClipImageGraph,
    ClipTextGraph,
)

__all__ = ["CLIP_MODELS", "clip_cases", "random_clip"]

CLIP_MODELS: Mapping[str, tuple[str, ClipConfig]] = {
    "ViT-B-32": ("ViT-B-32-quickgelu", VIT_B_32),
    "ViT-B-16": ("ViT-B-16-quickgelu", VIT_B_16),
    "ViT-L-14": ("ViT-L-14-quickgelu", VIT_L_14),
    "ViT-L-14-336": ("ViT-L-14-336-quickgelu", VIT_L_14_336),
}
"""open_clip's configuration with OpenAI's activation, and our sizes."""

_SEED = 303
_CROPS = 8
_TEXTS, _LENGTH = 8, 16
_FRAME = 512
"""Side of the dense image in pixels, cut to whole patches: 504 for patches of 14."""
_START, _END = 49406, 49407


def random_clip(model: str, folder: Path, seed: int) -> tuple[Any, Clip]:
    """An original with random weights, and our module with the same ones from its file.

    Args:
        model: a key of `CLIP_MODELS`.
        folder: where the checkpoint lies for a moment.
        seed: of the weights.

    Raises:
        MissingOriginalError: open_clip is not installed.
    """
    name, config = CLIP_MODELS[model]
    with quiet():
        original = open_clip().create_model(name).eval().requires_grad_(False)
    randomise_deep(original, seed)
    path = official_file(folder, f"{model}.pt", original.state_dict())
    ours = load_clip(path, model, quick_gelu=config.quick_gelu)
    path.unlink()
    return original, ours


def clip_cases(model: str, folder: Path) -> Iterator[Case]:
    """Prove one CLIP: class embedding of crops, dense paths of an image, texts.

    Args:
        model: a key of `CLIP_MODELS`.
        folder: where the checkpoint goes; it is gone when the first case comes.

    Raises:
        MissingOriginalError: open_clip is not installed.
    """
    original, ours = random_clip(model, folder, _SEED)
    yield _class_case(original, ours)
    yield _dense_case(original, ours)
    text = ClipTextGraph(ours)
    del ours
    yield _text_case(original, text)


def _watch_blocks(stages: Stages, theirs: Any, ours: Any) -> None:
    for index, (block, part) in enumerate(
        zip(theirs.resblocks, ours.transformer.blocks, strict=True)
    ):

        def run(
            args: tuple[Any, ...], given: dict[str, Any], _: Any, part: nn.Module = part
        ) -> Tensor:
            return cast(Tensor, part(args[0], given.get("attn_mask")))

        stages.watch(f"block {index}", block, run)


def _class_case(original: Any, ours: Clip) -> Case:
    size = ours.config.image_size
    image = seeded_image(size, _CROPS, _SEED)
    graph = ClipImageGraph(ours, size)
    package = open_clip()
    mean = torch.tensor(package.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(package.OPENAI_DATASET_STD).view(3, 1, 1)

    def encode() -> Tensor:
        with torch.no_grad():
            planes = (image.permute(0, 3, 1, 2).float() / 255 - mean) / std
            return cast(Tensor, original.encode_image(planes, normalize=True))

    stages = Stages()
    stages.watch("tokens", original.visual.ln_pre, lambda *_: graph.tokens(image))
    _watch_blocks(stages, original.visual.transformer, graph.visual)
    with stages.running():
        expected = encode()
    return Case(
        graph="clip_image",
        role="clip_image",
        module=graph,
        # the graph is the same for any batch that is traced (tests/export/clip)
        example={"image": image[:1]},
        feeds=as_arrays({"image": image}),
        expected=as_arrays({"embeddings": expected}),
        opponent=encode,
        what=f"{_CROPS} crops of {size}²",
        limits={"embeddings": Limit()},
        stages=stages.figures,
    )


def _dense_case(original: Any, ours: Clip) -> Case:
    config = ours.config
    size = _FRAME // config.patch_size * config.patch_size
    image = seeded_image(size, 1, _SEED)
    graph = ClipDenseGraph(ours, size)
    options: dict[str, Any] = {
        "heads": config.heads,
        "surgery_blocks": config.surgery_blocks,
        "quick_gelu": config.quick_gelu,
    }
    state = original.state_dict()
    exact = ClipPapers(state, **options)
    stages = Stages()
    with torch.no_grad():
        stages.add("tokens", exact.tokens(image[0]), graph.tokens(image)[0])
        patches, surgery, whole = exact.surgery(image[0])
    del exact
    eager = ClipPapers(state, **options, dtype=torch.float32)

    def encode() -> object:
        with torch.no_grad():
            return eager.surgery(image[0])

    return Case(
        graph="clip_dense",
        role="clip_dense",
        module=graph,
        example={"image": image},
        feeds=as_arrays({"image": image}),
        expected=as_arrays(
            {
                "patch_embeddings": patches[None],
                "surgery_embeddings": surgery[None],
                "image_embedding": whole[None],
            }
        ),
        opponent=encode,
        what=f"one image of {size}²",
        limits={
            name: Limit() for name in ("patch_embeddings", "surgery_embeddings", "image_embedding")
        },
        stages=stages.figures,
    )


def _texts(count: int, length: int) -> Tensor:
    """Token ids: start, words, end, zeros; every text of another length."""
    generator = torch.Generator().manual_seed(_SEED)
    ids = torch.zeros(count, length, dtype=torch.int32)
    for row in range(count):
        words = 2 + row % (length - 3)
        ids[row, 0], ids[row, words + 1] = _START, _END
        ids[row, 1 : words + 1] = torch.randint(1, _START, (words,), generator=generator).int()
    return ids


def _text_case(original: Any, graph: ClipTextGraph) -> Case:
    ids = _texts(_TEXTS, _LENGTH)
    # the original takes texts padded to its context length, always
    padded = torch.nn.functional.pad(ids, (0, original.context_length - _LENGTH)).long()

    def encode() -> Tensor:
        with torch.no_grad():
            return cast(Tensor, original.encode_text(padded, normalize=True))

    stages = Stages()
    _watch_blocks(stages, original.transformer, graph.text)
    with stages.running():
        expected = encode()
    return Case(
        graph="clip_text",
        role="clip_text",
        module=graph,
        example={"input_ids": _texts(3, 11)},
        feeds=as_arrays({"input_ids": ids}),
        expected=as_arrays({"embeddings": expected}),
        opponent=encode,
        what=f"{_TEXTS} texts, at most {_LENGTH} tokens (the original pads them to 77)",
        limits={"embeddings": Limit()},
        stages=stages.figures,
    )
