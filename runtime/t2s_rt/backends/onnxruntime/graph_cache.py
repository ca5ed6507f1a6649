"""The optimised form of a graph, kept so that the next session need not optimise it again.

Off by default. Measured for nano on two AVX2 cores (onnxruntime 1.32): opening its seven image
graphs takes 70 ms instead of 220 ms, a small part of a run that takes seconds; in exchange every
graph lies on disk a second time, weights and all (2.4 GB for SAM's ViT-H). It pays where short
runs follow each other on a slow CPU.

::

    graphs/
      detector.fp32.<digest>/     one graph; appears whole, by one rename
        graph.onnx                as ONNX Runtime optimised it, for this very CPU
        weights                   its large initialisers
        cache.json                key, and SHA-256 of both files

An entry whose key or hashes differ is never loaded. Whatever goes wrong here, the graph of the
bundle is opened instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from t2s_rt.backends.onnxruntime.library import (
    Provider,
    check_file,
    create_session,
    first_line,
    session_options,
)
from t2s_rt.backends.options import BackendOptions
from t2s_rt.bundle import GraphEntry, sha256_file
from t2s_rt.caches import cache_folder
from t2s_rt.errors import BackendError, BundleError, UsageError

__all__ = ["GraphCache"]

_GRAPH, _WEIGHTS, _RECORD = "graph.onnx", "weights", "cache.json"
_SCHEMA = 1
_EXTERNAL_FROM = 1024
"""Bytes from which an initialiser goes to the file of weights; a protobuf ends at 2 GiB."""


class GraphCache:
    """Opens graphs through the cache.

    Args:
        onnxruntime: the library.
        root: the folder; None takes ``graphs`` in the cache.

    Attributes:
        note: what the last :meth:`open` did, in a few words.
    """

    def __init__(self, onnxruntime: Any, root: Path | None = None) -> None:
        self._library = onnxruntime
        self._root = root
        self.note = ""

    def open(
        self, entry: GraphEntry, options: BackendOptions, providers: Sequence[Provider]
    ) -> Any:
        """A session of the cached graph, else of the bundle's, which is then cached.

        Raises:
            BackendError: ONNX Runtime refuses the bundle's graph.
        """
        key = self.key(entry, providers)
        try:
            folder = self._folder(entry, key)
        except UsageError as error:
            self.note = f"no graph cache: {first_line(error)}"
            return self._plain(entry, options, providers)
        if folder.exists():
            session = self._load(entry, folder, key, options, providers)
            if session is not None:
                self.note = "optimised graph from the cache"
                return session
        return self._fill(entry, folder, key, options, providers)

    def key(self, entry: GraphEntry, providers: Sequence[Provider]) -> dict[str, Any]:
        """Everything that the optimised graph depends on, as JSON values."""
        return {
            "schema": _SCHEMA,
            "graph": entry.content_sha256,
            "onnxruntime": self._library.__version__,
            "build": self._library.get_build_info(),
            "providers": [item if isinstance(item, str) else item[0] for item in providers],
            "machine": platform.machine(),
            "cpu": _cpu(),
        }

    def _folder(self, entry: GraphEntry, key: dict[str, Any]) -> Path:
        root = cache_folder("graphs") if self._root is None else self._root
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        return root / f"{entry.role}.{entry.precision}.{digest}"

    def _plain(
        self, entry: GraphEntry, options: BackendOptions, providers: Sequence[Provider]
    ) -> Any:
        settings = session_options(self._library, options, on_cpu=True)
        return create_session(self._library, str(entry.path), settings, providers)

    def _load(
        self,
        entry: GraphEntry,
        folder: Path,
        key: dict[str, Any],
        options: BackendOptions,
        providers: Sequence[Provider],
    ) -> Any:
        """The cached session, or None for an entry that is not exactly what was written."""
        try:
            record = json.loads((folder / _RECORD).read_bytes())
            if record["key"] != key or _GRAPH not in record["files"]:
                return None
            for name, digest in record["files"].items():
                if sha256_file(folder / Path(name).name) != digest:
                    return None
            settings = session_options(self._library, options, on_cpu=True)
            settings.graph_optimization_level = self._library.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = create_session(self._library, str(folder / _GRAPH), settings, providers)
            check_file(entry, session)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None  # damaged, foreign or just removed: the bundle's graph is opened instead
        except (BackendError, BundleError):
            return None
        return session

    def _fill(
        self,
        entry: GraphEntry,
        folder: Path,
        key: dict[str, Any],
        options: BackendOptions,
        providers: Sequence[Provider],
    ) -> Any:
        """A session of the bundle's graph, whose optimised form is kept."""
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        except OSError as error:
            self.note = f"no graph cache: {folder.parent} cannot be written ({error.strerror})"
            return self._plain(entry, options, providers)
        try:
            settings = session_options(self._library, options, on_cpu=True)
            settings.optimized_model_filepath = str(part / _GRAPH)
            for name, value in (
                ("file_name", _WEIGHTS),
                ("min_size_in_bytes", str(_EXTERNAL_FROM)),
            ):
                settings.add_session_config_entry(
                    f"session.optimized_model_external_initializers_{name}", value
                )
            try:
                session = create_session(self._library, str(entry.path), settings, providers)
                _publish(part, folder, key)
            except (BackendError, OSError) as error:
                # a full disk, or a graph that cannot be opened at all, which this then says
                session = self._plain(entry, options, providers)
                self.note = f"no graph cache: {first_line(error)}"
            else:
                self.note = "optimised graph put into the cache"
            return session
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _publish(part: Path, folder: Path, key: dict[str, Any]) -> None:
    """Make an entry of what was written, whole or not at all."""
    files = {
        name: sha256_file(part / name) for name in (_GRAPH, _WEIGHTS) if (part / name).exists()
    }
    if _GRAPH not in files:
        raise OSError("ONNX Runtime wrote no optimised graph")
    (part / _RECORD).write_text(json.dumps({"key": key, "files": files}, indent=2, sort_keys=True))
    if folder.exists():  # it did not load
        shutil.rmtree(folder, ignore_errors=True)
    try:
        os.rename(part, folder)
    except OSError:
        if not folder.exists():  # else another process was first, with the same content
            raise


def _cpu() -> str:
    """Name and features of the processor: the optimiser chooses layouts by them."""
    wanted = ("model name", "flags", "Features", "CPU part")
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            lines = {line.strip() for line in stream if line.split("\t")[0].strip() in wanted}
    except OSError:
        return platform.processor()
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]
