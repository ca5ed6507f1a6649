"""One test body for every backend: adding a backend is adding a builder."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from t2s_rt.backends import BACKENDS, FakeSession, Session, fake_entry, open_session
from t2s_rt.bundle import GraphEntry
from t2s_rt.contracts import TensorSpec
from t2s_rt.errors import BackendError

Arrays = dict[str, NDArray[Any]]

GRAPH = """<ir_version: 8, opset_import: ["": 17]> sum
(uint8[B,2,3] pixels, float[1,T] words, bool[1,T] mask, int32[1,T] places)
=> (float[B,T] total, float[1,T] chosen) {
  floats = Cast <to = 1> (pixels)
  means = ReduceMean <axes = [1, 2], keepdims = 0> (floats)
  column = Unsqueeze (means, one)
  steps = Cast <to = 1> (places)
  moved = Add (words, steps)
  total = Add (column, moved)
  zeros = Sub (words, words)
  chosen = Where (mask, words, zeros)
}
<int64[1] one = {1}>"""


def _graph_text() -> str:
    header, body = GRAPH.split(" {\n", 1)
    body, weights = body.rsplit("}\n", 1)
    return f"{header}\n{weights}\n{{\n{body}}}"


def _formula(feeds: Arrays) -> Arrays:
    means = feeds["pixels"].astype(np.float32).mean(axis=(1, 2))
    words = feeds["words"]
    return {
        "total": (means[:, None] + words + feeds["places"]).astype(np.float32),
        "chosen": np.where(feeds["mask"], words, np.float32(0)),
    }


def _entry(path: Path) -> GraphEntry:
    onnx.save(onnx.parser.parse_model(_graph_text()), str(path))
    return GraphEntry(
        role="detector",
        precision="fp32",
        path=path,
        sha256="0" * 64,
        inputs=(
            TensorSpec("pixels", "uint8", ("B", 2, 3), ""),
            TensorSpec("words", "float32", (1, "T"), ""),
            TensorSpec("mask", "bool", (1, "T"), ""),
            TensorSpec("places", "int32", (1, "T"), ""),
        ),
        outputs=(
            TensorSpec("total", "float32", ("B", "T"), ""),
            TensorSpec("chosen", "float32", (1, "T"), ""),
        ),
        image_size=None,
        opset=17,
        source={},
    )


def _recorded(entry: GraphEntry) -> Session:
    """A tape whose answers are the formula's: it shows that the tape keeps the contract too."""
    feeds = [example(batch, length) for batch, length in ORDER]
    return FakeSession.recorded(entry, [_formula(item) for item in feeds])


def _open(name: str, entry: GraphEntry) -> Session:
    return open_session(entry, name, threads=1)


BUILDERS: dict[str, Callable[[GraphEntry], Session]] = {
    **{name: partial(_open, name) for name in BACKENDS},
    "fake": lambda entry: FakeSession(entry, _formula),
    "recorded": _recorded,
}
ORDER = [(1, 4), (3, 4), (2, 7), (1, 1)]


def example(batch: int, length: int) -> Arrays:
    random = np.random.default_rng(batch * 100 + length)
    return {
        "pixels": random.integers(0, 256, (batch, 2, 3), dtype=np.uint8),
        "words": random.normal(size=(1, length)).astype(np.float32),
        "mask": random.random((1, length)) > 0.5,
        "places": random.integers(0, 9, (1, length), dtype=np.int32),
    }


@pytest.fixture(params=BUILDERS)
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Session:
    built: Session = BUILDERS[request.param](_entry(tmp_path / "graph.onnx"))
    return built


def test_numbers_at_every_dynamic_size(session: Session) -> None:
    with session:
        for batch, length in ORDER:
            feeds = example(batch, length)
            outputs = session.run(feeds)
            for name, expected in _formula(feeds).items():
                np.testing.assert_allclose(outputs[name], expected, rtol=1e-6, atol=1e-4)
                assert outputs[name].dtype == np.float32


def test_feeds_are_left_alone_and_need_not_be_contiguous(session: Session) -> None:
    feeds = example(1, 4)
    wide = np.repeat(feeds["words"], 2, axis=1)
    strided = {**feeds, "words": wide[:, ::2]}
    before = {name: array.copy() for name, array in strided.items()}
    with session:
        outputs = session.run(strided)
    np.testing.assert_allclose(outputs["total"], _formula(feeds)["total"], rtol=1e-6)
    for name, array in strided.items():
        np.testing.assert_array_equal(array, before[name])


def test_results_outlive_the_session_and_the_next_call(session: Session) -> None:
    with session:
        first = session.run(example(1, 4))
        kept = first["total"].copy()
        session.run(example(3, 4))
    np.testing.assert_array_equal(first["total"], kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": None}, "expected the inputs pixels, words, mask, places, found"),
        ({"extra": np.zeros(1)}, "expected the inputs .* found extra"),
        ({"words": np.zeros((1, 4))}, "input words: expected a float32 array, found float64"),
        ({"mask": np.zeros((1, 4), np.uint8)}, "input mask: expected a bool array, found uint8"),
        ({"words": [[1.0]]}, "input words: expected a float32 array, found list"),
        ({"pixels": np.zeros((2, 3), np.uint8)}, r"expected 3 dimensions \[B, 2, 3\], found 2"),
        ({"pixels": np.zeros((1, 2, 4), np.uint8)}, r"expected 3 in \[B, 2, 3\], found \[1, 2, 4"),
        ({"mask": np.zeros((1, 5), np.bool_)}, r"input mask: expected T = 4 in \[1, T\]"),
    ],
)
def test_wrong_feeds_are_refused_alike(
    session: Session, change: dict[str, Any], message: str
) -> None:
    feeds: dict[str, Any] = {**example(1, 4), **change}
    feeds = {name: value for name, value in feeds.items() if value is not None}
    with session, pytest.raises(BackendError, match=message):
        session.run(feeds)


def test_a_closed_session_refuses_and_closes_twice(session: Session) -> None:
    assert not session.closed
    session.close()
    session.close()
    assert session.closed
    with pytest.raises(BackendError, match="is closed"):
        session.run(example(1, 4))


def test_description_is_one_line(session: Session) -> None:
    with session:
        line = session.describe()
    assert "\n" not in line
    assert line.startswith(f"detector fp32 on {session.backend} (")


def test_nothing_keeps_a_closed_session_alive(session: Session) -> None:
    assert [spec.name for spec in session.outputs] == ["total", "chosen"]
    session.run(example(1, 4))
    session.close()
    assert not vars(session).get("_session")
    assert not vars(session).get("calls")


def test_a_backend_that_breaks_its_promise_is_caught() -> None:
    entry = fake_entry("clip_text", D=3)
    feeds = {"input_ids": np.zeros((2, 5), np.int32)}
    wrong: dict[str, Callable[[Arrays], Arrays]] = {
        "output embeddings: expected N = 2": lambda _: {"embeddings": np.zeros((1, 3), np.float32)},
        "output embeddings: expected a float32": lambda _: {"embeddings": np.zeros((2, 3))},
        "expected the outputs embeddings, found none": lambda _: {},
    }
    for message, function in wrong.items():
        with pytest.raises(BackendError, match=message):
            FakeSession(entry, function).run(feeds)


def test_the_fake_remembers_copies_of_its_feeds() -> None:
    entry = fake_entry("clip_text", D=3)
    session = FakeSession(entry, lambda f: {"embeddings": np.zeros((2, 3), np.float32)})
    ids = np.zeros((2, 5), np.int32)
    session.run({"input_ids": ids})
    ids[:] = 7
    assert session.calls[0]["input_ids"].max() == 0


def test_a_tape_that_ran_out_says_so() -> None:
    session = FakeSession.recorded(fake_entry("clip_text", D=3), [])
    with pytest.raises(BackendError, match="no recorded output is left"):
        session.run({"input_ids": np.zeros((2, 5), np.int32)})


def test_the_library_session_is_freed(tmp_path: Path) -> None:
    session = open_session(_entry(tmp_path / "graph.onnx"), "onnxruntime-cpu")
    inner = weakref.ref(vars(session)["_session"])
    session.close()
    gc.collect()
    assert inner() is None
