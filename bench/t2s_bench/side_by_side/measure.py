"""The race: a row for each size, number of classes and route."""

from __future__ import annotations

import dataclasses
import gc
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from t2s_bench.machine import describe_machine
from t2s_bench.side_by_side import OPPONENTS, Opponent, RaceRoute
from t2s_bench.side_by_side.agreement import agree, same_masks
from t2s_bench.side_by_side.ours import Ours
from t2s_bench.side_by_side.phrases import make_phrases, word_pack
from t2s_bench.side_by_side.request import Request
from t2s_engines.timing import Timing, interleave
from t2s_rt.bundle import load_bundle
from t2s_rt.synthetic import HELD_OUT_SEEDS, render, scene_spec

if TYPE_CHECKING:
    from t2s_bench.reference.race import Chain
    from t2s_bench.reference.race_models import RaceModels

__all__ = ["measure_reference", "race_image"]

_PACKAGES = (
    "torch", "onnx", "segment-anything", "groundingdino-py", "open_clip_torch", "timm",
    "transformers",
)  # fmt: skip
_GSD = 0.3


def race_image(side: int) -> NDArray[np.uint8]:
    """A synthetic overhead scene that no training saw, uint8 ``[side, side, 3]`` RGB."""
    return render(scene_spec(HELD_OUT_SEEDS[0], size=side, gsd=_GSD)).image


def measure_reference(request: Request) -> Iterator[dict[str, Any]]:
    """Race the reference chain against this runtime.

    Args:
        request: what to race.

    Yields:
        JSON-ready rows, each as soon as it is measured.

    Raises:
        MissingOriginalError: an original package is not installed.
        BundleError: nano outside a source checkout.
    """
    from t2s_bench.reference.race import open_models, torch_threads

    size = request.size
    count = request.threads or _cores()
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with torch_threads(count), Progress(*columns, transient=True) as progress:
        for route in request.routes:
            task = progress.add_task(f"{size}, {route}: models")
            with tempfile.TemporaryDirectory(prefix="t2s-race-") as name:
                models = open_models(size, (route,), count, Path(name), request.deformable)
                try:
                    race = _Race(models, route, max(request.classes), progress, task)
                    race.open(request.opponents, Path(name), count)
                    for number in request.classes:
                        yield {
                            "size": size,
                            **race.run(number, request.repeat),
                            "deformable": None if size == "nano" else request.deformable,
                            "threads": count,
                            "command": request.command,
                            "machine": describe_machine(*_PACKAGES),
                        }
                    del race
                finally:
                    models.close()
                del models
                gc.collect()  # of the next route's models there is no room beside these
            progress.remove_task(task)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Race:
    """This runtime and its opponents on one image by one route.

    Args:
        models: of both sides.
        route: which way.
        most: classes of the largest race.
        progress: to tell what is done.
        task: of it.
    """

    def __init__(
        self, models: RaceModels, route: RaceRoute, most: int, progress: Progress, task: TaskID
    ) -> None:
        self._models, self._route = models, route
        self._progress, self._task = progress, task
        self._image = race_image(models.tile)
        self._nano = load_bundle()
        self._phrases = make_phrases(self._nano, most, models.context)
        self._chains: dict[str, Chain] = {}
        self._missing: dict[str, dict[str, Any]] = {}

    def _tell(self, what: str) -> None:
        self._progress.update(self._task, description=f"{self._route}: {what}")

    def open(self, opponents: Sequence[Opponent], folder: Path, threads: int) -> None:
        """Open the opponents that run here, warm, and note why others do not.

        Args:
            opponents: ``eager`` is among them.
            folder: where their files go.
            threads: of ONNX sessions.
        """
        from t2s_bench.reference.race import Chain

        mask_iou = 0.0
        for kind in sorted(opponents, key=OPPONENTS.index):
            self._tell(f"{kind} warms up")
            try:
                chain = Chain(
                    kind, self._models, self._route, self._image, folder, threads, mask_iou
                )
                if kind == "eager" and self._route == "masks":
                    mask_iou = chain.calibrate()
                chain.warm(self._phrases[0])
            except Exception as error:  # other people's compilers fail in any way they like
                if kind == "eager":
                    raise
                reason = f"{type(error).__name__}: {_first_line(error)}"
                self._missing[kind] = {"unavailable": reason}
            else:
                self._chains[kind] = chain

    def run(self, classes: int, repeat: int) -> dict[str, Any]:
        """Time everybody in turn, then compare their results.

        Args:
            classes: how many.
            repeat: clean samples wanted of each.
        """
        phrases = self._phrases[:classes]
        self._tell(f"{classes} class(es), our side")
        words = word_pack(self._nano, tuple(phrase.name for phrase in phrases))
        ours = Ours(self._models, self._route, words, self._image)
        ours()
        ours.restart()
        for chain in self._chains.values():
            chain.ask(phrases)
        self._tell(f"{classes} class(es), in turn")
        timings = interleave({"ours": ours, **self._chains}, repeat, warm=False)
        self._tell(f"{classes} class(es), results")
        eager = self._chains["eager"].found
        return {
            "route": self._route,
            "classes": classes,
            "tile": self._models.tile,
            "trained": self._models.trained,
            "code": self._models.code,
            "ours": {
                **_figures(timings["ours"], ours.stages, ours.calls),
                "candidates": list(ours.result.candidates),
            },
            "opponents": {
                name: {
                    **_figures(timings[name], chain.stages, chain.calls),
                    "runs": chain.runs,
                    "times": round(timings[name].median / timings["ours"].median, 2),
                    "as_eager": same_masks(eager, chain.found),
                }
                for name, chain in self._chains.items()
            }
            | self._missing,
            "agreement": agree(self._models, self._route, eager, ours),
        }


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else ""


def _figures(timing: Timing, stages: Sequence[dict[str, float]], calls: Any) -> dict[str, Any]:
    """Seconds, median seconds by stage, and runs of the networks."""
    names = sorted({name for one in stages for name in one})
    return {
        **dataclasses.asdict(timing),
        "stages": {
            name: round(float(np.median([one.get(name, 0.0) for one in stages])), 5)
            for name in names
        },
        "calls": dict(sorted(cast(dict[str, int], calls).items())),
    }
