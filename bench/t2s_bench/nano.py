"""How well a bundle sees the held-out synthetic scenes, beside colour k-means.

Objects count if the longer side of their visible part is at least eight pixels of the scene.
Scenes keep their own ground resolution, 0.05 to 1 m; like ``infer``, everything here works on
them at the bundle's resolution, in tiles, and is judged in the scene's own pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from t2s_bench.machine import describe_machine, one_line, write_record
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.contracts import Role
from t2s_rt.errors import UsageError
from t2s_rt.evaluation import ConfusionMatrix, DetectionTally, box_iou, colour_kmeans, mask_iou
from t2s_rt.models import Models
from t2s_rt.pipeline import Pipeline
from t2s_rt.prompts import PromptPack, load_pack
from t2s_rt.routes import RouteName, RouteSettings
from t2s_rt.routes.painting import nms
from t2s_rt.scene.resample import resample
from t2s_rt.scene.tiles import TileGrid, TileWindow
from t2s_rt.synthetic import (
    CLASSES,
    GENERATOR_VERSION,
    HELD_OUT_SEEDS,
    RenderedScene,
    render,
    scene_spec,
)

__all__ = ["MIN_SIDE", "measure_accuracy", "print_figures", "write_card_rows"]

MIN_SIDE = 8
"""Objects whose visible part is shorter than this, in scene pixels, do not count."""

_DETECTED = ("building", "tree", "car")
_ROUTES: tuple[RouteName, ...] = ("dense", "fused")
_ROLES: tuple[Role, ...] = ("detector", "mask_encoder", "mask_decoder")
_OVERLAP = 64
_CLASS_ID = {entry.name: entry.id for entry in CLASSES}


@dataclass(frozen=True)
class _WorkingScene:
    """A scene at the bundle's resolution, with the factor from working to scene pixels."""

    image: NDArray[np.uint8]
    scale: float
    grid: TileGrid

    @classmethod
    def of(cls, image: NDArray[np.uint8], gsd: float, bundle: Bundle) -> _WorkingScene:
        height, width = image.shape[:2]
        rows, columns = (max(1, round(side * gsd / bundle.gsd)) for side in (height, width))
        small = resample(image, 0, 0, height, width, rows, columns)
        overlap = min(_OVERLAP, bundle.tile_size - 1)
        return cls(
            np.rint(small).clip(0, 255).astype(np.uint8),
            height / rows,
            TileGrid(rows, columns, bundle.tile_size, overlap),
        )

    def tiles(self) -> Iterator[tuple[TileWindow, NDArray[np.uint8]]]:
        """Every tile with its pixels, black beyond the scene."""
        for index in range(len(self.grid)):
            tile = self.grid[index]
            part = self.image[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width]
            missing = (tile.height - part.shape[0], tile.width - part.shape[1])
            yield tile, np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)))

    def to_scene(self, boxes: NDArray[np.float32], tile: TileWindow) -> NDArray[np.float32]:
        """Boxes [N, 4] xyxy from tile pixels to scene pixels."""
        shift = np.array([tile.col, tile.row, tile.col, tile.row], np.float32)
        return np.asarray((boxes + shift) * self.scale, np.float32)

    def to_tile(self, boxes: NDArray[np.float32], tile: TileWindow) -> NDArray[np.float32]:
        """The inverse of ``to_scene``, cut at the tile's edges."""
        shift = np.array([tile.col, tile.row, tile.col, tile.row], np.float32)
        inside = boxes / np.float32(self.scale) - shift
        edges = [tile.width, tile.height, tile.width, tile.height]
        return np.asarray(np.clip(inside, 0, edges), np.float32)

    def owners(self, boxes: NDArray[np.float32]) -> NDArray[np.intp]:
        """Tile that owns the centre of each box [N, 4] in scene pixels."""
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / self.scale
        owner = np.zeros(len(boxes), np.intp)
        for index in range(len(self.grid)):
            part = self.grid.owned(self.grid[index])
            x, y = centres[:, 0], centres[:, 1]
            inside = (x >= part.col) & (x < part.col + part.width)
            inside &= (y >= part.row) & (y < part.row + part.height)
            owner[inside] = index
        return owner


@dataclass
class _Figures:
    detection: dict[str, DetectionTally] = field(
        default_factory=lambda: {name: DetectionTally() for name in _DETECTED}
    )
    queries: dict[str, DetectionTally] = field(
        default_factory=lambda: {name: DetectionTally() for name in _DETECTED}
    )
    mask_ious: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in _DETECTED}
    )
    maps: dict[str, ConfusionMatrix] = field(
        default_factory=lambda: {
            name: ConfusionMatrix([entry.name for entry in CLASSES])
            for name in ("kmeans", *_ROUTES)
        }
    )


def measure_accuracy(
    bundle_path: Path | None = None, *, limit: int = 200, size: int = 512
) -> dict[str, Any]:
    """Judge a bundle on the first ``limit`` held-out scenes of ``size`` x ``size`` pixels.

    Returns:
        A JSON-ready record with the machine, the generator's version and every figure.
    """
    bundle = load_bundle(bundle_path)
    if bundle.default_pack is None:
        raise UsageError(f"bundle {bundle.name} has no default pack, which names what to look for")
    pack = load_pack(bundle.default_pack, bundle)
    seeds = list(HELD_OUT_SEEDS)[:limit]
    figures = _Figures()
    pipelines = {route: Pipeline.from_bundle(bundle, route=route) for route in _ROUTES}
    with Models.open(bundle, roles=_ROLES) as models:
        for seed in track(seeds, "held-out scenes", transient=True):
            spec = scene_spec(seed, size)
            scene = render(spec)
            working = _WorkingScene.of(scene.image, spec.gsd, bundle)
            _count_boxes(figures, models, pack, working, scene)
            _count_masks(figures, models, working, scene)
            _count_maps(figures, pipelines, pack, scene, spec.gsd)
    for pipeline in pipelines.values():
        pipeline.close()
    return _record(figures, bundle, len(seeds), size)


def _truth(scene: RenderedScene, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes of the objects that count, and boxes that count neither way."""
    counted: list[NDArray[np.float32]] = []
    ignored: list[NDArray[np.float32]] = []
    for item in scene.objects:
        if item.class_id == _CLASS_ID[name]:
            small = max(item.box[2] - item.box[0], item.box[3] - item.box[1]) < MIN_SIDE
            (ignored if item.crowd or small else counted).append(item.box)
    return (
        np.array(counted, np.float32).reshape(-1, 4),
        np.array(ignored, np.float32).reshape(-1, 4),
    )


def _count_boxes(
    figures: _Figures,
    models: Models,
    pack: PromptPack,
    working: _WorkingScene,
    scene: RenderedScene,
) -> None:
    assert models.detector is not None  # opened above
    boxes, scores = [], []
    for tile, image in working.tiles():
        found = models.detector.detect(image, pack)
        in_scene = working.to_scene(found.boxes, tile)
        mine = working.owners(in_scene) == tile.index
        boxes.append(in_scene[mine])
        scores.append(found.scores[mine])
    all_boxes, all_scores = np.concatenate(boxes), np.concatenate(scores)
    names = [entry.name for entry in pack.classes]
    for name in _DETECTED:
        truth, ignored = _truth(scene, name)
        # detections of ignored objects leave with them; boxes are what they are judged by
        taken = np.zeros(len(all_boxes), bool)
        if len(ignored):
            taken = box_iou(all_boxes, ignored).max(1) >= figures.queries[name].iou
            if len(truth):
                taken &= box_iou(all_boxes, truth).max(1) < figures.queries[name].iou
        own, own_scores = all_boxes[~taken], all_scores[~taken, names.index(name)]
        figures.queries[name].add(own, own_scores, truth, ignored)
        # as the boxes and fused routes do tile by tile: one box of those that overlap is kept
        kept = nms(own, own_scores, RouteSettings().box_nms_iou)
        figures.detection[name].add(own[kept], own_scores[kept], truth, ignored)


def _count_masks(
    figures: _Figures, models: Models, working: _WorkingScene, scene: RenderedScene
) -> None:
    assert models.segmenter is not None  # opened above
    items = [
        (entry, item)
        for entry in CLASSES
        if entry.name in figures.mask_ious
        for item in scene.objects
        if item.class_id == entry.id
        and not item.crowd
        and max(item.box[2] - item.box[0], item.box[3] - item.box[1]) >= MIN_SIDE
    ]
    if not items:
        return
    owner = working.owners(np.stack([item.box for _, item in items]))
    for tile, image in working.tiles():
        mine = [items[index] for index in np.flatnonzero(owner == tile.index)]
        if not mine:
            continue
        embedding = models.segmenter.encode(image)
        boxes = working.to_tile(np.stack([item.box for _, item in mine]), tile)
        masks = models.segmenter.decode_boxes(embedding, boxes)
        logits, _ = masks.best(multimask=False)
        for (entry, item), low in zip(mine, logits, strict=True):
            found = _mask_in_scene(masks.to_tile(low), tile, working, scene.classes.shape)
            figures.mask_ious[entry.name].append(mask_iou(found, scene.instances == item.id))


def _mask_in_scene(
    logits: NDArray[np.float32], tile: TileWindow, working: _WorkingScene, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """A tile's mask logits as a mask of the whole scene, sampled at its pixels' centres."""
    inverse = 1 / working.scale
    # maps scene pixel indices to tile pixel indices; both count centres at whole numbers
    offset = 0.5 * inverse - 0.5
    matrix = np.array([[inverse, 0, offset - tile.col], [0, inverse, offset - tile.row]])
    warped = cv2.warpAffine(
        logits,
        matrix,
        (shape[1], shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(-1.0,),
    )
    inside: NDArray[np.bool_] = np.asarray(warped) > 0
    return inside


def _count_maps(
    figures: _Figures,
    pipelines: dict[RouteName, Pipeline],
    pack: PromptPack,
    scene: RenderedScene,
    gsd: float,
) -> None:
    figures.maps["kmeans"].add(scene.classes, colour_kmeans(scene.image, scene.classes))
    to_truth = np.array([0, *(_CLASS_ID[entry.name] for entry in pack.classes)], np.uint8)
    for route, pipeline in pipelines.items():
        labels = pipeline.score_image(scene.image, pack, gsd).labels
        figures.maps[route].add(scene.classes, to_truth[labels])


def _record(figures: _Figures, bundle: Bundle, scenes: int, size: int) -> dict[str, Any]:
    named = range(1, len(CLASSES))
    return {
        "what": "accuracy on held-out synthetic scenes",
        "generator_version": GENERATOR_VERSION,
        "scenes": scenes,
        "size": size,
        "bundle": bundle.name,
        "text_fingerprint": bundle.text_fingerprint,
        "machine": describe_machine(),
        "detector": {
            name: {
                "ap50": scores.ap,
                "ap50_without_nms": figures.queries[name].scores().ap,
                "recall50": scores.recall,
                "objects": scores.objects,
                "false_per_absent_image": scores.false_per_absent_image,
            }
            for name, tally in figures.detection.items()
            for scores in (tally.scores(),)
        },
        "mask_iou_from_true_boxes": {
            **{name: _mean(found) for name, found in figures.mask_ious.items()},
            "all": _mean([iou for found in figures.mask_ious.values() for iou in found]),
        },
        "miou": {name: matrix.miou(list(named)) for name, matrix in figures.maps.items()},
        "iou": {
            name: dict(zip(matrix.names, matrix.iou().tolist(), strict=True))
            for name, matrix in figures.maps.items()
        },
    }


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def print_figures(record: dict[str, Any], output: Path | None) -> None:
    """Print the record as Markdown tables; write it as JSON if a path is given."""
    print(
        f"{record['scenes']} held-out scenes of {record['size']}², generator "
        f"{record['generator_version']}, bundle {record['bundle']}; "
        f"{one_line(record['machine'])}\n"
    )
    print("| | building | tree | car | all |\n|---|---|---|---|---|")
    detector, masks = record["detector"], record["mask_iou_from_true_boxes"]
    for title, key in (
        ("detector AP50", "ap50"),
        ("AP50 of all queries, without NMS", "ap50_without_nms"),
        ("recall", "recall50"),
    ):
        values = [detector[name][key] for name in _DETECTED]
        cells = " | ".join(f"{value:.3f}" for value in values)
        print(f"| {title} | {cells} | {np.mean(values):.3f} |")
    falses = " | ".join(f"{detector[name]['false_per_absent_image']:.2f}" for name in _DETECTED)
    print(f"| false boxes per image without the class | {falses} | |")
    cells = " | ".join(f"{masks.get(name, float('nan')):.3f}" for name in _DETECTED)
    print(f"| mask IoU from true boxes | {cells} | {masks['all']:.3f} |\n")
    names = [entry.name for entry in CLASSES[1:]]
    print(f"| IoU | {' | '.join(names)} | mean |\n|---|{'---|' * (len(names) + 1)}")
    for title, iou in record["iou"].items():
        cells = " | ".join(f"{iou[name]:.2f}" for name in names)
        print(f"| {title} | {cells} | {record['miou'][title]:.3f} |")
    if output is not None:
        write_record(record, output)
        print(f"\nwritten: {output}")


def write_card_rows(record: dict[str, Any], path: Path) -> None:
    """Write the figures that the model card shows, as ``export nano`` reads them."""
    data = (
        f"{record['scenes']} held-out scenes of {record['size']} x {record['size']} pixels, "
        f"generator {record['generator_version']}"
    )
    command = f"t2s-rt bench nano --limit {record['scenes']}, {one_line(record['machine'])}"
    named = [
        *(
            (f"detector AP50 after NMS, {name}", found["ap50"])
            for name, found in record["detector"].items()
        ),
        ("mask IoU from true boxes", record["mask_iou_from_true_boxes"]["all"]),
        ("dense route, mIoU", record["miou"]["dense"]),
        ("fused route, mIoU", record["miou"]["fused"]),
        ("for comparison: colour k-means matched by the truth, mIoU", record["miou"]["kmeans"]),
    ]
    rows = [
        {"measure": measure, "value": f"{value:.3f}", "data": data, "command": command}
        for measure, value in named
    ]
    write_record({"rows": rows}, path)
