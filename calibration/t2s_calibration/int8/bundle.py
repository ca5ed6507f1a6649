"""A bundle with int8 graphs beside those it had."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from t2s_calibration.int8.recipe import Recipe, base_entry, base_graph, recipe_path
from t2s_engines.graphs.files import save_model
from t2s_engines.preflight import RELEASES, check
from t2s_engines.preflight.releases import find_release
from t2s_rt import __version__
from t2s_rt.bundle import Bundle, FileRecord, GraphRecord, file_record, load_bundle, write_manifest
from t2s_rt.contracts import Role
from t2s_rt.errors import BundleError, OutputError

__all__ = ["stored_recipes", "write_bundle"]


def write_bundle(source: Bundle, folder: Path, recipes: Sequence[Recipe]) -> Bundle:
    """Copy a bundle and add the graphs of recipes; older int8 graphs of these roles go.

    Args:
        source: the bundle; its files are copied.
        folder: empty or missing.
        recipes: at most one for each role and target.

    Returns:
        The new bundle, loaded and checked.

    Raises:
        BundleError: a recipe is for other float graphs than the bundle's.
        GraphError: a graph cannot be made, or no TensorRT could import it.
        OutputError: something cannot be written.
    """
    made = {(recipe.role, recipe.scheme.target) for recipe in recipes}
    kept = [g for g in source.manifest.graphs if (g.role, g.target) not in made]
    stale = {recipe_path(role, target) for role, target in made}
    documents = [file for file in source.manifest.documents if file.path not in stale]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = replace(source.manifest, graphs=tuple(kept), documents=tuple(documents))
        for path in dict.fromkeys(file.path for file in before.files()):
            _copy(source.root / path, folder / path)
        graphs = [_write_graph(source, folder, recipe) for recipe in recipes]
        texts = [_write_recipe(folder, recipe) for recipe in recipes]
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error})") from error
    manifest = replace(before, graphs=(*kept, *graphs), documents=(*documents, *texts))
    write_manifest(folder, manifest)
    return load_bundle(folder)


def stored_recipes(
    bundle: Bundle, roles: Collection[Role], targets: Collection[str]
) -> list[Recipe]:
    """The recipes that a bundle keeps.

    Raises:
        BundleError: it keeps none of these, or one is damaged.
    """
    found = []
    for file in bundle.manifest.documents:
        if not file.path.startswith("int8/"):
            continue
        recipe = Recipe.from_json((bundle.root / file.path).read_bytes(), file.path)
        if recipe.role in roles and recipe.scheme.target in targets:
            found.append(recipe)
    if not found:
        raise BundleError(
            f"bundle {bundle.name}: expected ranges of {', '.join(roles)} for "
            f"{', '.join(targets)}, found none; calibrate it on scenes (t2s-rt calibrate int8)"
        )
    return found


def _write_graph(source: Bundle, folder: Path, recipe: Recipe) -> GraphRecord:
    entry = base_entry(source, recipe.role, recipe.scheme.target)
    if entry.content_sha256 != recipe.base:
        raise BundleError(
            f"{recipe.role} for {recipe.scheme.target}: expected the {entry.precision} graph "
            f"{recipe.base[:12]}..., found {entry.content_sha256[:12]}...; its ranges belong to "
            "other weights: calibrate this bundle on scenes"
        )
    base, _ = base_graph(entry)
    graph = recipe.graph(base)
    model = graph.to_model(
        f"{recipe.role} int8",
        producer="t2s-rt",
        producer_version=__version__,
        metadata={"target": recipe.scheme.target, "base": recipe.base},
    )
    path = folder / f"{recipe.role}.int8-{recipe.scheme.target}.onnx"
    files = tuple(file_record(folder, file.name) for file in save_model(model, path))
    if recipe.scheme.target == "tensorrt":
        _check_imports(path, graph.opset)
    index = source.graphs.index(entry)
    return replace(
        source.manifest.graphs[index],
        precision="int8",
        target=recipe.scheme.target,
        files=files,
        opset=graph.opset,
        parity={"figures": dict(recipe.notes.get("figures", {}))},
        islands=_islands(recipe),
    )


def _check_imports(path: Path, opset: int) -> None:
    """Every release of TensorRT that reads the operator set has to take the graph."""
    readers = [name for name in RELEASES if find_release(name).opsets[1] >= opset]
    check(path, readers)


def _islands(recipe: Recipe) -> dict[str, Any]:
    return {
        "weight_bits": 7 if recipe.scheme.reduced else 8,
        "int8_layers": len(recipe.layers),
        "float_layers": list(recipe.notes.get("float layers", [])),
        "smoothed": len(recipe.smoothings),
        "ranges": recipe_path(recipe.role, recipe.scheme.target),
    }


def _write_recipe(folder: Path, recipe: Recipe) -> FileRecord:
    path = recipe_path(recipe.role, recipe.scheme.target)
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text(recipe.to_json(), encoding="utf-8")
    return file_record(folder, path)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
