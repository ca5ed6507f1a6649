"""Bundles: a folder with ``bundle.json``, graphs, tokenizers and a default prompt pack."""

from __future__ import annotations

from t2s_rt.bundle.files import sha256_file
from t2s_rt.bundle.load import (
    NANO_ROOT,
    Bundle,
    GraphEntry,
    file_record,
    load_bundle,
    text_fingerprint,
)
from t2s_rt.bundle.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    BundleManifest,
    FileRecord,
    GraphRecord,
    TextRecord,
    manifest_json,
    parse_manifest,
    write_manifest,
)

__all__ = [
    "MANIFEST_NAME",
    "NANO_ROOT",
    "SCHEMA_VERSION",
    "Bundle",
    "BundleManifest",
    "FileRecord",
    "GraphEntry",
    "GraphRecord",
    "TextRecord",
    "file_record",
    "load_bundle",
    "manifest_json",
    "parse_manifest",
    "sha256_file",
    "text_fingerprint",
    "write_manifest",
]
