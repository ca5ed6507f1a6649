"""The detector's stage: frames, captions and box targets in, Grounding DINO's losses out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from t2s_export.architectures.grounding_dino import (
    GroundingDino,
    GroundingDinoConfig,
)
from t2s_export.nano.augment import Objects, augment, cartoon, centre_frame, objects_of
from t2s_export.nano.auxiliary import class_map_loss, class_shares, heads
from t2s_export.nano.captions import (
    BOX_CLASSES,
    Caption,
    CaptionBatch,
    collate_captions,
    full_caption,
    sample_caption,
)
from t2s_export.nano.data import Sample, ShardSet
from t2s_export.nano.detector_loss import encoder_loss, total_loss
from t2s_export.nano.loop import Hyper
from t2s_export.nano.matching import BoxTargets, corners
from t2s_export.nano.models import build_model, nano_config
from t2s_export.nano.whitening import whiten_patch_embedding
from t2s_export.nano.windowed_detector import WindowedDetector, detect
from t2s_rt.evaluation.detection import DetectionTally

__all__ = ["DetectorBatch", "DetectorStage", "box_targets", "wanted_objects"]

_IGNORE_GRID = 64
_PATCH = 8
"""Stride of the finest feature level in pixels."""
_AUXILIARY = 1.0
_WINDOW, _WINDOW_STEP = 256, 64
"""Side of the training windows, and what their corners in the frame are multiples of, pixels."""
_WINDOW_QUERIES = 128
_CARTOON, _CARTOON_FROM, _CARTOON_UNTIL = 0.9, 0.06, 0.3
"""Share of flat colours in the first frames, and between which shares of the budget it fades."""
_WHOLE_FRAMES_FROM = 0.85
"""Share of the budget after which frames are whole."""
_MIN_SIDE, _MIN_LONG, _MIN_PIXELS = 3.0, 5.0, 16
_REGIONS = (4, 9)
"""Water and parking lots count as objects wherever enough of them shows."""


@dataclass(frozen=True)
class DetectorBatch:
    """Frames or windows uint8 ``[B, S, S, 3]``, captions, targets and class shares ``[B, hw, C]``.

    ``corner`` is where windows lie in the frame, (row, column) in pixels; None for whole frames.
    """

    images: Tensor
    captions: CaptionBatch
    targets: list[BoxTargets]
    shares: Tensor
    corner: tuple[int, int] | None


def wanted_objects(objects: Objects) -> npt.NDArray[np.bool_]:
    """Which instances are box targets; the others of box classes are ignored, not negatives.

    Wanted: of a class with boxes, no crowd, at least 3 × 5 px and 16 px visible, and at least
    40 % of it in the frame (a region: 24 px both ways suffice).
    """
    boxed = np.isin(objects.class_ids, [c.id for c in BOX_CLASSES])
    sides = objects.sides
    large = (sides.min(1, initial=1e9) >= _MIN_SIDE) & (sides.max(1, initial=0) >= _MIN_LONG)
    region = np.isin(objects.class_ids, _REGIONS) & (sides >= 24).all(1)
    shown = (objects.share >= 0.4) | region
    wanted = boxed & ~objects.crowd & large & (objects.pixels >= _MIN_PIXELS) & shown
    return cast(npt.NDArray[np.bool_], wanted)


def _ignored_cells(
    sample: Sample, objects: Objects, spare: npt.NDArray[np.bool_]
) -> dict[int, Tensor]:
    """Per class the grid cells that hold an ignored instance, bool ``[g, g]``."""
    table = np.zeros(len(sample.class_ids) + 1, np.uint8)
    table[objects.ids[spare]] = objects.class_ids[spare]
    marked = table[sample.instances]
    cell = marked.shape[0] // _IGNORE_GRID
    blocks = marked.reshape(_IGNORE_GRID, cell, _IGNORE_GRID, cell)
    return {
        int(c): torch.from_numpy((blocks == c).any(axis=(1, 3)))
        for c in np.unique(objects.class_ids[spare])
    }


def box_targets(sample: Sample, caption: Caption, length: int) -> BoxTargets:
    """Targets of a frame for a caption padded to ``length`` tokens."""
    objects = objects_of(sample)
    size = sample.image.shape[0]
    wanted = wanted_objects(objects)
    boxed = np.isin(objects.class_ids, [c.id for c in BOX_CLASSES])
    asked = np.isin(objects.class_ids, caption.class_ids)
    maps = {c.id: caption.token_map(c.id, length) for c in BOX_CLASSES}
    keep = wanted & asked
    low, high = np.split(objects.boxes[keep] / size, 2, axis=1)
    boxes = np.concatenate([(low + high) / 2, high - low], 1)
    tokens = [maps[int(c)] for c in objects.class_ids[keep]]
    ignored: Tensor | None = None
    spare = boxed & asked & ~wanted
    if spare.any():
        ignored = torch.zeros(length, _IGNORE_GRID, _IGNORE_GRID, dtype=torch.bool)
        for class_id, cells in _ignored_cells(sample, objects, spare).items():
            ignored[maps[class_id] > 0] |= cells
    return BoxTargets(
        torch.from_numpy(boxes.astype(np.float32)),
        torch.stack(tokens) if tokens else torch.zeros(0, length),
        ignored,
    )


class _Watched:
    """Keeps the image tokens that enter and leave a detector's feature enhancer."""

    def __init__(self, model: GroundingDino) -> None:
        self.tokens: tuple[Tensor, ...] = ()
        model.transformer.register_forward_pre_hook(self._before)
        model.transformer.encoder.register_forward_hook(self._after)

    def _before(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.tokens = (inputs[0],)

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        self.tokens = (*self.tokens, output[0])

    def loss(self, heads_: nn.ModuleList, shares: Tensor) -> Tensor:
        """Class-map loss of both on the finest level."""
        count = shares.shape[1]
        before, after = (
            class_map_loss(head, tokens[:, :count], shares)
            for head, tokens in zip(heads_, self.tokens, strict=True)
        )
        return (before + after) / 2


class DetectorStage:
    """Trains :class:`GroundingDino` at nano size.

    Args:
        shards: the rendered scenes.
        hyper: optimisation.
    """

    name = "detector"

    def __init__(self, shards: ShardSet, hyper: Hyper | None = None) -> None:
        self.fresh = True
        self.shards = shards
        self.hyper = hyper or Hyper(lr=1e-3, batch=2, warm_up=100, flat=0.5, ema=0.998)
        config = nano_config("detector")
        self.frame = cast(GroundingDinoConfig, config).frame
        self._windowed: WeakKeyDictionary[nn.Module, WindowedDetector] = WeakKeyDictionary()
        self._watched: WeakKeyDictionary[nn.Module, _Watched] = WeakKeyDictionary()

    def build(self) -> nn.Module:
        """A detector with the training initialisation and a class map as a training aid."""
        model = build_model("detector")
        config = cast(GroundingDino, model).config
        embedding = cast(GroundingDino, model).backbone[0].patch_embed.proj  # type: ignore[union-attr]
        whiten_patch_embedding(cast(nn.Conv2d, embedding), self.shards, config.pixel_std, 1.0)
        width = config.d_model
        model.add_module("auxiliary", heads((width, width)))
        return model

    def rate(self, name: str) -> float:
        """Sampling offsets learn ten times slower, word embeddings three times."""
        if "sampling_offsets" in name:
            return 0.1
        return 0.3 if name.startswith("bert.") else 1.0

    def batch(self, rng: np.random.Generator, spent: float) -> DetectorBatch:
        """Augmented frames with one drawn caption each."""
        whole = spent >= _WHOLE_FRAMES_FROM
        size = self.frame if whole else _WINDOW
        count = 1 if whole else self.hyper.batch
        places = (self.frame - _WINDOW) // _WINDOW_STEP + 1
        row, column = (int(v) * _WINDOW_STEP for v in rng.integers(0, places, 2))
        picks = rng.integers(0, self.shards.training_count, count)
        samples = [augment(self.shards.sample(int(i)), size, rng) for i in picks]
        faded = (spent - _CARTOON_FROM) / (_CARTOON_UNTIL - _CARTOON_FROM)
        if self.fresh and (share := _CARTOON * min(1.0, 1.0 - faded)) > 0:
            samples = [cartoon(s, share * float(rng.uniform(0.6, 1.0)), rng) for s in samples]
        captions = [sample_caption(rng) for _ in samples]
        return self._collate(samples, captions, None if whole else (row, column))

    def _collate(
        self,
        samples: Sequence[Sample],
        captions: Sequence[Caption],
        corner: tuple[int, int] | None,
    ) -> DetectorBatch:
        batch = collate_captions(captions)
        length = batch.input_ids.shape[1]
        targets = [box_targets(s, c, length) for s, c in zip(samples, captions, strict=True)]
        images = torch.from_numpy(np.stack([s.image for s in samples]))
        shares = np.stack([class_shares(s.classes, _PATCH) for s in samples])
        return DetectorBatch(images, batch, targets, torch.from_numpy(shares), corner)

    def count(self, batch: DetectorBatch) -> int:
        """Number of frames in a batch."""
        return len(batch.images)

    def losses(self, model: nn.Module, batch: DetectorBatch) -> tuple[Tensor, dict[str, float]]:
        """Dense encoder loss and the set losses of all decoder layers."""
        device = next(model.parameters()).device
        images = batch.images.to(device)
        detector = cast(GroundingDino, model)
        if batch.corner is None:
            watched = self._watch(detector)
            output = detect(detector, images, batch.captions)
        else:
            if model not in self._windowed:
                self._windowed[model] = WindowedDetector(detector, _WINDOW, _WINDOW_QUERIES)
            windowed = self._windowed[model]
            watched = self._watch(windowed.small)
            output = windowed(images, batch.captions, batch.corner)
        if output.encoder_logits is None or output.encoder_boxes is None:
            raise TypeError("a detector in training mode returns its encoder's predictions")
        targets = [t.to(device) for t in batch.targets]
        token_mask = batch.captions.token_mask.to(device)
        encoder = encoder_loss(
            output.encoder_logits.float(),
            output.encoder_boxes.float(),
            output.level_shapes,
            output.valid,
            targets,
            token_mask,
            images.shape[1],
        )
        total, parts = total_loss(output.layers, encoder, targets, token_mask)
        aid = watched.loss(cast(nn.ModuleList, model.auxiliary), batch.shares.to(device))
        return total + _AUXILIARY * aid, {**parts, "class_map": float(aid.detach())}

    def _watch(self, detector: GroundingDino) -> _Watched:
        """The watcher of a detector, made once."""
        if detector not in self._watched:
            self._watched[detector] = _Watched(detector)
        return self._watched[detector]

    def validate(self, model: nn.Module) -> dict[str, float]:
        """AP50 of each box class, objects of at least 8 px, caption of all truth classes."""
        device = next(model.parameters()).device
        caption = full_caption()
        batch = collate_captions([caption])
        tallies = {c.id: DetectionTally() for c in BOX_CLASSES}
        for stored in self.shards.validation_samples():
            sample = centre_frame(stored, self.frame)
            image = torch.from_numpy(sample.image[None]).to(device)
            output = detect(cast(GroundingDino, model), image, batch)
            scores = output.logits[0].sigmoid().cpu()
            boxes = corners(output.boxes[0].cpu()).numpy() * self.frame
            objects = objects_of(sample)
            counts = wanted_objects(objects) & (objects.sides.max(1, initial=0) >= 8)
            for class_id, tally in tallies.items():
                tokens = caption.token_map(class_id, scores.shape[1]) > 0
                own = objects.class_ids == class_id
                tally.add(
                    boxes,
                    scores[:, tokens].amax(1).numpy(),
                    objects.boxes[own & counts],
                    objects.boxes[own & ~counts],
                )
        results = {c.name: tallies[c.id].scores() for c in BOX_CLASSES}
        figures = {f"AP50 {name}": r.ap for name, r in results.items() if r.objects}
        main = [figures[k] for k in ("AP50 building", "AP50 tree", "AP50 car") if k in figures]
        return {**figures, "AP50 mean of building, tree, car": float(np.mean(main or [0.0]))}
