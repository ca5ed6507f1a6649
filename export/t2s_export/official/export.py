"""``t2s-rt export base`` and its like, as a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from t2s_export.architectures.clip import ClipConfig
from t2s_export.architectures.grounding_dino import GroundingDinoConfig
from t2s_export.bundle_builder import BuiltGraph, BundlePlan, build_bundle
from t2s_export.official.documents import official_documents
from t2s_export.official.jobs import official_jobs
from t2s_export.official.parts import Facts, Kind, ModelFiles, find_files, read_facts
from t2s_export.official.presets import (
    CLIP_OTHER_WORDS,
    CLIP_TEMPLATES,
    DEFAULT_PROMPTS,
    THRESHOLDS,
    TILE_SIZE,
    ExportOptions,
    Preset,
    clip_window,
)
from t2s_export.official.vocabularies import bert_tokenizer, clip_tokenizer
from t2s_export.precision import read_images
from t2s_export.tokenizer_files import tokenizer_text
from t2s_rt.bundle import TextRecord
from t2s_rt.bundle.folder import check_target
from t2s_rt.errors import InternalError, UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["MAX_DETECTOR_TOKENS", "export_official", "official_plan"]

MAX_DETECTOR_TOKENS = 256
"""``max_text_len`` of Grounding DINO: the class head was never trained on longer captions."""
_MAX_LOGIT_SCALE = 100.0
"""Where CLIP's training clamps the scale; a checkpoint may be a rounding error above."""


def export_official(
    preset: Preset,
    folder: Path,
    target: Path,
    options: ExportOptions | None = None,
    *,
    chosen: Mapping[Kind, Path] | None = None,
    replace_existing: bool = False,
    progress: Callable[[BuiltGraph], None] | None = None,
    starting: Callable[[str], None] | None = None,
) -> tuple[BuiltGraph, ...]:
    """Write a bundle of official models.

    Args:
        preset: which ones.
        folder: their checkpoints and the two vocabularies.
        target: the bundle's folder.
        options: sizes and forms; None takes the defaults.
        chosen: checkpoint files to take instead of the folder's.
        replace_existing: replace a bundle that is there.
        progress: told of each graph as it is done.
        starting: told in a few words what is done next.

    Returns:
        The graphs, in the order they were made.

    Raises:
        CheckpointError: a checkpoint or vocabulary is missing, unsafe, or another.
        UsageError: sizes that do not fit the models.
        SceneError: a calibration image is missing or cannot be read.
        OutputError: the folder cannot be written or may not be replaced.
        ExportError: a graph is not what its module is.
    """
    options = options or ExportOptions()
    check_target(target, replace_existing)  # before minutes of work, and again when it is done
    images = () if options.calibration is None else read_images(options.calibration, TILE_SIZE)
    files = find_files(preset, folder, chosen or {})
    facts = read_facts(
        files,
        options.quick_gelu,
        None if starting is None else lambda part: starting(f"reading {part.path.name}"),
    )
    tokenizers = _tokenizers(files, facts)
    plan = official_plan(preset, facts, files, tokenizers, options)
    jobs = official_jobs(
        files, tokenizers, options, plan.text.max_detector_tokens, images, starting
    )
    return build_bundle(plan, jobs, target, replace_existing=replace_existing, progress=progress)


def official_plan(
    preset: Preset,
    facts: Mapping[Kind, Facts],
    files: ModelFiles,
    tokenizers: Mapping[str, Tokenizer],
    options: ExportOptions,
) -> BundlePlan:
    """Words, tokenizers and documents of an official bundle.

    Raises:
        UsageError: dense CLIP's windows are no multiple of its patch.
    """
    detector, clip = _text_configs(facts)
    window = options.clip_size or clip_window(clip.patch_size)
    if window % clip.patch_size:  # told now, not after the other models' graphs
        raise UsageError(
            f"expected a CLIP size that is a multiple of the patch size {clip.patch_size}, found "
            f"{window}; choose e.g. {clip_window(clip.patch_size)}"
        )
    scale = math.exp(facts["clip"].logit_scale or 0.0)
    return BundlePlan(
        name=options.name or preset.name,
        gsd=options.gsd,
        tile_size=TILE_SIZE,
        tokenizers={
            name: tokenizer_text(tokenizer, pretty=False) for name, tokenizer in tokenizers.items()
        },
        text=TextRecord(
            words=None,
            clip_templates=CLIP_TEMPLATES,
            clip_other_words=CLIP_OTHER_WORDS,
            clip_logit_scale=min(_MAX_LOGIT_SCALE, round(scale, 6)),
            clip_context_length=clip.context_length,
            max_detector_tokens=min(MAX_DETECTOR_TOKENS, detector.bert_positions),
        ),
        documents=official_documents(facts, (files.bert, files.merges), options),
        default_prompts=DEFAULT_PROMPTS,
        thresholds={name: dict(values) for name, values in THRESHOLDS.items()},
    )


def _tokenizers(files: ModelFiles, facts: Mapping[Kind, Facts]) -> dict[str, Tokenizer]:
    """Both tokenizers; each must fit the embedding of its model."""
    detector, clip = _text_configs(facts)
    return {
        "detector": bert_tokenizer(files.bert, detector.vocabulary_size),
        "clip": clip_tokenizer(files.merges, clip.vocab_size),
    }


def _text_configs(facts: Mapping[Kind, Facts]) -> tuple[GroundingDinoConfig, ClipConfig]:
    """Sizes of the two models that read text.

    Raises:
        InternalError: the loader gave models of other families.
    """
    detector, clip = facts["detector"].config, facts["clip"].config
    if not isinstance(detector, GroundingDinoConfig) or not isinstance(clip, ClipConfig):
        raise InternalError(
            "expected a Grounding DINO and a CLIP, found "
            f"{facts['detector'].architecture} and {facts['clip'].architecture}"
        )
    return detector, clip
