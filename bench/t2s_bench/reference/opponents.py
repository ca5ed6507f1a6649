"""The reference chain's parts in three ways: eager torch, stock ONNX exports, torch.compile."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from t2s_bench.reference.packages import quiet, segment_anything
from t2s_bench.reference.race_models import RaceModels
from t2s_bench.reference.race_parts import NanoClip, NanoDetector, OriginalClip, OriginalDetector
from t2s_bench.reference.stock_onnx import StockClip, stock_predictor
from t2s_bench.reference.text2seg import ClipPart, DetectorPart, Parts
from t2s_bench.side_by_side import Opponent
from t2s_rt.routes.painting import nms

__all__ = ["OpponentParts", "opponent_parts"]

_REFUSED = "torch eager: ONNX Runtime refuses its stock export, GridSample(16) NOT_IMPLEMENTED"
_NO_STOCK = "torch eager: no original package builds it, so that there is no stock export"


@dataclass(frozen=True)
class OpponentParts:
    """One opponent, ready to run.

    Attributes:
        parts: what its chain runs on.
        runs: by part, what runs it, in words.
    """

    parts: Parts
    runs: dict[str, str]


def opponent_parts(kind: Opponent, models: RaceModels, folder: Path, threads: int) -> OpponentParts:
    """Make an opponent of both sides' models.

    Args:
        kind: which one.
        models: whose originals.
        folder: where stock exports go; it must outlive the opponent.
        threads: of ONNX sessions; torch's are set by the caller.
    """
    package = segment_anything()
    generator = _generator(package)
    here = {"sam": "torch eager", "detector": "torch eager", "clip": "torch eager"}
    if kind == "eager":
        predictor = package.SamPredictor(models.sam)
        parts = Parts(models.detector, predictor, generator, models.clip)
        runs = here
    elif kind == "onnx":
        with quiet():
            predictor = stock_predictor(package, models.sam, folder, threads)
            clip: ClipPart | None = models.clip
            if isinstance(clip, OriginalClip):
                clip = StockClip(clip, folder, threads)
        parts = Parts(models.detector, predictor, generator, clip)
        stock = "ONNX Runtime, stock export"
        runs = {
            "sam": f"{stock} (SamOnnxModel)",
            "detector": _REFUSED if isinstance(models.detector, OriginalDetector) else _NO_STOCK,
            "clip": stock if isinstance(clip, StockClip) else _NO_STOCK,
        }
    else:
        parts = Parts(
            _compiled_detector(models.detector),
            package.SamPredictor(_compiled_sam(models.sam)),
            generator,
            _compiled_clip(models.clip),
        )
        runs = dict.fromkeys(here, "torch.compile (inductor)")
    present = {"sam", *(n for n in ("detector", "clip") if getattr(models, n) is not None)}
    return OpponentParts(parts, {name: text for name, text in runs.items() if name in present})


def _generator(package: Any) -> Any:
    """SAM's mask generator, with an NMS in the place of torchvision's compiled one.

    That one does not load beside a CPU build of torch (see ``torchvision_shim``).
    """
    module = package.automatic_mask_generator

    def batched_nms(boxes: Any, scores: Any, groups: Any, iou_threshold: float) -> Any:
        kept = nms(boxes.numpy(), scores.numpy(), iou_threshold, groups.numpy().astype(int))
        return torch.from_numpy(kept)

    module.batched_nms = batched_nms
    return package.SamAutomaticMaskGenerator


def with_parts(module: nn.Module, **parts: nn.Module) -> Any:
    """A module that shares everything with ``module`` but some of its direct children."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **parts}
    return twin


def _compile(target: Callable[..., Any]) -> Any:
    return torch.compile(target)


def _compiled_sam(sam: Any) -> Any:
    return with_parts(
        sam,
        image_encoder=_compile(sam.image_encoder),
        mask_decoder=_compile(sam.mask_decoder),
    )


def _compiled_detector(part: DetectorPart | None) -> DetectorPart | None:
    twin = copy.copy(part)
    if isinstance(part, OriginalDetector) and isinstance(twin, OriginalDetector):
        twin.model = with_parts(
            part.model,
            backbone=with_parts(part.model.backbone, **{"0": _compile(part.model.backbone[0])}),
            transformer=_compile(part.model.transformer),
        )
    elif isinstance(part, NanoDetector) and isinstance(twin, NanoDetector):
        twin.model = with_parts(part.model)
        vars(twin.model)["run"] = _compile(part.model.run)
    return twin


def _compiled_clip(part: ClipPart | None) -> ClipPart | None:
    twin = copy.copy(part)
    if isinstance(part, OriginalClip) and isinstance(twin, OriginalClip):
        visual = with_parts(part.model.visual, transformer=_compile(part.model.visual.transformer))
        twin.model = with_parts(
            part.model, visual=visual, transformer=_compile(part.model.transformer)
        )
    elif isinstance(part, NanoClip) and isinstance(twin, NanoClip):
        twin.model = with_parts(part.model)
        for name in ("encode_image", "encode_text"):
            vars(twin.model)[name] = _compile(getattr(part.model, name))
    return twin
