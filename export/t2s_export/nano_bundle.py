"""The nano bundle: the committed checkpoints through the exporter.

The default output is the folder inside the runtime's package, which ships in the wheel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

import numpy as np
import torch
from torch import nn

from t2s_export.architectures.clip import (
    Clip,
    ClipDenseGraph,
    ClipImageGraph,
    ClipPatchesGraph,
    ClipTextGraph,
)
from t2s_export.architectures.clip.config import PIXEL_MEAN as CLIP_MEAN
from t2s_export.architectures.clip.config import PIXEL_STD as CLIP_STD
from t2s_export.architectures.grounding_dino import (
    DetectorGraph,
    DetectorTextGraph,
    GroundingDino,
)
from t2s_export.architectures.sam import (
    LocalMaskDecoderGraph,
    MaskDecoderGraph,
    MaskEncoderGraph,
    Sam,
)
from t2s_export.architectures.sam.config import PIXEL_MEAN as SAM_MEAN
from t2s_export.architectures.sam.config import PIXEL_STD as SAM_STD
from t2s_export.bundle_builder import (
    BuiltGraph,
    BundlePlan,
    GraphJob,
    build_bundle,
    normalisation_record,
)
from t2s_export.graphs.to_onnx import run_module
from t2s_export.model_card import NanoSizes, nano_documents
from t2s_export.nano.checkpoints import (
    STAGES,
    CheckpointInfo,
    StageName,
    checkpoint_path,
    load,
    read_info,
)
from t2s_export.nano.models import CLIP_WINDOW, LOCAL_CELLS
from t2s_export.nano.tokenizers_ import clip_tokenizer, detector_tokenizer
from t2s_export.nano.vocabulary import OTHER_PHRASES, TEMPLATE, known_phrases
from t2s_export.parity_cases import (
    Case,
    detector_cases,
    detector_text_cases,
    image_cases,
    mask_decoder_cases,
    mask_decoder_local_cases,
    scene_image,
    text_cases,
)
from t2s_export.precision import from_cases, with_scenes
from t2s_export.references import (
    ClipDenseReference,
    ClipImageReference,
    ClipPatchesReference,
    ClipTextReference,
    DetectorReference,
    DetectorTextReference,
    MaskDecoderLocalReference,
    MaskDecoderReference,
    MaskEncoderReference,
)
from t2s_export.tokenizer_files import tokenizer_text
from t2s_rt.bundle import TextRecord, sha256_file
from t2s_rt.contracts import Role
from t2s_rt.prompts.caption import SEPARATORS

__all__ = [
    "DEFAULT_PROMPTS",
    "GSD",
    "THRESHOLDS",
    "TILE_SIZE",
    "export_nano",
    "nano_jobs",
    "nano_plan",
]

GSD = 0.3
"""Metres per pixel in the middle of what nano was trained on."""
TILE_SIZE = 576
CLIP_IMAGE_SIZE = 64
DEFAULT_PROMPTS = (
    "building: house, roof; road: street; tree: forest; water: river, lake; car: vehicle; "
    "low vegetation: grass; field; bare ground; parking lot; pavement: sidewalk"
)
THRESHOLDS: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {name: MappingProxyType({"detector": 0.45}) for name in ("building", "tree", "car")}
)
"""Scores from which boxes of things count: the least, in steps of 0.05, that gives none of the
three 0.3 false boxes or more for an image without it; fused maps gain by it. Chosen on scenes of no
other use (``python -m t2s_bench.nano.choices``). The others keep the runtime's default."""
_SCENE_SEEDS = (850_001, 850_002, 850_003, 850_004)
"""Scenes that decide what stays float32 in float16 graphs; neither trained on nor held out."""
_GRID = 4
_TRIALS = 24
"""The graphs are small, so the groups of operators that are tried may be fine."""
_CAPTIONS = (
    "building . road . tree . water . car . low vegetation .",
    "car .",
    "house . roof . parking lot . bare ground . river . field .",
)
_TEXTS = ("building", "an aerial photo of low vegetation", "bare ground", "", "tree")


def export_nano(
    target: Path,
    *,
    replace_existing: bool = False,
    checkpoints: Path | None = None,
    progress: Callable[[BuiltGraph], None] | None = None,
) -> tuple[BuiltGraph, ...]:
    """Write the nano bundle.

    Args:
        target: its folder.
        replace_existing: replace a bundle that is there.
        checkpoints: folder of the three checkpoints; None is the committed one.
        progress: told of each graph as it is done.

    Raises:
        BundleError: a checkpoint is missing or broken.
        OutputError: the folder cannot be written or may not be replaced.
        ExportError: a graph is not what its module is.
    """
    modules = {stage: load(stage, checkpoints) for stage in STAGES}
    infos = {stage: read_info(stage, checkpoints) for stage in STAGES}
    sources = {stage: _source(infos[stage], checkpoints) for stage in STAGES}
    return build_bundle(
        nano_plan(modules, infos, {s["checkpoint"]: s["sha256"] for s in sources.values()}),
        nano_jobs(modules, sources),
        target,
        replace_existing=replace_existing,
        progress=progress,
    )


def nano_plan(
    modules: dict[StageName, nn.Module],
    infos: dict[StageName, CheckpointInfo],
    checkpoints: dict[str, str],
) -> BundlePlan:
    """Words, tokenizers and documents of the nano bundle; checkpoints are SHA-256 by name."""
    clip = cast(Clip, modules["clip"])
    detector = cast(GroundingDino, modules["detector"])
    return BundlePlan(
        name="nano",
        gsd=GSD,
        tile_size=TILE_SIZE,
        tokenizers={
            "detector": tokenizer_text(detector_tokenizer()),
            "clip": tokenizer_text(clip_tokenizer()),
        },
        text=TextRecord(
            words=known_phrases(),
            clip_templates=("{}", " ".join((*TEMPLATE, "{}"))),
            clip_other_words=OTHER_PHRASES,
            clip_logit_scale=min(100.0, round(math.exp(float(clip.logit_scale.detach())), 6)),
            clip_context_length=clip.config.context_length,
            max_detector_tokens=detector.config.bert_positions,
        ),
        documents=nano_documents(
            modules,
            infos,
            _sizes(detector, cast(Sam, modules["sam"])),
            checkpoints,
        ),
        default_prompts=DEFAULT_PROMPTS,
        thresholds={name: dict(values) for name, values in THRESHOLDS.items()},
    )


def nano_jobs(
    modules: dict[StageName, nn.Module], sources: dict[StageName, dict[str, Any]]
) -> Iterator[GraphJob]:
    """The jobs of all graphs, one at a time."""
    yield from _detector_jobs(cast(GroundingDino, modules["detector"]), sources["detector"])
    yield from _sam_jobs(cast(Sam, modules["sam"]), sources["sam"])
    yield from _clip_jobs(cast(Clip, modules["clip"]), sources["clip"])


def _detector_jobs(model: GroundingDino, source: dict[str, Any]) -> Iterator[GraphJob]:
    tokenizer = detector_tokenizer()
    vocabulary = tokenizer.get_vocab()
    specials = [vocabulary[token] for token in SEPARATORS]
    text = DetectorTextGraph(model)
    captions = detector_text_cases([tokenizer.encode(c).ids for c in _CAPTIONS], specials)
    yield GraphJob("detector_text", text, captions, DetectorTextReference(model), source=source)
    size = (model.config.frame, model.config.frame)
    cases = detector_cases(text, captions, size)
    yield GraphJob(
        "detector",
        DetectorGraph(model, model.config.frame, deformable="grid_sample"),
        cases,
        DetectorReference(model),
        image_size=size,
        normalisation=normalisation_record(model.config.pixel_mean, model.config.pixel_std),
        source={**source, "deformable": "grid_sample"},
        calibration=with_scenes(cases[0], size, _SCENE_SEEDS),
        trials=_TRIALS,
    )


def _lone_points(encoder: nn.Module, size: tuple[int, int]) -> Iterator[Case]:
    """A grid of lone points on each scene: their masks are the least certain, so rounding moves
    them most."""
    steps = (np.arange(_GRID, dtype=np.float32) + 0.5) / _GRID
    places = np.stack(np.meshgrid(steps * size[1], steps * size[0]), axis=-1).reshape(-1, 1, 2)
    coords = np.concatenate([places, np.zeros_like(places)], axis=1)
    labels = np.tile(np.array([1.0, -1.0], np.float32), (len(coords), 1))
    for seed in _SCENE_SEEDS:
        image = torch.from_numpy(scene_image(size, seed)[None])
        feeds = {
            **run_module("mask_encoder", encoder, {"image": image}),
            "point_coords": torch.from_numpy(coords),
            "point_labels": torch.from_numpy(labels),
        }
        yield Case(f"lone points, seed {seed}", feeds)


def _sam_jobs(model: Sam, source: dict[str, Any]) -> Iterator[GraphJob]:
    size = (model.config.image_size, model.config.image_size)
    encoder = MaskEncoderGraph(model)
    images = image_cases(size)
    yield GraphJob(
        "mask_encoder",
        encoder,
        images,
        MaskEncoderReference(model),
        image_size=size,
        normalisation=normalisation_record(SAM_MEAN, SAM_STD),
        source=source,
        calibration=with_scenes(images[0], size, _SCENE_SEEDS),
        trials=_TRIALS,
    )
    cases = mask_decoder_cases(encoder, size)
    yield GraphJob(
        "mask_decoder",
        MaskDecoderGraph(model),
        cases,
        MaskDecoderReference(model),
        source=source,
        calibration=from_cases([*cases[1:], *_lone_points(encoder, size)]),
        trials=_TRIALS,
    )
    yield GraphJob(
        "mask_decoder_local",
        LocalMaskDecoderGraph(model, LOCAL_CELLS),
        mask_decoder_local_cases(cases, LOCAL_CELLS),
        MaskDecoderLocalReference(model, LOCAL_CELLS),
        source=source,
        trials=_TRIALS,
    )


def _clip_jobs(model: Clip, source: dict[str, Any]) -> Iterator[GraphJob]:
    normalisation = normalisation_record(CLIP_MEAN, CLIP_STD)
    crop, dense = (CLIP_IMAGE_SIZE,) * 2, (CLIP_WINDOW,) * 2
    yield GraphJob(
        "clip_image",
        ClipImageGraph(model, CLIP_IMAGE_SIZE),
        image_cases(crop, (3, 1, 8)),
        ClipImageReference(model),
        image_size=crop,
        normalisation=normalisation,
        source=source,
        trials=_TRIALS,
    )
    dense_jobs: tuple[tuple[Role, nn.Module, nn.Module], ...] = (
        ("clip_dense", ClipDenseGraph(model, CLIP_WINDOW), ClipDenseReference(model)),
        ("clip_patches", ClipPatchesGraph(model, CLIP_WINDOW), ClipPatchesReference(model)),
    )
    for role, graph, reference in dense_jobs:
        yield GraphJob(
            role,
            graph,
            image_cases(dense, (3, 1)),
            reference,
            image_size=dense,
            normalisation=normalisation,
            source=source,
            trials=_TRIALS,
        )
    tokenizer = clip_tokenizer()
    texts = [tokenizer.encode(text).ids for text in _TEXTS]
    yield GraphJob(
        "clip_text",
        ClipTextGraph(model),
        text_cases(texts),
        ClipTextReference(model),
        source=source,
    )


def _sizes(detector: GroundingDino, sam: Sam) -> NanoSizes:
    frame, image = detector.config.frame, sam.config.image_size
    inputs: dict[StageName, str] = {
        "detector": f"{frame} x {frame} pixels, at most {detector.config.bert_positions} tokens",
        "sam": f"{image} x {image} pixels",
        "clip": f"windows of {CLIP_WINDOW} x {CLIP_WINDOW}, "
        f"crops of {CLIP_IMAGE_SIZE} x {CLIP_IMAGE_SIZE} pixels",
    }
    return NanoSizes(GSD, TILE_SIZE, inputs)


def _source(info: CheckpointInfo, folder: Path | None) -> dict[str, Any]:
    """Where a graph's weights come from, for the record."""
    path = checkpoint_path(info.stage, folder)
    return {
        "checkpoint": path.name,
        "sha256": sha256_file(path),
        "licence": "Apache-2.0",
        "training_data": f"t2s_rt.synthetic {info.generator_version}",
    }
