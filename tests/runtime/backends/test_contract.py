"""One test body for every backend: adding a backend is adding a line to builders.py."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.backends.builders import (
    BUILDERS,
    ORDER,
    Arrays,
    Builder,
    example,
    formula,
    write_entry,
)
from tests.runtime.backends.foreign import Foreign
from tests.runtime.backends.tensorrt.installation import installed

from t2s_rt.backends import (
    Array,
    DeviceArray,
    FakeSession,
    Session,
    fake_device_array,
    fake_entry,
)
from t2s_rt.errors import BackendError


def _params() -> Iterator[Any]:
    for name, builder in BUILDERS.items():
        yield pytest.param(builder, id=name, marks=[pytest.mark.gpu] if builder.gpu else [])


@pytest.fixture(params=_params())
def builder(request: pytest.FixtureRequest) -> Iterator[Builder]:
    built: Builder = request.param
    if built.gpu is not None and (reason := built.gpu()):
        pytest.skip(f"needs a GPU backend: {reason}")
    with nullcontext() if built.release is None else installed(built.release):
        yield built


@pytest.fixture
def session(builder: Builder, tmp_path: Path) -> Iterator[Session]:
    with builder.open(write_entry(tmp_path / "graph.onnx")) as opened:
        yield opened


def host(array: Array) -> NDArray[Any]:
    return array.numpy() if isinstance(array, DeviceArray) else array


def test_numbers_at_every_dynamic_size(session: Session) -> None:
    with session:
        for batch, length in ORDER:
            feeds = example(batch, length)
            outputs = session.run(feeds)
            for name, expected in formula(feeds).items():
                np.testing.assert_allclose(outputs[name], expected, rtol=1e-6, atol=1e-4)
                assert outputs[name].dtype == np.float32


def test_feeds_are_left_alone_and_need_not_be_contiguous(session: Session) -> None:
    feeds = example(1, 4)
    wide = np.repeat(feeds["words"], 2, axis=1)
    strided = {**feeds, "words": wide[:, ::2]}
    before = {name: array.copy() for name, array in strided.items()}
    with session:
        outputs = session.run(strided)
    np.testing.assert_allclose(outputs["total"], formula(feeds)["total"], rtol=1e-6)
    for name, array in strided.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("keep", [(), ("total",), ("total", "chosen")])
def test_results_outlive_the_next_call(session: Session, keep: tuple[str, ...]) -> None:
    with session:
        first = session.run(example(1, 4), keep=keep)
        copies = {name: host(array).copy() for name, array in first.items()}
        session.run(example(3, 4), keep=keep)
        session.run(example(2, 7), keep=keep)
        for name, array in first.items():
            np.testing.assert_array_equal(host(array), copies[name])
            np.testing.assert_allclose(copies[name], formula(example(1, 4))[name], rtol=1e-6)


def test_host_results_outlive_the_session_and_may_be_written(session: Session) -> None:
    with session:
        first = session.run(example(1, 4))
        kept = first["total"].copy()
    np.testing.assert_array_equal(first["total"], kept)
    first["total"][:] = 7  # they belong to the caller


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
        (
            {"words": np.array([[0, np.nan, np.inf, 1]], np.float32)},
            "input words: expected finite numbers, found 2 NaN or infinite values of 4",
        ),
    ],
)
def test_wrong_feeds_are_refused_alike(
    session: Session, change: dict[str, Any], message: str
) -> None:
    feeds: dict[str, Any] = {**example(1, 4), **change}
    feeds = {name: value for name, value in feeds.items() if value is not None}
    with session:
        with pytest.raises(BackendError, match=message):
            session.run(feeds)
        session.run(example(1, 4))  # and it goes on working


def test_large_finite_numbers_pass_although_their_sum_overflows(session: Session) -> None:
    feeds = {**example(1, 4), "words": np.full((1, 4), 3e38, np.float32)}
    with session:
        session.run(feeds)


def test_an_unknown_name_to_keep_is_refused(session: Session) -> None:
    with session, pytest.raises(BackendError, match="keep outputs out of total, chosen, found x"):
        session.run(example(1, 4), keep=("x",))


def test_what_was_kept_can_be_fed(session: Session, builder: Builder) -> None:
    feeds = example(1, 4)
    with session:
        kept = session.run(feeds, keep=("chosen",))["chosen"]
        assert isinstance(kept, DeviceArray) or session.device == "cpu"
        assert kept.shape == (1, 4)
        assert kept.dtype == np.float32
        again = session.run({**example(3, 4), "words": kept})
        expected = formula({**example(3, 4), "words": host(kept)})
    if builder.computes:
        np.testing.assert_allclose(again["total"], expected["total"], rtol=1e-6)


def test_our_device_arrays_are_taken_everywhere(session: Session, builder: Builder) -> None:
    if builder.own_memory:
        pytest.skip("the array of this test lies in host memory")
    feeds = example(1, 4)
    array = fake_device_array(feeds["words"])
    with session:
        outputs = session.run({**feeds, "words": array})
        np.testing.assert_allclose(outputs["total"], formula(feeds)["total"], rtol=1e-6)
        array.release()
        with pytest.raises(BackendError, match="input words: .* found one that was released"):
            session.run({**feeds, "words": array})


def test_foreign_device_arrays(session: Session, builder: Builder) -> None:
    if builder.own_memory:
        pytest.skip("the array of this test lies in host memory")
    feeds = example(1, 4)
    given: dict[str, Any] = {**feeds, "words": Foreign(feeds["words"])}
    with session:
        if not builder.foreign:
            with pytest.raises(BackendError, match=r"input words: .* device array \(Foreign\)"):
                session.run(given)
            return
        outputs = session.run(given)
        np.testing.assert_allclose(outputs["total"], formula(feeds)["total"], rtol=1e-6)
        wrong: dict[str, tuple[Any, str]] = {
            "a float32 array, found float64": (feeds["words"].astype(np.float64), ""),
            "expected 2 dimensions": (feeds["words"][0], ""),
            "a C-contiguous device array": (np.repeat(feeds["words"], 2, axis=1)[:, ::2], ""),
            "without a mask": (feeds["words"], "mask"),
            "shape, typestr and data": (feeds["words"], "typestr"),
        }
        for message, (array, spoilt) in wrong.items():
            with pytest.raises(BackendError, match=f"input words: .*{message}"):
                session.run({**feeds, "words": Foreign(array, spoilt)})


def test_several_threads_at_once(session: Session, builder: Builder) -> None:
    """Four threads, each with its own sizes; a tape answers all alike."""
    with session:
        for size in ORDER:
            session.run(example(*size))

        def work(number: int) -> list[tuple[Arrays, Arrays]]:
            size = ORDER[number] if builder.computes else ORDER[0]
            feeds = example(*size)
            return [(feeds, session.run(feeds)) for _ in range(8)]

        with ThreadPoolExecutor(len(ORDER)) as pool:
            for results in pool.map(work, range(len(ORDER))):
                for feeds, outputs in results:
                    for name, expected in formula(feeds).items():
                        np.testing.assert_allclose(outputs[name], expected, rtol=1e-6, atol=1e-4)


def test_closing_while_others_run(session: Session) -> None:
    """Every run in flight ends well; every later one is refused with the same words."""
    started = threading.Barrier(4)

    def work() -> str:
        started.wait()
        for _ in range(20):
            try:
                outputs = session.run(example(1, 4))
            except BackendError as error:
                return str(error)
            assert outputs["total"].shape == (1, 4)
        return "is closed"

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(work) for _ in range(3)]
        started.wait()
        session.close()
        assert all("is closed" in future.result() for future in futures)


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
