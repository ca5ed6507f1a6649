"""Every parity figure of the official models, model by model."""

from __future__ import annotations

import gc
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from t2s_bench.machine import describe_machine, write_record
from t2s_bench.models.prove import Half, prove
from t2s_rt.errors import UsageError

if TYPE_CHECKING:
    from t2s_bench.reference.case import Case
    from t2s_engines.graphs.graph import Graph

__all__ = ["DEFAULT_MODELS", "MODELS", "measure_models", "merge_record", "rounded_half"]

MODELS: Mapping[str, str] = {
    "sam_vit_b": "sam",
    "sam_vit_l": "sam",
    "sam_vit_h": "sam",
    "mobile_sam": "sam",
    "swin_t": "detector",
    "swin_b": "detector",
    "ViT-B-32": "clip",
    "ViT-B-16": "clip",
    "ViT-L-14": "clip",
    "ViT-L-14-336": "clip",
}
"""Names of the official models, and the family whose original proves them."""
DEFAULT_MODELS = ("sam_vit_b", "mobile_sam", "swin_t", "ViT-B-32", "ViT-B-16")
"""Those that take a minute or two each; the others are run by name."""
_PACKAGES = ("torch", "onnx", "onnxruntime", "segment-anything", "groundingdino-py",
             "open_clip_torch", "timm", "transformers")  # fmt: skip


def cases(model: str, folder: Path) -> Iterator[Case]:
    """The graphs of one model, each to be proven before the next is asked for."""
    family = MODELS[model]
    if family == "sam":
        from t2s_bench.reference.sam import sam_cases

        return sam_cases(model, folder)
    if family == "detector":
        from t2s_bench.reference.detector import detector_cases

        return detector_cases(model, folder)
    from t2s_bench.reference.clip import clip_cases

    return clip_cases(model, folder)


def rounded_half(graph: Graph) -> Graph:
    """The rounding graph of a graph's fp16 form, with the islands that follow from rules.

    Islands that the exporter adds from calibration images are left out: they only make it better.
    """
    from t2s_engines.graphs.rounding import rounding_graph
    from t2s_export.precision import islands_by_rule, typed_float16

    return rounding_graph(typed_float16(graph, islands_by_rule(graph)))


def measure_models(
    models: Sequence[str],
    *,
    timings: bool,
    repeat: int,
    command: str,
    half: Half | None = None,
) -> Iterator[dict[str, Any]]:
    """Prove models at full size with random weights, a row for each graph.

    Args:
        models: keys of `MODELS`.
        timings: also time each graph beside the original.
        repeat: clean samples of each.
        command: what to type to get these rows again.
        half: how to prove fp16; None leaves it out.

    Raises:
        UsageError: a model that is not known.
        MissingOriginalError: a package to compare with is not installed.
    """
    unknown = [name for name in models if name not in MODELS]
    if unknown:
        raise UsageError(f"expected models of {', '.join(MODELS)}; found {', '.join(unknown)}")
    import torch

    machine = {**describe_machine(), "versions": _versions()}
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    try:
        with Progress(*columns, transient=True) as progress:
            for model in models:
                task = progress.add_task(f"{model}: original and stages")
                with tempfile.TemporaryDirectory(prefix="t2s-models-") as folder:
                    for case in cases(model, Path(folder)):
                        progress.update(task, description=f"{model}: {case.graph}")
                        row = prove(case, repeat=repeat if timings else None, half=half)
                        del case
                        gc.collect()
                        yield {"model": model, **row, "command": command, "machine": machine}
                progress.remove_task(task)
    finally:
        torch.set_num_threads(before)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def merge_record(path: Path, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put rows into a record, in the order of the catalogue; rows of the same graph are replaced.

    Raises:
        UsageError: the file is no record of models.
    """
    record: dict[str, Any] = {"what": "official models against their originals", "rows": []}
    if path.exists():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            kept = {(row["model"], row["graph"]): row for row in record["rows"]}
        except (ValueError, KeyError, TypeError) as cause:
            raise UsageError(
                f"expected {path} to be a record of `bench models`, found something else; "
                "name another file"
            ) from cause
    else:
        kept = {}
    kept.update({(row["model"], row["graph"]): row for row in rows})
    order = list(MODELS)
    record["rows"] = sorted(kept.values(), key=lambda row: order.index(row["model"]))
    write_record(record, path)
    return record
