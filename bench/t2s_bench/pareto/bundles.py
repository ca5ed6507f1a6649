"""The bundles that are compared: one with int8 graphs, and one that rounds as float16 does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import click

from t2s_rt.bundle import Bundle, GraphRecord, file_record, load_bundle, write_manifest
from t2s_rt.errors import BundleError
from t2s_rt.prompts import PromptPack

__all__ = ["rounding_bundle", "with_int8"]

_IMAGES = 32


def with_int8(bundle: Bundle, pack: PromptPack, folder: Path) -> Bundle:
    """The bundle, calibrated for processors on synthetic scenes unless it has int8 already."""
    if any(entry.target == "cpu" for entry in bundle.graphs):
        return bundle
    from t2s_calibration.int8.inputs import QUANTISABLE
    from t2s_calibration.int8.role import Demands, schemes_for
    from t2s_calibration.int8.run import Plan, calibrate_int8
    from t2s_engines.verify.targets import parse_roles
    from t2s_rt.cli._progress import make_progress

    click.echo(
        f"{bundle.name} has no int8 graphs: calibrating on {_IMAGES} synthetic tiles", err=True
    )
    roles = tuple(parse_roles(None, bundle, QUANTISABLE))
    plan = Plan(roles, Demands(schemes_for(["cpu"])), images=_IMAGES)
    return calibrate_int8(bundle, pack, (), folder / "int8", plan, make_progress()).bundle


def rounding_bundle(bundle: Bundle, folder: Path) -> Bundle:
    """A bundle whose float32 graphs compute what the float16 graphs say.

    ONNX Runtime's CPU provider computes float16 graphs in float32 and rounds at their ends alone;
    their rounding graphs round wherever they hold float16, which is the accuracy that a GPU with
    float32 accumulation has.

    Raises:
        BundleError: the bundle has no fp16 graphs.
    """
    import onnx

    from t2s_engines.graphs.files import save_model
    from t2s_engines.graphs.graph import Graph
    from t2s_engines.graphs.rounding import rounding_graph

    folder.mkdir()
    graphs: list[GraphRecord] = []
    rounded = {entry.role for entry in bundle.graphs if entry.precision == "fp16"}
    if not rounded:
        raise BundleError(f"bundle {bundle.name}: expected fp16 graphs to round by, found none")
    for entry, record in zip(bundle.graphs, bundle.manifest.graphs, strict=True):
        if entry.precision == "fp16":
            graph = rounding_graph(Graph.from_model(onnx.load(str(entry.path))))
            files = save_model(graph.to_model(entry.role), folder / f"{entry.role}.onnx")
            own = tuple(file_record(folder, file.name) for file in files)
            graphs.append(replace(record, precision="fp32", files=own))
        elif entry.precision == "fp32" and entry.role not in rounded:
            graphs.append(record)
    manifest = replace(bundle.manifest, graphs=tuple(graphs), documents=())
    made = {file.path for graph in graphs for file in graph.files if (folder / file.path).exists()}
    for file in manifest.files():
        if file.path not in made:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.root / file.path, target)
    write_manifest(folder, manifest)
    return load_bundle(folder)
