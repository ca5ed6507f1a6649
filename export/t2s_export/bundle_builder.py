"""A bundle folder from torch modules: nano now, the official models through the same functions.

Each ``GraphJob`` is one module with its contract's role and the inputs to prove it on. Jobs come
from an iterator, so that a large model can be loaded, exported and dropped before the next one.
A job gives a float32 graph and, but for text, a float16 graph with islands of float32.

The graphs of one model and all their precisions share one file of weights (``sam.weights``), in
which equal bytes are stored once. Text encoders keep theirs to themselves and are float32 only:
prompt packs carry a fingerprint of their files, which must not change with an image tower or with
the device that happens to encode the words.

The folder appears whole or not at all: everything is written beside its place and renamed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import torch

import t2s_rt
from t2s_engines.preflight import check
from t2s_export.errors import ExportError
from t2s_export.graph_store import SHARED_WEIGHTS, BuiltGraph, GraphStore
from t2s_export.graphs.storage import store_float16
from t2s_export.graphs.to_onnx import ExportedGraph, export_graph
from t2s_export.parity import TOLERANCES, GraphParity, Tolerance, check_parity
from t2s_export.parity_cases import Case
from t2s_export.precision import (
    DEFAULT_TRIALS,
    FLOAT16_TOLERANCES,
    Calibration,
    check_float16,
    choose_islands,
    from_cases,
    typed_float16,
)
from t2s_rt.bundle import (
    BundleManifest,
    FileRecord,
    GraphRecord,
    TextRecord,
    file_record,
    load_bundle,
    write_manifest,
)
from t2s_rt.bundle.folder import whole_folder
from t2s_rt.contracts import CONTRACTS, OPSET, PRECISIONS, Precision, Role

__all__ = [
    "BuiltGraph",
    "BundlePlan",
    "GraphJob",
    "build_bundle",
    "exporter_name",
    "normalisation_record",
]

_PACK_NAME = "default_pack.safetensors"
_TOKENIZER_NAME = "{}_tokenizer.json"


@dataclass(frozen=True)
class GraphJob:
    """One graph to export.

    Attributes:
        role: its contract.
        module: what is exported; takes the contract's inputs, returns its outputs.
        reference: what the file is compared with, the trainable model in the form of the
            contract; None compares with ``module`` itself.
        cases: inputs to trace (the first) and to compare (all).
        image_size: (height, width) of the model frame, None without an image.
        normalisation: see ``normalisation_record``; empty without an image.
        source: checkpoint, its SHA-256 and licence, for the record.
        tolerances: by output name.
        calibration: inputs to decide the float16 graph's islands on; None takes the cases after
            the first, which has the largest batch.
        trials: see ``choose_islands``.
        float16_tolerances: of the float16 graph against the float32 one, by output name.
    """

    role: Role
    module: torch.nn.Module
    cases: Sequence[Case]
    reference: torch.nn.Module | None = None
    image_size: tuple[int, int] | None = None
    normalisation: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    tolerances: Mapping[str, Tolerance] = field(default_factory=lambda: TOLERANCES)
    calibration: Sequence[Calibration] | None = None
    trials: int = DEFAULT_TRIALS
    float16_tolerances: Mapping[str, Tolerance] = field(default_factory=lambda: FLOAT16_TOLERANCES)


def normalisation_record(mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation of RGB that are inside a graph, for its record."""
    return {"mean": list(mean), "std": list(std), "unit": "0..255, inside the graph"}


@dataclass(frozen=True)
class BundlePlan:
    """Everything of a bundle but its graphs.

    Attributes:
        name: its name.
        gsd: metres per pixel that the models like.
        tile_size: pixels along one edge of a tile.
        tokenizers: text of the ``tokenizers`` JSON files by text encoder.
        text: what the text encoders know and expect.
        documents: model card and licences, text by file name.
        default_prompts: words of the default pack, or None.
        thresholds: overrides of the prompt bank, by class.
        precisions: what each image graph is written in; fp32 is among them.
    """

    name: str
    gsd: float
    tile_size: int
    tokenizers: Mapping[str, str]
    text: TextRecord
    documents: Mapping[str, str]
    default_prompts: str | None = None
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    precisions: tuple[Precision, ...] = ("fp32", "fp16")


def exporter_name() -> str:
    """What wrote the bundle, for the manifest."""
    return f"t2s-rt {t2s_rt.__version__}, torch {torch.__version__}, onnx {onnx.__version__}"


def build_bundle(
    plan: BundlePlan,
    jobs: Iterable[GraphJob],
    target: Path,
    *,
    replace_existing: bool = False,
    progress: Callable[[BuiltGraph], None] | None = None,
) -> tuple[BuiltGraph, ...]:
    """Export all graphs, prove them, and write the bundle's folder.

    Args:
        plan: the rest of the bundle.
        jobs: graphs, taken one at a time.
        target: the folder; its parent is made if missing.
        replace_existing: replace a bundle that is there. Other folders are never replaced.
        progress: told of each graph as it is done.

    Returns:
        The graphs, in the order of ``jobs``, each role's fp32 before its fp16.

    Raises:
        OutputError: the folder exists and may not be replaced, or cannot be written.
        ExportError: a graph cannot be exported, or is not its module (see ``t2s_export.errors``).
        BundleError: the runtime would refuse the bundle.
    """
    with whole_folder(target, replace_existing) as folder:
        store = GraphStore(folder)
        built: list[BuiltGraph] = []
        for job in jobs:
            for graph in _build_graphs(job, store, plan.precisions):
                built.append(graph)
                if progress is not None:
                    progress(graph)
            del job  # its model would stay while the next one is loaded
        built = list(store.final(built))
        _write_rest(plan, [graph.record for graph in built], folder)
    return tuple(built)


def _build_graphs(
    job: GraphJob, store: GraphStore, precisions: Sequence[Precision]
) -> Iterator[BuiltGraph]:
    """Export, store, check and record one job's graphs."""
    if not job.cases:
        raise ExportError(f"expected inputs to trace {job.role} with, found none")
    exported = export_graph(job.role, job.module, job.cases[0].feeds)
    half = decision = None
    if "fp16" in precisions and job.role in SHARED_WEIGHTS:
        inputs = job.calibration or from_cases(_smaller(job.cases))
        decision = choose_islands(job.role, exported.graph, inputs, trials=job.trials)
        half = replace(exported, graph=typed_float16(exported.graph, decision.islands))
        check(half.graph)
    storage = store_float16(exported.graph)
    path, files, added = store.save(exported, "fp32")
    parity = check_parity(job.role, job.reference or job.module, path, job.cases, job.tolerances)
    source = {"float16_constants": len(storage.stored)}
    record = _record(job, exported, "fp32", files, parity, source)
    yield BuiltGraph(record, len(exported.graph.nodes), added, storage, parity)
    if half is None or decision is None:
        return
    half_path, files, added = store.save(half, "fp16")
    parity = check_float16(job.role, half_path, path, _smaller(job.cases), job.float16_tolerances)
    record = replace(_record(job, half, "fp16", files, parity, {}), islands=decision.as_record())
    yield BuiltGraph(record, len(half.graph.nodes), added, None, parity, decision)


def _smaller(cases: Sequence[Case]) -> Sequence[Case]:
    """The cases without the traced one, whose batch the fp32 file has been proven with.

    A rounding graph takes several times the memory of its fp32 graph, and rounds each image of a
    batch as it rounds the image alone.
    """
    return cases[1:] or cases


def _record(
    job: GraphJob,
    exported: ExportedGraph,
    precision: Precision,
    files: tuple[FileRecord, ...],
    parity: GraphParity,
    source: Mapping[str, Any],
) -> GraphRecord:
    """The manifest's entry of one file."""
    return GraphRecord(
        role=job.role,
        precision=precision,
        files=files,
        inputs=exported.inputs,
        outputs=exported.outputs,
        image_size=job.image_size,
        opset=OPSET,
        normalisation=job.normalisation,
        source={**job.source, **source},
        parity={**parity.as_record(), "machine": platform.machine()},
    )


def _write_rest(plan: BundlePlan, records: Sequence[GraphRecord], folder: Path) -> None:
    """Tokenizers, documents, manifest and default pack."""
    for kind, text in plan.tokenizers.items():
        (folder / _TOKENIZER_NAME.format(kind)).write_text(text, encoding="utf-8")
    for name, text in plan.documents.items():
        (folder / name).write_text(text, encoding="utf-8")
    manifest = BundleManifest(
        name=plan.name,
        exporter=exporter_name(),
        gsd=plan.gsd,
        tile_size=plan.tile_size,
        graphs=tuple(sorted(records, key=_place)),
        tokenizers={
            kind: file_record(folder, _TOKENIZER_NAME.format(kind)) for kind in plan.tokenizers
        },
        text=plan.text,
        thresholds=plan.thresholds,
        documents=tuple(file_record(folder, name) for name in plan.documents),
    )
    write_manifest(folder, manifest)
    if plan.default_prompts is None:
        return
    from t2s_rt.prompts import build_pack, save_pack

    # the pack needs the bundle's own text encoders, so the manifest is written twice
    pack = build_pack(load_bundle(folder), plan.default_prompts)
    save_pack(pack, folder / _PACK_NAME)
    write_manifest(folder, replace(manifest, default_pack=file_record(folder, _PACK_NAME)))
    load_bundle(folder)


def _place(record: GraphRecord) -> tuple[int, int]:
    """The order of graphs in a manifest: of the contracts, then of the precisions."""
    return list(CONTRACTS).index(record.role), PRECISIONS.index(record.precision)
