"""Every backend that keeps the contract: one line each, and all of test_contract.py runs on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray
from tests.runtime.backends.tensorrt.engines import build_engine, open_engine

from t2s_rt.backends import BACKENDS, BindingSession, FakeSession, Session, open_session
from t2s_rt.backends.onnxruntime.providers import (
    CUDA,
    TENSORRT,
    device_missing,
    why_not_loaded,
)
from t2s_rt.bundle import GraphEntry
from t2s_rt.contracts import TensorSpec

Arrays = dict[str, NDArray[Any]]

GRAPH = """<ir_version: 8, opset_import: ["": 17]> sum
(uint8[B,2,3] pixels, float[1,T] words, bool[1,T] mask, int32[1,T] places)
=> (float[B,T] total, float[1,T] chosen)
<int64[1] one = {1}>
{
  floats = Cast <to = 1> (pixels)
  means = ReduceMean <axes = [1, 2], keepdims = 0> (floats)
  column = Unsqueeze (means, one)
  steps = Cast <to = 1> (places)
  moved = Add (words, steps)
  total = Add (column, moved)
  zeros = Sub (words, words)
  chosen = Where (mask, words, zeros)
}
"""
ORDER = [(1, 4), (3, 4), (2, 7), (1, 1)]
"""Sizes B and T of the calls that a tape answers first; then it goes on with the first ones."""
REPEATS = 64


@dataclass(frozen=True)
class Builder:
    """How the contract test gets a session.

    Attributes:
        open: from the entry of the test's graph to a session.
        computes: false for a tape, whose answers do not depend on the feeds.
        foreign: whether it reads another library's device arrays, here in host memory.
        gpu: of a backend that needs a CUDA device: why it cannot run here, or None. Foreign
            arrays in host memory must not be fed to it.
        release: of TensorRT, whose double is installed meanwhile. Its memory is not the host's.
    """

    open: Callable[[GraphEntry], Session]
    computes: bool = True
    foreign: bool = False
    gpu: Callable[[], str | None] | None = None
    release: str | None = None

    @property
    def own_memory(self) -> bool:
        """Whether a device array must really lie on a device, real or simulated."""
        return self.gpu is not None or self.release is not None


def formula(feeds: Arrays) -> Arrays:
    means = feeds["pixels"].astype(np.float32).mean(axis=(1, 2))
    words = feeds["words"]
    return {
        "total": (means[:, None] + words + feeds["places"]).astype(np.float32),
        "chosen": np.where(feeds["mask"], words, np.float32(0)),
    }


def example(batch: int, length: int) -> Arrays:
    random = np.random.default_rng(batch * 100 + length)
    return {
        "pixels": random.integers(0, 256, (batch, 2, 3), dtype=np.uint8),
        "words": random.normal(size=(1, length)).astype(np.float32),
        "mask": random.random((1, length)) > 0.5,
        "places": random.integers(0, 9, (1, length), dtype=np.int32),
    }


def write_entry(path: Path, **sizes: int) -> GraphEntry:
    """The test's graph as a file and a record; sizes B and T make it static."""
    text = GRAPH
    for symbol, size in sizes.items():
        for old, new in ((f"[{symbol},", f"[{size},"), (f",{symbol}]", f",{size}]")):
            text = text.replace(old, new)
    onnx.save(onnx.parser.parse_model(text), str(path))
    b: int | str = sizes.get("B", "B")
    t: int | str = sizes.get("T", "T")
    return GraphEntry(
        role="detector",
        precision="fp32",
        path=path,
        sha256="0" * 64,
        inputs=(
            TensorSpec("pixels", "uint8", (b, 2, 3), ""),
            TensorSpec("words", "float32", (1, t), ""),
            TensorSpec("mask", "bool", (1, t), ""),
            TensorSpec("places", "int32", (1, t), ""),
        ),
        outputs=(
            TensorSpec("total", "float32", (b, t), ""),
            TensorSpec("chosen", "float32", (1, t), ""),
        ),
        image_size=None,
        opset=17,
        source={},
    )


def _recorded(entry: GraphEntry) -> Session:
    """A tape whose answers are the formula's: it shows that the tape keeps the contract too."""
    sizes = [*ORDER, *[ORDER[0]] * REPEATS]
    return FakeSession.recorded(entry, [formula(example(*size)) for size in sizes])


def _open(name: str, entry: GraphEntry) -> Session:
    return open_session(entry, name, threads=1)


def _built(entry: GraphEntry) -> Session:
    """A session on an engine that is built for it."""
    root = entry.path.parent / "engines"
    build_engine(entry, root)
    return open_engine(entry, root)


def why_not(name: str) -> str | None:
    """Why a GPU backend cannot run on this machine, or None."""
    if not BACKENDS[name].installed():
        return f"{BACKENDS[name].package} is not installed"
    if reason := BACKENDS[name].missing() or device_missing():
        return reason
    libraries = {"onnxruntime-cuda": CUDA, "onnxruntime-tensorrt": TENSORRT}
    return why_not_loaded(libraries[name], 0) if name in libraries else None


BUILDERS: dict[str, Builder] = {
    "fake": Builder(lambda entry: FakeSession(entry, formula)),
    "fake-cuda": Builder(lambda entry: FakeSession(entry, formula, device="cuda"), foreign=True),
    "recorded": Builder(_recorded, computes=False),
    "onnxruntime-binding": Builder(BindingSession, foreign=True),
    **{
        name: Builder(
            _built if name == "tensorrt" else partial(_open, name),
            gpu=partial(why_not, name) if kind.device == "gpu" else None,
        )
        for name, kind in BACKENDS.items()
    },
    **{
        f"tensorrt-{release}": Builder(_built, release=release)
        for release in ("8.6", "10.3", "10.13", "11.4")
    },
}
"""Another backend, or its double, is one more line."""
