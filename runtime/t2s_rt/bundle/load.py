"""A bundle's folder in, a checked :class:`Bundle` out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2s_rt.bundle.files import resolve_inside, sha256_file
from t2s_rt.bundle.manifest import (
    MANIFEST_NAME,
    BundleManifest,
    FileRecord,
    GraphRecord,
    TextRecord,
    parse_manifest,
)
from t2s_rt.contracts import ROLES, TEXT_ROLES, Precision, Role, TensorSpec
from t2s_rt.errors import BundleError

__all__ = ["NANO_ROOT", "Bundle", "GraphEntry", "file_record", "load_bundle", "text_fingerprint"]

NANO_ROOT = Path(__file__).resolve().parent.parent / "nano"
"""Folder of the bundle that lies inside the package."""

_MAX_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True)
class GraphEntry:
    """One graph of a loaded bundle, ready for a backend.

    Attributes:
        role: which contract it fulfils.
        precision: ``fp32``, ``fp16`` or ``int8``.
        path: absolute path of the ONNX file.
        sha256: of the ONNX file.
        inputs: the contract's tensors; static sizes as integers, dynamic ones as symbols.
        outputs: likewise.
        image_size: (height, width) of the model frame in pixels, or None without an image.
        opset: ONNX opset.
        source: checkpoint URL, sha256, licence, for the record.
        target: what an int8 graph was quantised for; None otherwise.
        files: the graph's record of its files, that of its weights included.
    """

    role: Role
    precision: Precision
    path: Path
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    image_size: tuple[int, int] | None
    opset: int
    source: Mapping[str, Any]
    target: str | None = None
    files: tuple[FileRecord, ...] = ()

    @property
    def content_sha256(self) -> str:
        """SHA-256 that identifies the whole graph: its ONNX file and its weights."""
        parts = [self.sha256, *(file.sha256 for file in self.files[1:])]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    Attributes:
        name: its name.
        root: absolute path of its folder.
        gsd: metres per pixel that the models like.
        tile_size: pixels along one edge of a tile at that resolution.
        graphs: all of its graphs.
        tokenizers: ``tokenizers`` JSON files by text encoder: ``detector``, ``clip``.
        default_pack: path of its default prompt pack, or None.
        text_fingerprint: identifies its text encoders; packs carry it too.
        text: what the text encoders know; ``text.words`` is None for an open vocabulary.
        manifest: everything else that ``bundle.json`` says.
    """

    name: str
    root: Path
    gsd: float
    tile_size: int
    graphs: tuple[GraphEntry, ...]
    tokenizers: Mapping[str, Path]
    default_pack: Path | None
    text_fingerprint: str
    text: TextRecord
    manifest: BundleManifest

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles it has graphs for, in the order of the contracts."""
        present = {graph.role for graph in self.graphs}
        return tuple(role for role in ROLES if role in present)

    def precisions(self, role: Role) -> tuple[Precision, ...]:
        """The precisions it has of a role."""
        return tuple(graph.precision for graph in self.graphs if graph.role == role)

    def graph(
        self, role: Role, precision: Precision = "fp32", target: str | None = None
    ) -> GraphEntry:
        """The graph of a role.

        Args:
            role: which one.
            precision: in which precision.
            target: for int8, the device it must be quantised for; None takes the first.

        Raises:
            BundleError: the bundle has no such graph; the message names those it has.
        """
        for entry in self.graphs:
            fits = target is None or entry.target in (None, target)
            if fits and (entry.role, entry.precision) == (role, precision):
                return entry
        has = ", ".join(self.precisions(role)) or f"no {role} at all"
        wanted = precision if target is None else f"{precision} for {target}"
        raise BundleError(f"bundle {self.name}: expected {role} in {wanted}, found {has}")


def load_bundle(path: str | Path | None = None, verify: bool = True) -> Bundle:
    """Load and check a bundle.

    Args:
        path: its folder, or its ``bundle.json``; None is the nano bundle inside the package.
        verify: compare every file's SHA-256 (about 1 ms per megabyte); sizes and presence are
            checked in any case.

    Raises:
        BundleError: no bundle there, unknown schema version, a file that is missing, altered or
            outside the folder, a graph that breaks its contract.
    """
    root = NANO_ROOT if path is None else Path(path)
    if root.name == MANIFEST_NAME and not root.is_dir():
        root = root.parent
    manifest = parse_manifest(_read_manifest(root), str(root / MANIFEST_NAME))
    # graphs share their weights: each file is looked at once
    distinct = {file.path: file for file in manifest.files()}
    paths = {name: _check_file(root, file, verify) for name, file in distinct.items()}
    return Bundle(
        name=manifest.name,
        root=root.resolve(),
        gsd=manifest.gsd,
        tile_size=manifest.tile_size,
        graphs=tuple(_entry(record, paths) for record in manifest.graphs),
        tokenizers={name: paths[file.path] for name, file in manifest.tokenizers.items()},
        default_pack=None if manifest.default_pack is None else paths[manifest.default_pack.path],
        text_fingerprint=_known_fingerprint(manifest),
        text=manifest.text,
        manifest=manifest,
    )


def file_record(root: str | Path, path: str) -> FileRecord:
    """Describe a file of a bundle that is being written.

    Args:
        root: the bundle's folder.
        path: relative to it, ``/`` between parts.

    Raises:
        BundleError: the file is missing or outside the folder.
    """
    file = resolve_inside(Path(root), path)
    return FileRecord(path, sha256_file(file), file.stat().st_size)


def text_fingerprint(graphs: tuple[GraphRecord, ...], tokenizers: Mapping[str, FileRecord]) -> str:
    """SHA-256 that identifies the text encoders.

    It covers the fp32 text graphs with their external data and the tokenizer files: whatever
    changes the numbers in a prompt pack changes the fingerprint. Image graphs are left out on
    purpose: no number of a pack comes from them, so bundles with the same text encoders, such as
    two that differ in SAM alone, take each other's packs.
    """
    parts = [
        f"{graph.role}[{index}] {file.sha256}"
        for graph in graphs
        if graph.role in TEXT_ROLES and graph.precision == "fp32"
        for index, file in enumerate(graph.files)
    ]
    parts += [f"tokenizer {name} {file.sha256}" for name, file in tokenizers.items()]
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def _known_fingerprint(manifest: BundleManifest) -> str:
    has_text = any(graph.role in TEXT_ROLES for graph in manifest.graphs)
    recorded = manifest.text.fingerprint
    if not has_text and recorded is not None:
        return recorded
    computed = text_fingerprint(manifest.graphs, manifest.tokenizers)
    if recorded is not None and recorded != computed:
        raise BundleError(
            f"bundle {manifest.name}: text fingerprint {recorded[:12]}... recorded, but its text "
            f"encoders give {computed[:12]}...; export the bundle anew"
        )
    return computed


def _read_manifest(root: Path) -> bytes:
    path = root / MANIFEST_NAME
    try:
        with open(path, "rb") as stream:
            data = stream.read(_MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BundleError(
            f"{path}: expected a bundle's manifest, but it cannot be read "
            f"({error.strerror or error}); name a folder that t2s-rt export wrote"
        ) from error
    except ValueError as error:  # a NUL byte in the path
        raise BundleError(f"{root}: no usable path ({error})") from error
    if len(data) > _MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: larger than {_MAX_MANIFEST_BYTES >> 20} MiB, so no manifest")
    return data


def _check_file(root: Path, record: FileRecord, verify: bool) -> Path:
    path = resolve_inside(root, record.path)
    try:
        size = path.stat().st_size
        if size != record.bytes:
            raise BundleError(
                f"{path}: expected {record.bytes} bytes, found {size}; "
                "fetch or export the bundle again"
            )
        digest = sha256_file(path) if verify else record.sha256
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from error
    if digest != record.sha256:
        raise BundleError(
            f"{path}: expected SHA-256 {record.sha256}, found {digest}; "
            "fetch or export the bundle again"
        )
    return path


def _entry(record: GraphRecord, paths: Mapping[str, Path]) -> GraphEntry:
    return GraphEntry(
        role=record.role,
        precision=record.precision,
        path=paths[record.files[0].path],
        sha256=record.files[0].sha256,
        inputs=record.inputs,
        outputs=record.outputs,
        image_size=record.image_size,
        opset=record.opset,
        source=record.source,
        target=record.target,
        files=record.files,
    )
