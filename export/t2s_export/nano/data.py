"""Training data: synthetic scenes rendered once into memory-mapped shards.

A shard set is a folder with ``image.npy`` uint8 [N, S, S, 3], ``classes.npy`` uint8 [N, S, S],
``instances.npy`` uint16 [N, S, S] and ``objects.npz``; the three stages share it. The last scenes
are the validation slice. Held-out seeds are never rendered here.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t2s_rt.errors import UsageError
from t2s_rt.scene.resample import resample
from t2s_rt.synthetic import (
    GENERATOR_VERSION,
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    render,
    scene_spec,
)

__all__ = ["GSD_RANGE", "SCENE_SIZE", "Sample", "ShardSet", "prepare_shards"]

SCENE_SIZE = 640
"""Side of a stored scene in pixels: a 576 px frame with room to crop and scale."""
WORKING_GSD = 0.3
"""Metres per pixel of stored scenes, nano's own; cropping scales it by 0.8 to 1.25 more."""
GSD_RANGE = (0.12, 1.0)
"""Metres per pixel at which scenes are rendered before they are resampled to `WORKING_GSD`, as
the runtime does it with any scene: coarse ones arrive soft, fine ones averaged."""
SMALLEST_OBJECT = 7
"""Objects whose longer side is shorter than this, in pixels of the rendered scene, are crowd."""
RENDERING = "any-gsd"
"""Names the way scenes are rendered, in the folder's name."""
_META = "shards.json"


@dataclass(frozen=True)
class Sample:
    """One scene, or a cut of it.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        classes: uint8 [H, W] truth class ids.
        instances: uint16 [H, W], 0 none, else a row of the tables below plus 1.
        class_ids: uint8 [n] class of each instance.
        crowd: bool [n], a region and not one object, or too small to tell.
        pixels: int64 [n] visible pixels of the instance in the stored scene.
    """

    image: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint16]
    class_ids: npt.NDArray[np.uint8]
    crowd: npt.NDArray[np.bool_]
    pixels: npt.NDArray[np.int64]


class ShardSet:
    """Read-only view of a shard folder.

    Args:
        folder: what :func:`prepare_shards` returned.
        validation: how many scenes at the end are the validation slice.
    """

    def __init__(self, folder: Path, validation: int = 64) -> None:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        self.generator_version: str = meta["generator_version"]
        self.count: int = meta["count"]
        self.validation = min(validation, self.count // 4)
        self._images = np.load(folder / "image.npy", mmap_mode="r")
        self._classes = np.load(folder / "classes.npy", mmap_mode="r")
        self._instances = np.load(folder / "instances.npy", mmap_mode="r")
        tables = np.load(folder / "objects.npz")
        self._offsets: npt.NDArray[np.int64] = tables["offsets"]
        self._class_ids: npt.NDArray[np.uint8] = tables["class_ids"]
        self._crowd: npt.NDArray[np.bool_] = tables["crowd"]
        self._pixels: npt.NDArray[np.int64] = tables["pixels"]

    @property
    def training_count(self) -> int:
        """Scenes that training may draw: indices 0 … training_count - 1."""
        return int(self.count - self.validation)

    def sample(self, index: int) -> Sample:
        """Scene ``index`` as stored."""
        rows = slice(int(self._offsets[index]), int(self._offsets[index + 1]))
        return Sample(
            np.asarray(self._images[index]),
            np.asarray(self._classes[index]),
            np.asarray(self._instances[index]),
            self._class_ids[rows],
            self._crowd[rows],
            self._pixels[rows],
        )

    def validation_samples(self) -> list[Sample]:
        """The validation slice."""
        return [self.sample(i) for i in range(self.training_count, self.count)]


def _render_scene(seed: int, size: int) -> dict[str, Any]:
    """Render one training scene at a drawn ground resolution and resample it; instances 1 … n."""
    rng = np.random.default_rng([20261123, seed])
    gsd = math.exp(rng.uniform(math.log(GSD_RANGE[0]), math.log(GSD_RANGE[1])))
    side = max(32, round(size * WORKING_GSD / gsd))
    scene = render(scene_spec(seed, side, gsd))
    image = resample(scene.image, 0, 0, side, side, size, size)
    nearest = ((np.arange(size) + 0.5) * side / size).astype(np.int64)
    where = np.ix_(nearest, nearest)
    ids = np.array([o.id for o in scene.objects], np.int64)
    order = np.argsort(ids)
    instances = scene.instances[where]
    compact = np.zeros(instances.shape, np.uint16)
    if len(ids):
        place = np.searchsorted(ids[order], instances).clip(max=len(ids) - 1)
        known = ids[order][place] == instances
        compact = np.where(known, order[place] + 1, 0).astype(np.uint16)
    boxes = np.array([o.box for o in scene.objects], np.float32).reshape(-1, 4)
    small = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0) < SMALLEST_OBJECT
    return {
        "image": np.rint(image).clip(0, 255).astype(np.uint8),
        "classes": scene.classes[where],
        "instances": compact,
        "class_ids": np.array([o.class_id for o in scene.objects], np.uint8),
        "crowd": np.array([o.crowd for o in scene.objects], bool) | small,
        "pixels": np.bincount(compact.ravel(), minlength=len(ids) + 1)[1:].astype(np.int64),
    }


def _render_chunk(job: tuple[str, int, int, int]) -> list[dict[str, npt.NDArray[Any]]]:
    """Render scenes start … stop - 1 into the shard arrays; returns their object tables."""
    folder, start, stop, size = job
    arrays = {
        name: np.load(Path(folder) / f"{name}.npy", mmap_mode="r+")
        for name in ("image", "classes", "instances")
    }
    tables = []
    for index in range(start, stop):
        scene = _render_scene(TRAINING_SEEDS[index], size)
        for name, array in arrays.items():
            array[index] = scene.pop(name)
        tables.append(scene)
    return tables


def prepare_shards(
    runs: Path,
    count: int,
    *,
    size: int = SCENE_SIZE,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render ``count`` training scenes once; a finished set of the same version is reused.

    Args:
        runs: the run folder.
        count: number of scenes.
        size: side of a scene in pixels.
        workers: rendering processes.
        progress: called with (done, count).

    Returns:
        the shard folder.

    Raises:
        UsageError: the count is not within the training seeds.
    """
    seeds = TRAINING_SEEDS[:count]
    if count < 4 or len(seeds) < count or set(seeds) & set(HELD_OUT_SEEDS):
        raise UsageError(
            f"expected 4 to {len(TRAINING_SEEDS)} training scenes, found {count}; change --scenes"
        )
    folder = runs / f"shards-{GENERATOR_VERSION}-{size}-{count}-{RENDERING}"
    if (folder / _META).is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "image": ((count, size, size, 3), np.uint8),
        "classes": ((count, size, size), np.uint8),
        "instances": ((count, size, size), np.uint16),
    }
    for name, (shape, dtype) in shapes.items():
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape).flush()
    jobs = [(str(folder), i, min(i + 8, count), size) for i in range(0, count, 8)]
    tables: list[dict[str, npt.NDArray[Any]]] = []
    # spawned, so that no thread pool of torch is inherited half alive
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for part in pool.imap(_render_chunk, jobs):
            tables += part
            if progress is not None:
                progress(len(tables), count)
    np.savez(
        folder / "objects.npz",
        offsets=np.cumsum([0, *(len(t["class_ids"]) for t in tables)]).astype(np.int64),
        class_ids=np.concatenate([t["class_ids"] for t in tables]),
        crowd=np.concatenate([t["crowd"] for t in tables]),
        pixels=np.concatenate([t["pixels"] for t in tables]),
    )
    meta = {"generator_version": GENERATOR_VERSION, "count": count, "size": size}
    partial = folder / (_META + ".partial")
    partial.write_text(json.dumps(meta), encoding="utf-8")
    os.replace(partial, folder / _META)
    return folder
