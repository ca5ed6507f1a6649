"""int8 of an official SAM at full size: what calibration takes, and what it gains on a processor.

Weights are random, so accuracy is that of random features and says little; time and memory are
those of the real thing.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from t2s_bench.inputs import default_pack
from t2s_bench.machine import describe_machine, one_line, peak_memory_bytes
from t2s_bench.markdown import table
from t2s_rt.bundle import (
    BundleManifest,
    GraphRecord,
    TextRecord,
    file_record,
    load_bundle,
    write_manifest,
)

__all__ = ["int8_table", "measure_int8"]

SCHEMA_VERSION = 1
_JUDGED = 2
_OPERATORS = 8
_GSD = 0.3


def measure_int8(model: str, images: int, threads: int | None = None) -> dict[str, Any]:
    """Export an official SAM with random weights, calibrate its encoder, time both graphs.

    Args:
        model: name out of ``SAM_FILES``, e.g. ``sam_vit_b``.
        images: tiles that ranges come from.
        threads: of ONNX Runtime; None takes one per core.

    Returns:
        JSON-ready: figures of the calibration's own report, its peak memory, and the time of
        each operator in both graphs.

    Raises:
        MissingOriginalError: segment_anything is not installed.
        GraphError, BackendError: the graphs cannot be quantised or run.
    """
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="t2s-int8-") as name:
        folder = Path(name)
        # processes of their own: torch's memory is none of calibration's
        for task, arguments in (
            (_export, (model, folder)),
            (_calibrate, (folder, images, threads)),
        ):
            child = spawn.Process(target=task, args=arguments)
            child.start()
            child.join()
            if child.exitcode:
                raise RuntimeError(f"{task.__name__} of {model} failed with {child.exitcode}")

        record = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
        operators = _operators(folder, threads)
    (graph,) = record["report"]["graphs"]
    return {
        "kind": "int8",
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "images": images,
        "threads": threads,
        "peak_rss_bytes": record["peak_rss_bytes"],
        "seconds": record["seconds"],
        "graph": graph,
        "operators": operators,
        "machine": describe_machine(),
    }


def int8_table(record: dict[str, Any]) -> str:
    """A record of :func:`measure_int8` as Markdown."""
    graph, operators = record["graph"], record["operators"]
    times = graph["milliseconds"]
    rows = [
        (op, *(f"{1e3 * operators[p].get(op, 0.0):.0f}" for p in ("fp32", "int8")))
        for op in sorted(
            set(operators["fp32"]) | set(operators["int8"]),
            key=lambda op: -max(operators[p].get(op, 0.0) for p in operators),
        )[:_OPERATORS]
    ]
    disturbed = ", disturbed" if times["disturbed"] else ""
    return (
        f"{record['model']}'s mask encoder: {times['fp32']:.0f} ms in fp32, {times['int8']:.0f} ms "
        f"in int8 ({graph['weight_bits']}-bit weights), **{times['ratio']:.2f} times faster**"
        f"{disturbed}; {100 * graph['int8_share']:.1f} % of the multiplications with weights in "
        f"int8, mask IoU {graph['figures'].get('mask IoU mean', float('nan')):.3f} against fp32 "
        f"(random weights). Calibration on {record['images']} tiles took "
        f"{record['seconds'] / 60:.1f} min and {record['peak_rss_bytes'] / 2**30:.1f} GiB.\n\n"
        + table(("operator", "ms in fp32", "ms in int8"), rows)
        + f"\n\n`t2s-rt bench int8 --model {record['model']} --images {record['images']}`; "
        f"{one_line(record['machine'])}."
    )


def _export(model: str, folder: Path) -> None:
    """A bundle of SAM alone: encoder and decoder in float32."""
    from t2s_bench.reference.sam import SAM_FILES, sam_cases
    from t2s_engines.graphs.files import save_model

    bundle = folder / "bundle"
    bundle.mkdir()
    size = SAM_FILES[model][2].image_size
    records: list[GraphRecord] = []
    for case in sam_cases(model, folder):
        exported = case.export()
        if any(record.role == exported.role for record in records):
            break  # the decoder with other prompts
        files = save_model(exported.to_model(), bundle / f"{exported.role}.onnx")
        records.append(
            GraphRecord(
                role=exported.role,
                precision="fp32",
                files=tuple(file_record(bundle, file.name) for file in files),
                inputs=exported.inputs,
                outputs=exported.outputs,
                image_size=(size, size) if exported.role == "mask_encoder" else None,
                opset=exported.graph.opset,
            )
        )
    write_manifest(
        bundle,
        BundleManifest(
            name=model,
            exporter="t2s-rt bench int8",
            gsd=_GSD,
            tile_size=size,
            graphs=tuple(records),
            tokenizers={},
            text=TextRecord(),
        ),
    )


def _calibrate(folder: Path, images: int, threads: int | None) -> None:
    import time

    from t2s_bench.machine import write_record
    from t2s_calibration.int8.role import Demands, schemes_for
    from t2s_calibration.int8.run import Plan, calibrate_int8
    from t2s_rt.cli._progress import make_progress

    bundle = load_bundle(folder / "bundle")
    # no text is asked: classes of any pack will do
    pack = default_pack(load_bundle())
    plan = Plan(
        ("mask_encoder",),
        # random features leave masks to chance: nothing goes back to float for them
        Demands(schemes_for(["cpu"]), budget=0.5),
        images=images,
        judged=_JUDGED,
        threads=threads,
    )
    start = time.perf_counter()
    found = calibrate_int8(bundle, pack, (), folder / "int8", plan, make_progress())
    record = {
        "report": found.record,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_rss_bytes": peak_memory_bytes(),
    }
    write_record(record, folder / "calibration.json")


def _operators(folder: Path, threads: int | None) -> dict[str, dict[str, float]]:
    """Seconds by operator in both graphs, as ONNX Runtime optimised them."""
    from t2s_bench.roofline.profile import profile_graph

    bundle = load_bundle(folder / "int8")
    entries = {
        "fp32": bundle.graph("mask_encoder", "fp32"),
        "int8": bundle.graph("mask_encoder", "int8", "cpu"),
    }
    found = {}
    for precision, entry in entries.items():
        size = entry.image_size or (1, 1)
        noise = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
        spent: dict[str, float] = defaultdict(float)
        for node in profile_graph(entry.path, {"image": noise}, threads=threads or 2, repeat=3):
            spent[node.op] += node.seconds
        found[precision] = {op: round(seconds, 5) for op, seconds in sorted(spent.items())}
    return found
