"""``bundle.json``: what a bundle holds, as dataclasses, and the two ways between them and JSON.

Export builds a :class:`BundleManifest` and writes it with :func:`write_manifest`; the runtime
reads it with :func:`parse_manifest`. Both sides share this module, so that they cannot drift.

Schema version 1, keys sorted, indented by two::

    schema_version      1
    name                "nano"
    exporter            program and version that wrote the bundle
    gsd                 metres per pixel that the models like
    tile_size           pixels along one edge of a tile at that resolution
    graphs              list of graph records: role, precision, target (int8 only), files,
                        inputs, outputs, image_size, opset, normalisation, source, parity,
                        islands (fp16, int8; may be absent). Graphs may share files of weights
    tokenizers          {"detector": file, "clip": file}: ``tokenizers`` JSON files which add
                        their own special tokens ([CLS] .. [SEP]; start .. end of text)
    text                words, templates and limits of the text encoders
    thresholds          {"default" or a class name: {route: 0..1}}: overrides the prompt bank
    default_pack        file or null
    documents           list of files: model card, licences

A file is ``{"path", "sha256", "bytes"}``, its path relative to the bundle's folder with ``/``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from t2s_rt.bundle.fields import JsonObject, parse_json
from t2s_rt.bundle.files import check_relative_path
from t2s_rt.bundle.shapes import check_graph, check_graphs_agree
from t2s_rt.contracts import CONTRACTS, PRECISIONS, ROLES, Precision, Role, TensorSpec
from t2s_rt.errors import BundleError, OutputError

__all__ = [
    "MANIFEST_NAME",
    "NAME_PATTERN",
    "SCHEMA_VERSION",
    "BundleManifest",
    "FileRecord",
    "GraphRecord",
    "TextRecord",
    "manifest_json",
    "parse_manifest",
    "write_manifest",
]

SCHEMA_VERSION = 1
MANIFEST_NAME = "bundle.json"
TOKENIZERS = ("detector", "clip")

_MAX_SIDE = 65536
_SHA256 = "[0-9a-f]{64}"
NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Names of bundles: what is safe in a file name everywhere."""


@dataclass(frozen=True)
class FileRecord:
    """One file of a bundle.

    Attributes:
        path: relative to the bundle's folder, ``/`` between parts.
        sha256: of its content, lower-case hexadecimal.
        bytes: its size.
    """

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class GraphRecord:
    """One ONNX graph.

    Attributes:
        role: which contract it fulfils.
        precision: ``fp32``, ``fp16`` or ``int8``.
        files: the ONNX file first, then the file of its weights, which others may share.
        inputs: the contract's tensors in its order; static sizes as integers, dynamic ones
            under the contract's own symbol.
        outputs: likewise.
        image_size: (height, width) of the model frame in pixels, or None without an image.
        opset: ONNX opset.
        target: what an int8 graph was quantised for; None otherwise.
        normalisation: mean and standard deviation inside the graph, for the record.
        source: checkpoint URL, sha256, licence, for the record.
        parity: largest differences from the torch module, for the record.
        islands: what stayed in higher precision and why, for the record: float32 in an fp16
            graph, float layers in an int8 graph.
    """

    role: Role
    precision: Precision
    files: tuple[FileRecord, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    image_size: tuple[int, int] | None
    opset: int
    target: Literal["cpu", "tensorrt"] | None = None
    normalisation: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    islands: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TextRecord:
    """What the text encoders know and expect.

    Attributes:
        words: the phrases it knows, or None for an open vocabulary.
        clip_templates: sentences with one ``{}`` each; ``("{}",)`` means the bare word.
        clip_other_words: words for what is no class, so that CLIP's scores are absolute.
        clip_logit_scale: factor on cosine similarities before the softmax.
        clip_context_length: tokens of one CLIP text, start and end included.
        max_detector_tokens: tokens of a detector caption, [CLS] and [SEP] included.
        fingerprint: of the text encoders, for a bundle that flies without them; None where
            they are inside and it is computed from them.
    """

    words: tuple[str, ...] | None = None
    clip_templates: tuple[str, ...] = ("{}",)
    clip_other_words: tuple[str, ...] = ()
    clip_logit_scale: float = 100.0
    clip_context_length: int = 77
    max_detector_tokens: int = 256
    fingerprint: str | None = None


@dataclass(frozen=True)
class BundleManifest:
    """The whole of ``bundle.json``; the fields are described at the top of this module."""

    name: str
    exporter: str
    gsd: float
    tile_size: int
    graphs: tuple[GraphRecord, ...]
    tokenizers: Mapping[str, FileRecord]
    text: TextRecord
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    default_pack: FileRecord | None = None
    documents: tuple[FileRecord, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def files(self) -> tuple[FileRecord, ...]:
        """Every file that the manifest names."""
        graphs = (file for graph in self.graphs for file in graph.files)
        pack = () if self.default_pack is None else (self.default_pack,)
        return (*graphs, *self.tokenizers.values(), *pack, *self.documents)


def manifest_json(manifest: BundleManifest) -> str:
    """The text of ``bundle.json``: sorted keys, two spaces, a final line break."""
    return json.dumps(asdict(manifest), indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_manifest(root: str | Path, manifest: BundleManifest) -> Path:
    """Check a manifest as the runtime would and write it whole or not at all.

    Args:
        root: the bundle's folder, which exists.
        manifest: what to write.

    Returns:
        The path of the written ``bundle.json``.

    Raises:
        BundleError: the runtime would refuse this manifest.
        OutputError: the folder cannot be written.
    """
    text = manifest_json(manifest)
    parse_manifest(text)
    target = Path(root) / MANIFEST_NAME
    try:
        handle, name = tempfile.mkstemp(prefix=".bundle-", suffix=".json", dir=root)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(name, 0o644)  # mkstemp makes files for their owner only
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    return target


def parse_manifest(text: str | bytes, where: str = MANIFEST_NAME) -> BundleManifest:
    """Read and check the text of ``bundle.json``; touches no file.

    Raises:
        BundleError: naming the field, what was expected and what was found.
    """
    root = parse_json(text, where, BundleError)
    root.schema_version(SCHEMA_VERSION, "export the bundle anew", newer="update t2s-rt")
    graphs = tuple(_graph(item) for item in root.objects("graphs", 256))
    manifest = BundleManifest(
        name=root.text("name", NAME_PATTERN),
        exporter=root.text("exporter"),
        gsd=root.number("gsd", 1e-4, 1e4),
        tile_size=root.integer("tile_size", 16, _MAX_SIDE),
        graphs=graphs,
        tokenizers=_tokenizers(root),
        text=_text(root.child("text")),
        thresholds={
            name: values.numbers(0.0, 1.0) for name, values in root.children("thresholds").items()
        },
        default_pack=_file(root.child("default_pack")) if root.has("default_pack") else None,
        documents=tuple(_file(item) for item in root.objects("documents")),
    )
    _check_set(manifest, where)
    return manifest


def _tokenizers(root: JsonObject) -> dict[str, FileRecord]:
    found = {name: _file(item) for name, item in root.children("tokenizers").items()}
    for name in found:
        if name not in TOKENIZERS:
            root.fail(f"names out of {', '.join(TOKENIZERS)}", name, "tokenizers")
    return found


def _file(item: JsonObject) -> FileRecord:
    path = item.text("path", limit=512)
    problem = check_relative_path(path)
    if problem:
        item.fail("a path inside the bundle's folder", path, "path")
    return FileRecord(path, item.text("sha256", _SHA256), item.integer("bytes", 0, 2**50))


def _graph(item: JsonObject) -> GraphRecord:
    files = tuple(_file(file) for file in item.objects("files", 1024))
    if not files:
        item.fail("at least one file", [], "files")
    precision = cast(Precision, item.choice("precision", PRECISIONS))
    target = cast(
        Literal["cpu", "tensorrt"] | None,
        item.choice("target", ("cpu", "tensorrt")) if item.has("target") else None,
    )
    if (precision == "int8") != (target is not None):
        item.fail("a target (cpu or tensorrt) exactly where the precision is int8", target)
    size = item.integers("image_size", 2, 1, _MAX_SIDE) if item.has("image_size") else None
    record = GraphRecord(
        role=cast(Role, item.choice("role", ROLES)),
        precision=precision,
        files=files,
        inputs=tuple(_tensor(tensor) for tensor in item.objects("inputs", 64)),
        outputs=tuple(_tensor(tensor) for tensor in item.objects("outputs", 64)),
        image_size=None if size is None else (size[0], size[1]),
        opset=item.integer("opset", 1, 99),
        target=target,
        normalisation=item.free("normalisation"),
        source=item.free("source"),
        parity=item.free("parity"),
        islands=item.free("islands"),
    )
    problem = check_graph(CONTRACTS[record.role], record.inputs, record.outputs, record.image_size)
    if problem:
        raise BundleError(f"graph {record.role} ({record.precision}): {problem}")
    return record


def _tensor(item: JsonObject) -> TensorSpec:
    shape = item.items("shape", 8)
    for size in shape:
        if not (isinstance(size, str) or (type(size) is int and 0 < size < 2**31)):
            item.fail("sizes that are positive integers or symbols", shape, "shape")
    meaning = item.text("meaning") if item.has("meaning") else ""
    return TensorSpec(item.text("name", limit=64), item.text("dtype"), tuple(shape), meaning)


def _text(item: JsonObject) -> TextRecord:
    templates = item.texts("clip_templates")
    if not templates or any(template.count("{}") != 1 for template in templates):
        item.fail("texts with one {} each", list(templates), "clip_templates")
    return TextRecord(
        words=item.texts("words", 65536) if item.has("words") else None,
        clip_templates=templates,
        clip_other_words=item.texts("clip_other_words"),
        clip_logit_scale=item.number("clip_logit_scale", 1e-3, 1e4),
        clip_context_length=item.integer("clip_context_length", 3, 4096),
        max_detector_tokens=item.integer("max_detector_tokens", 3, 4096),
        fingerprint=item.text("fingerprint", _SHA256) if item.has("fingerprint") else None,
    )


def _check_set(manifest: BundleManifest, where: str) -> None:
    """The rules that span graphs: one record each, fp32 of every role, sizes that agree."""
    seen = set()
    for graph in manifest.graphs:
        key = (graph.role, graph.precision, graph.target)
        if key in seen:
            raise BundleError(f"{where}: two graphs for {graph.role} in {graph.precision}")
        seen.add(key)
    for role in {graph.role for graph in manifest.graphs}:
        if (role, "fp32", None) not in seen:
            raise BundleError(f"{where}: {role} has no fp32 graph; every bundle holds fp32")
    listed: dict[str, FileRecord] = {}
    for file in manifest.files():
        if listed.setdefault(file.path, file) != file:
            raise BundleError(f"{where}: {file.path} is listed with two different hashes or sizes")
    problem = check_graphs_agree(
        [(f"{g.role} ({g.precision})", g.role, g.inputs, g.outputs) for g in manifest.graphs]
    )
    if problem:
        raise BundleError(f"{where}: {problem}")
