"""What int8 costs on labelled tiles: the whole pipeline in both precisions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2s_rt.bundle import Bundle
from t2s_rt.evaluation.datasets import Wording, dataset_spec, find_items
from t2s_rt.evaluation.evaluate import Evaluation, eval_tiles
from t2s_rt.pipeline import Pipeline, PipelineSettings, Progress
from t2s_rt.prompts import build_pack
from t2s_rt.routes import RouteName

__all__ = ["Labelled", "judge_labelled"]


@dataclass(frozen=True)
class Labelled:
    """A labelled data set, as ``t2s-rt eval`` takes it.

    Attributes:
        dataset: its layout.
        root: its folder.
        split: part of it.
        limit: most tiles.
        route: words to masks by which way.
    """

    dataset: str
    root: Path
    split: str = "val"
    limit: int = 50
    route: RouteName = "fused"


def judge_labelled(
    bundle: Bundle, labelled: Labelled, precision: str, folder: Path, progress: Progress,
    threads: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Evaluate a bundle; figures and pictures of the worst tiles go into a folder.

    Returns:
        The record of ``metrics.json``.

    Raises:
        SceneError, UsageError: the data set cannot be read, or the bundle lacks words for it.
        BundleError, BackendError: the models cannot be opened or run.
    """
    spec = dataset_spec(labelled.dataset)
    wording = Wording.of_bundle(spec, bundle)
    items, alone = find_items(spec, labelled.root, labelled.split)
    tiles, broken = eval_tiles(spec, items, labelled.limit)
    settings = PipelineSettings(
        route=labelled.route, precision=precision, backend="onnxruntime-cpu", threads=threads
    )
    with Pipeline(bundle, settings) as pipeline:
        pack = build_pack(bundle, wording.prompts, backend=settings.backend, threads=threads)
        pipeline.check_pack(pack)
        evaluation = Evaluation(
            spec, tiles, wording, pack, folder,
            {"split": labelled.split, "limit": labelled.limit, "precision": precision},
            broken=broken, alone=len(alone), overwrite=True,
        )  # fmt: skip
        return evaluation.run(pipeline, progress)
