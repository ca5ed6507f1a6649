"""One set of weights twice: in the original packages, and exported for this runtime."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from t2s_bench.reference import grounding_dino
from t2s_bench.reference.case import official_file
from t2s_bench.reference.clip import CLIP_MODELS, random_clip
from t2s_bench.reference.detector import DETECTORS
from t2s_bench.reference.loading import load_detector, load_sam
from t2s_bench.reference.race_parts import (
    NanoClip,
    NanoDetector,
    OriginalClip,
    OriginalDetector,
)
from t2s_bench.reference.sam import SAM_FILES, build_original, official_state, sam_like
from t2s_bench.reference.text2seg import ClipPart, DetectorPart
from t2s_bench.reference.weights import randomise_deep
from t2s_bench.reference.written import write_graph
from t2s_bench.side_by_side import RaceRoute
from t2s_bench.side_by_side.counted import counted
from t2s_export.architectures.clip import Clip, ClipDenseGraph, ClipImageGraph, ClipPatchesGraph
from t2s_export.architectures.grounding_dino import DetectorGraph, GroundingDino
from t2s_export.architectures.sam import MaskDecoderGraph, MaskEncoderGraph, Sam, SamConfig
from t2s_export.choices import DeformableForm
from t2s_export.graphs.to_onnx import export_graph
from t2s_export.nano import checkpoints
from t2s_export.nano_bundle import CLIP_IMAGE_SIZE
from t2s_export.official.presets import clip_window
from t2s_export.parity_cases import image_cases
from t2s_rt.backends import Session, open_session
from t2s_rt.bundle import GraphEntry, load_bundle
from t2s_rt.contracts import Role
from t2s_rt.models import Models
from t2s_rt.prompts import PromptPack
from t2s_rt.prompts.pack import unit_rows
from t2s_rt.routes import ROUTE_ROLES

__all__ = ["RaceModels", "RandomSize", "nano_models", "random_models"]

_SEED = 404
_IOU_HEAD = "iou_prediction_head.layers.2"
_CONTEXT = 77
BACKEND = "onnxruntime-cpu"


@dataclass(frozen=True)
class RandomSize:
    """Official architectures with random weights.

    Attributes:
        detector: key of :data:`t2s_bench.reference.detector.DETECTORS`.
        sam: key of :data:`t2s_bench.reference.sam.SAM_FILES`.
        clip: key of :data:`t2s_bench.reference.clip.CLIP_MODELS`.
        frame: side of the detector's image, pixels.
        tile: side of the image, pixels.
    """

    detector: str
    sam: str
    clip: str
    frame: int = 800
    tile: int = 1024


@dataclass(eq=False)
class RaceModels:
    """Both sides' models for some routes.

    Attributes:
        tile: side of the image that both see, pixels.
        sessions: this runtime's, by role.
        calls: their runs by role, as they happen.
        context: tokens that the original CLIP pads a text to.
        sam: segment_anything's model.
        detector: the reference's, None where no route needs it.
        clip: the reference's, None where no route needs it.
        trained: whether scores mean anything.
        code: by part of the reference, whose code runs.
        text: the trainable detector that embeds captions for random weights.
    """

    tile: int
    sessions: Mapping[Role, Session]
    calls: Counter[str]
    context: int
    sam: Any
    detector: DetectorPart | None = None
    clip: ClipPart | None = None
    trained: bool = False
    code: dict[str, str] = field(default_factory=dict)
    text: GroundingDino | None = None

    def models_for(self, route: RaceRoute) -> Models:
        """This runtime's models as ``infer`` opens them for a route."""
        wanted = (*ROUTE_ROLES[route], "mask_decoder_local")
        return Models.over({role: s for role, s in self.sessions.items() if role in wanted})

    def pack(self, words: PromptPack) -> PromptPack:
        """Nano's words with this size's own text features for the detector.

        CLIP's embeddings are left to :mod:`t2s_bench.side_by_side.ours`: with random weights they
        are nowhere near an image's, and every class would abstain.
        """
        if self.text is None:
            return words
        with torch.no_grad():
            features = self.text.encode_text(
                torch.from_numpy(words.token_ids.astype(np.int64))[None],
                torch.from_numpy(words.position_ids),
                torch.from_numpy(words.text_self_attention_mask),
            )
        return dataclasses.replace(words, text_features=features.numpy())

    @property
    def crop_size(self) -> int:
        """Side of the crops that CLIP embeds, pixels."""
        assert self.clip is not None  # opened for the routes that ask
        return self.clip.crop_size

    def embed_crops(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The reference's class embeddings ``[N, D]``, unit length, of ``[N, s, s, 3]``."""
        assert self.clip is not None  # opened for the routes that ask
        with torch.no_grad():
            return unit_rows(self.clip.embed(torch.from_numpy(crops)).numpy())

    def close(self) -> None:
        """Close the sessions."""
        for session in self.sessions.values():
            session.close()


def nano_models(routes: Collection[RaceRoute], threads: int) -> RaceModels:
    """The shipped bundle, and its checkpoints in torch.

    Args:
        routes: that will be run.
        threads: of the sessions.

    Raises:
        BundleError: not in a source checkout, where the checkpoints are.
        MissingOriginalError: segment_anything is not installed.
    """
    bundle = load_bundle()
    ours = cast(Sam, checkpoints.load("sam"))
    original = sam_like(cast(SamConfig, ours.config))
    original.load_state_dict(ours.state_dict())
    original.requires_grad_(False)
    roles = _roles(routes)
    if bundle.precisions("mask_decoder_local"):
        roles |= {"mask_decoder_local"}
    calls: Counter[str] = Counter()
    sessions = _open({role: bundle.graph(role) for role in roles}, calls, threads)
    context = bundle.text.clip_context_length
    found = RaceModels(bundle.tile_size, sessions, calls, context, original, trained=True)
    found.code["sam"] = "segment_anything with t2s-rt's stem (it has none of its own)"
    if "detector" in roles:
        detector = cast(GroundingDino, checkpoints.load("detector")).requires_grad_(False)
        found.detector = NanoDetector(detector)
        found.code["detector"] = "t2s-rt's torch module (groundingdino builds no such backbone)"
    if "clip_image" in roles:
        clip = cast(Clip, checkpoints.load("clip")).requires_grad_(False)
        found.clip = NanoClip(clip, CLIP_IMAGE_SIZE)
        found.code["clip"] = "t2s-rt's torch module (open_clip has no convolutional stem)"
    return found


def random_models(
    size: RandomSize,
    routes: Collection[RaceRoute],
    threads: int,
    folder: Path,
    deformable: DeformableForm,
) -> RaceModels:
    """Official architectures with seeded random weights, the same on both sides.

    Args:
        size: which.
        routes: that will be run.
        threads: of the sessions.
        folder: where graphs go; it must outlive the sessions.
        deformable: form of the detector's deformable attention in our graph.

    Raises:
        MissingOriginalError: an original package is not installed.
    """
    roles = _roles(routes)
    calls: Counter[str] = Counter()
    original, sam = _random_sam(size.sam, folder)
    entries = _write_sam(sam, folder)
    del sam
    found = RaceModels(size.tile, {}, calls, _CONTEXT, original, code={"sam": "segment_anything"})
    if "detector" in roles:
        found.detector, found.text = _random_detector(size, folder)
        found.code["detector"] = "groundingdino"
        entries["detector"] = _write_detector(found.text, size.frame, folder, deformable)
    if "clip_image" in roles:
        found.clip, clip = _random_clip(size.clip, folder)
        found.code["clip"] = "open_clip"
        entries.update(_write_clip(clip, roles, folder))
        del clip
    found.sessions = _open(entries, calls, threads)
    return found


def _open(
    entries: Mapping[Role, GraphEntry], calls: Counter[str], threads: int
) -> dict[Role, Session]:
    return {
        role: counted(open_session(entry, BACKEND, threads=threads), calls)
        for role, entry in entries.items()
    }


def _roles(routes: Collection[RaceRoute]) -> set[Role]:
    """The routes' graphs, and where they need CLIP its class embedding to compare by."""
    roles = {role for route in routes for role in ROUTE_ROLES[route]}
    return roles | {"clip_image"} if roles & {"clip_dense", "clip_patches"} else roles


def _write_sam(sam: Sam, folder: Path) -> dict[Role, GraphEntry]:
    side = sam.config.image_size
    encoder = MaskEncoderGraph(sam)
    scene = image_cases((side, side), (1,))[0].feeds
    grid, channels = sam.config.grid, sam.config.out_channels
    example = {
        "image_embedding": torch.randn(1, channels, grid, grid),
        "point_coords": torch.rand(3, 5, 2) * side,
        "point_labels": torch.ones(3, 5),
    }
    return {
        "mask_encoder": _write("mask_encoder", encoder, scene, folder, (side, side)),
        "mask_decoder": _write("mask_decoder", MaskDecoderGraph(sam), example, folder),
    }


def _random_sam(name: str, folder: Path) -> tuple[Any, Sam]:
    architecture, file, _ = SAM_FILES[name]
    original = build_original(name)
    with torch.no_grad():  # predicted IoU lies in 0..1 in trained models, and filters expect it
        state = original.mask_decoder.state_dict()
        state[f"{_IOU_HEAD}.weight"].mul_(0.05)
        state[f"{_IOU_HEAD}.bias"].fill_(0.5)
    path = official_file(folder, file, official_state(original))
    sam = load_sam(path, architecture)
    path.unlink()  # its weights are mapped
    return original, sam


def _random_detector(size: RandomSize, folder: Path) -> tuple[OriginalDetector, GroundingDino]:
    file, config = DETECTORS[size.detector]
    original = grounding_dino.build(size.detector).requires_grad_(False)
    randomise_deep(original, _SEED)
    stored = {f"module.{key}": value for key, value in original.state_dict().items()}
    path = official_file(folder, file, {"model": stored})
    module = load_detector(path, size.detector)
    path.unlink()
    part = OriginalDetector(original, size.frame, config.pixel_mean, config.pixel_std)
    return part, module


def _write_detector(
    module: GroundingDino, frame: int, folder: Path, deformable: DeformableForm
) -> GraphEntry:
    tokens, width = 11, module.config.d_model
    example = {
        "image": image_cases((frame, frame), (1,))[0].feeds["image"],
        "text_features": torch.randn(1, tokens, width),
        "text_token_mask": torch.ones(1, tokens, dtype=torch.bool),
        "text_self_attention_mask": torch.ones(1, tokens, tokens, dtype=torch.bool),
        "position_ids": torch.arange(tokens, dtype=torch.int32)[None],
    }
    graph = DetectorGraph(module, frame, deformable)
    return _write("detector", graph, example, folder, (frame, frame))


def _random_clip(name: str, folder: Path) -> tuple[OriginalClip, Clip]:
    original, module = random_clip(name, folder, _SEED)
    return OriginalClip(original, CLIP_MODELS[name][1].image_size), module


def _write_clip(module: Clip, roles: Collection[Role], folder: Path) -> dict[Role, GraphEntry]:
    crop, window = module.config.image_size, clip_window(module.config.patch_size)
    graphs: tuple[tuple[Role, Callable[[Clip, int], nn.Module], int], ...] = (
        ("clip_image", ClipImageGraph, crop),
        ("clip_dense", ClipDenseGraph, window),
        ("clip_patches", ClipPatchesGraph, window),
    )
    return {
        role: _write(
            role, graph(module, side), image_cases((side, side), (2,))[0].feeds, folder, (side,) * 2
        )
        for role, graph, side in graphs
        if role in roles
    }


def _write(
    role: Role,
    module: nn.Module,
    example: Mapping[str, torch.Tensor],
    folder: Path,
    image_size: tuple[int, int] | None = None,
) -> GraphEntry:
    """Export a graph as ``t2s-rt export`` does, without its proof: the race compares results."""
    return write_graph(export_graph(role, module, example), folder, image_size)
