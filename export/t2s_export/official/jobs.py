"""The eight graphs of an official bundle, one at a time: load, export, drop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, TypeAlias, cast

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
from t2s_export.architectures.sam import MaskDecoderGraph, MaskEncoderGraph, Sam
from t2s_export.architectures.sam.config import PIXEL_MEAN as SAM_MEAN
from t2s_export.architectures.sam.config import PIXEL_STD as SAM_STD
from t2s_export.bundle_builder import GraphJob, normalisation_record
from t2s_export.official.parts import Kind, ModelFiles, load_part
from t2s_export.official.presets import CLIP_TEMPLATES, ExportOptions, clip_window
from t2s_export.parity_cases import (
    Case,
    detector_cases,
    detector_text_cases,
    image_cases,
    mask_decoder_cases,
    text_cases,
)
from t2s_export.precision import (
    Calibration,
    CalibrationImage,
    calibration_inputs,
    in_frame,
    with_images,
)
from t2s_export.references import (
    ClipDenseReference,
    ClipImageReference,
    ClipPatchesReference,
    ClipTextReference,
    DetectorReference,
    DetectorTextReference,
    MaskDecoderReference,
    MaskEncoderReference,
)
from t2s_rt.contracts import Role
from t2s_rt.prompts.bank import load_bank
from t2s_rt.prompts.caption import SEPARATORS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["ROLES_IN_ORDER", "official_jobs", "parity_captions", "parity_texts"]

ROLES_IN_ORDER: tuple[Role, ...] = (
    "detector_text",
    "detector",
    "mask_encoder",
    "mask_decoder",
    "clip_image",
    "clip_dense",
    "clip_patches",
    "clip_text",
)
"""The order of :func:`official_jobs`."""

Images: TypeAlias = tuple[CalibrationImage, ...]
_CALIBRATION_PROMPTS = ((17, 2),)
"""Boxes on each calibration image: what the boxes route and the fused route ask for."""
_CAPTIONS = (
    "building . road . tree . water . car . low vegetation .",
    "house . roof . parking lot . bare ground . river . field .",
)


def official_jobs(
    files: ModelFiles,
    tokenizers: Mapping[str, Tokenizer],
    options: ExportOptions,
    max_tokens: int,
    images: Images = (),
    starting: Callable[[str], None] | None = None,
) -> Iterator[GraphJob]:
    """All graphs, in the order of :data:`ROLES_IN_ORDER`.

    Args:
        files: checkpoints.
        tokenizers: ``detector`` and ``clip``.
        options: sizes and forms.
        max_tokens: longest caption of the detector.
        images: that the precision of fp16 graphs is decided on; none means synthetic scenes.
        starting: told what is done next: loading a file, or a role.

    Raises:
        CheckpointError: a checkpoint cannot be loaded.
        UsageError: sizes that do not fit the models.
    """
    makers: dict[Kind, Callable[[nn.Module, Mapping[str, Any]], Iterator[GraphJob]]] = {
        "detector": lambda model, source: _detector_jobs(
            cast(GroundingDino, model), source, tokenizers["detector"], options, max_tokens, images
        ),
        "sam": lambda model, source: _sam_jobs(cast(Sam, model), source, images),
        "clip": lambda model, source: _clip_jobs(
            cast(Clip, model), source, tokenizers["clip"], options, images
        ),
    }
    for kind, maker in makers.items():
        part = files.parts[kind]
        if starting is not None:
            starting(f"loading {part.path.name}")
        loaded = load_part(part, options.quick_gelu)
        source = {**loaded.source, "architecture": loaded.architecture, "format": loaded.format}
        jobs = maker(loaded.module, source)
        del loaded  # from here on only the generator of its jobs holds the model
        for job in jobs:
            if starting is not None:
                starting(job.role)
            yield job
            del job


def parity_captions(tokenizer: Tokenizer, max_tokens: int) -> list[list[int]]:
    """Token ids of the captions to compare on: usual ones, and one of the greatest length.

    The order is that of the detector's cases: the first is traced, the second has every token
    that the detector takes, the last is padded by the case.
    """
    words = dict.fromkeys(w for item in load_bank().values() for w in item.name.split())
    single = [word for word in words if len(tokenizer.encode(word).ids) == 3]
    count = (max_tokens - 2) // 2  # a word and its full stop each, between [CLS] and [SEP]
    longest = " ".join(f"{word} ." for word in islice(cycle(single), count))
    return [tokenizer.encode(text).ids for text in (_CAPTIONS[0], longest, _CAPTIONS[1])]


def parity_texts(tokenizer: Tokenizer, context: int) -> list[list[int]]:
    """Token ids of the texts to compare on: the templates, none at all, and a full context."""
    texts = [template.replace("{}", "low vegetation") for template in CLIP_TEMPLATES]
    start, end = tokenizer.encode("").ids
    body = tokenizer.encode(" ".join(["tree"] * context)).ids[1 : context - 1]
    return [*(tokenizer.encode(text).ids for text in texts), [start, end], [start, *body, end]]


def _detector_jobs(
    model: GroundingDino,
    source: Mapping[str, Any],
    tokenizer: Tokenizer,
    options: ExportOptions,
    max_tokens: int,
    images: Images,
) -> Iterator[GraphJob]:
    vocabulary = tokenizer.get_vocab()
    specials = [vocabulary[token] for token in SEPARATORS]
    text = DetectorTextGraph(model)
    captions = detector_text_cases(parity_captions(tokenizer, max_tokens), specials)
    yield GraphJob("detector_text", text, captions, DetectorTextReference(model), source=source)
    size = (options.detector_size, options.detector_size)
    cases = detector_cases(text, captions, size)
    yield GraphJob(
        "detector",
        DetectorGraph(model, size, deformable=options.deformable),
        cases,
        DetectorReference(model),
        calibration=_calibration(cases[0], images, size),
        image_size=size,
        normalisation=normalisation_record(model.config.pixel_mean, model.config.pixel_std),
        source={**source, "deformable": options.deformable},
    )


def _sam_jobs(model: Sam, source: Mapping[str, Any], images: Images) -> Iterator[GraphJob]:
    size = (model.config.image_size, model.config.image_size)
    encoder = MaskEncoderGraph(model)
    scenes = image_cases(size)
    yield GraphJob(
        "mask_encoder",
        encoder,
        scenes,
        MaskEncoderReference(model),
        calibration=_calibration(scenes[0], images, size),
        image_size=size,
        normalisation=normalisation_record(SAM_MEAN, SAM_STD),
        source=source,
    )
    cases = mask_decoder_cases(encoder, size)
    calibration = [
        calibration_inputs(f"{name}, {case.label}", {k: v.numpy() for k, v in case.feeds.items()})
        for name, pixels in in_frame(images, size)
        for case in mask_decoder_cases(encoder, size, _CALIBRATION_PROMPTS, pixels)
    ]
    del encoder
    yield GraphJob(
        "mask_decoder",
        MaskDecoderGraph(model),
        cases,
        MaskDecoderReference(model),
        calibration=calibration or None,
        source=source,
    )


def _clip_jobs(
    model: Clip,
    source: Mapping[str, Any],
    tokenizer: Tokenizer,
    options: ExportOptions,
    images: Images,
) -> Iterator[GraphJob]:
    crop = model.config.image_size
    window = options.clip_size or clip_window(model.config.patch_size)
    jobs: tuple[tuple[Role, int, type[nn.Module], type[nn.Module], tuple[int, ...]], ...] = (
        ("clip_image", crop, ClipImageGraph, ClipImageReference, (3, 1, 8)),
        ("clip_dense", window, ClipDenseGraph, ClipDenseReference, (2, 1)),
        ("clip_patches", window, ClipPatchesGraph, ClipPatchesReference, (2, 1)),
    )
    for role, side, graph, reference, batches in jobs:
        cases = image_cases((side, side), batches)
        yield GraphJob(
            role,
            graph(model, side),
            cases,
            reference(model),
            calibration=_calibration(cases[0], images, (side, side)),
            image_size=(side, side),
            normalisation=normalisation_record(CLIP_MEAN, CLIP_STD),
            source=source,
        )
    texts = parity_texts(tokenizer, model.config.context_length)
    yield GraphJob(
        "clip_text",
        ClipTextGraph(model),
        text_cases(texts, (len(texts), 1)),
        ClipTextReference(model),
        source=source,
    )


def _calibration(
    case: Case, images: Images, size: tuple[int, int]
) -> tuple[Calibration, ...] | None:
    """A case's inputs with calibration images; None without any, for the job's own default."""
    return with_images(case, in_frame(images, size)) or None
