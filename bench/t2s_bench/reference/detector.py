"""The original Grounding DINO at full size, and what our graphs have to equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from t2s_bench.reference import grounding_dino
from t2s_bench.reference.case import Case, Limit, as_arrays, official_file, seeded_image
from t2s_bench.reference.detector_stages import watch_detector
from t2s_bench.reference.loading import load_detector
from t2s_bench.reference.stages import Stages
from t2s_bench.reference.weights import randomise_deep
from t2s_export.architectures.grounding_dino import (
    SWIN_B,
    SWIN_T,
    DetectorGraph,
    DetectorTextGraph,
    GroundingDinoConfig,
)
from t2s_export.choices import DEFORMABLE_FORMS

__all__ = ["DETECTORS", "TOKENS", "caption", "detector_cases"]

DETECTORS: Mapping[str, tuple[str, GroundingDinoConfig]] = {
    "swin_t": ("groundingdino_swint_ogc.pth", SWIN_T),
    "swin_b": ("groundingdino_swinb_cogcoor.pth", SWIN_B),
}
"""Name of the official file, and our sizes."""

TOKENS = 38
"""As many as some seven classes have."""
_SEED = 202
_START, _END, _STOP = 101, 102, 1012  # [CLS], [SEP] and the full stop


def caption(tokens: int) -> Tensor:
    """Token ids ``[1, T]`` of a caption: phrases of one to four words between full stops."""
    generator = torch.Generator().manual_seed(_SEED)
    words = torch.randint(2000, 30000, (tokens,), generator=generator)
    phrase, length = 0, 0
    for place in range(1, tokens - 1):
        length += 1
        if length > 1 + phrase % 4 or place == tokens - 2:
            words[place] = _STOP
            phrase, length = phrase + 1, 0
    words[0], words[-1] = _START, _END
    return words[None]


def detector_cases(model: str, folder: Path) -> Iterator[Case]:
    """Prove one official Grounding DINO: its text branch, and the detector in both forms.

    Args:
        model: a key of `DETECTORS`.
        folder: where the checkpoint goes; it is gone when the first case comes.

    Raises:
        MissingOriginalError: groundingdino, or what it needs, is not installed.
    """
    name, config = DETECTORS[model]
    original = grounding_dino.build(model).requires_grad_(False)
    randomise_deep(original, _SEED)
    stored = {f"module.{key}": value for key, value in original.state_dict().items()}
    path = official_file(folder, name, {"model": stored})
    del stored
    ours = load_detector(path, model)
    path.unlink()
    ids = caption(TOKENS)
    mask, positions = grounding_dino.text_masks(ids)
    text = DetectorTextGraph(ours)
    case, features = _text_case(original, text, ids, mask, positions)
    del text
    yield case
    del case
    for form in DEFORMABLE_FORMS:
        graph = DetectorGraph(ours, config.frame, form)
        case = _detector_case(original, graph, config, features, mask, positions)
        case.graph = f"detector, {form}"
        del graph
        yield case
        del case


def _text_case(
    original: Any, graph: DetectorTextGraph, ids: Tensor, mask: Tensor, positions: Tensor
) -> tuple[Case, Tensor]:
    def encode() -> Tensor:
        with torch.no_grad():
            return grounding_dino.encode_text(original, ids, mask, positions)

    stages = Stages()
    layers = zip(original.bert.encoder.layer, graph.bert.encoder.layer, strict=True)
    bias = (~mask)[:, None].float() * -1e4
    for index, (theirs, part) in enumerate(layers):

        def run(args: tuple[Any, ...], _: Any, __: Any, part: nn.Module = part) -> Tensor:
            return cast(Tensor, part(args[0], bias, TOKENS))

        stages.watch(
            f"BERT layer {index}",
            theirs,
            run,
            lambda _, __, output: cast(Tensor, output[0] if isinstance(output, tuple) else output),
        )
    with stages.running():
        features = encode()
    feeds = {
        "input_ids": ids.int(),
        "position_ids": positions.int(),
        "text_self_attention_mask": mask,
    }
    short = 11
    example = {
        "input_ids": feeds["input_ids"][:, :short],
        "position_ids": feeds["position_ids"][:, :short],
        "text_self_attention_mask": mask[:, :short, :short],
    }
    case = Case(
        graph="detector_text",
        role="detector_text",
        module=graph,
        example=example,
        feeds=as_arrays(feeds),
        expected=as_arrays({"text_features": features}),
        opponent=encode,
        what=f"a caption of {TOKENS} tokens",
        limits={"text_features": Limit()},
        stages=stages.figures,
    )
    return case, features


def _detector_case(
    original: Any,
    graph: DetectorGraph,
    config: GroundingDinoConfig,
    features: Tensor,
    mask: Tensor,
    positions: Tensor,
) -> Case:
    image = seeded_image(config.frame, 1, _SEED)
    mean, std = torch.tensor(config.pixel_mean), torch.tensor(config.pixel_std)
    tokens = torch.ones(1, TOKENS, dtype=torch.bool)

    def detect() -> dict[str, Tensor]:
        with torch.no_grad():
            planes = ((image.float() - mean) / std).permute(0, 3, 1, 2)
            return grounding_dino.detect(original, planes, features, tokens, mask, positions)

    stages = Stages()
    watch_detector(stages, original, graph, image, (features, tokens, mask, positions))
    with stages.running():
        expected = detect()
    feeds = {
        "image": image,
        "text_features": features,
        "text_token_mask": tokens,
        "text_self_attention_mask": mask,
        "position_ids": positions.int(),
    }
    short = 11
    example = {
        # the graph is the same for any batch and length (tests/export/grounding_dino)
        "image": image,
        "text_features": features[:, :short],
        "text_token_mask": tokens[:, :short],
        "text_self_attention_mask": mask[:, :short, :short],
        "position_ids": feeds["position_ids"][:, :short],
    }
    return Case(
        graph="detector",
        role="detector",
        module=graph,
        example=example,
        feeds=as_arrays(feeds),
        expected=as_arrays(
            {"logits": expected["logits"][..., :TOKENS], "boxes": expected["boxes"]}
        ),
        opponent=detect,
        what=f"one image of {config.frame}², {TOKENS} tokens",
        limits={"logits": Limit(max_abs=1e-3), "boxes": Limit(max_abs=1e-3)},
        stages=stages.figures,
        selected=expected["selected"].numpy(),
        scores=expected["scores"].numpy(),
    )
