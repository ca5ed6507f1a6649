"""IOBinding with the host's memory in place of a GPU's: the code is the same."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.backends.builders import Arrays, example, formula, write_entry

from t2s_rt.backends import BackendOptions, BindingSession, DeviceArray, Session, open_session
from t2s_rt.backends.onnxruntime.host_memory import HostPool, plain_memory
from t2s_rt.bundle import NANO_ROOT, GraphEntry, load_bundle
from t2s_rt.contracts import TensorSpec
from t2s_rt.errors import BackendError, BundleError


@pytest.fixture
def entry(tmp_path: Path) -> GraphEntry:
    return write_entry(tmp_path / "graph.onnx")


def feeds_of(session: Session, **sizes: int) -> Arrays:
    """Random feeds for any graph."""
    random, feeds = np.random.default_rng(1), {}
    for spec in session.inputs:
        shape = [size if isinstance(size, int) else sizes.get(size, 1) for size in spec.shape]
        values = random.random(shape) * {"uint8": 256, "int32": 2, "bool": 2}.get(spec.dtype, 1)
        feeds[spec.name] = values.astype(spec.dtype)
    return feeds


def test_nanos_masks_are_those_of_a_plain_run_without_a_copy_to_the_host() -> None:
    bundle = load_bundle(NANO_ROOT)
    encoder, decoder = bundle.graph("mask_encoder"), bundle.graph("mask_decoder")
    with open_session(encoder, "onnxruntime-cpu") as plain:
        image = feeds_of(plain)
        embedding = plain.run(image)["image_embedding"]
    with open_session(decoder, "onnxruntime-cpu") as plain:
        prompts = {**feeds_of(plain, N=3, P=2), "image_embedding": embedding}
        expected = plain.run(prompts)
    with BindingSession(encoder) as first, BindingSession(decoder) as second:
        kept = first.run(image, keep=("image_embedding",))["image_embedding"]
        assert isinstance(kept, DeviceArray)
        kept._read = None  # from here on a copy to the host would fail
        for _ in range(2):
            found = second.run({**prompts, "image_embedding": kept})
            for name, values in expected.items():
                np.testing.assert_allclose(found[name], values, atol=1e-4)
                assert found[name].flags.c_contiguous


def test_what_was_kept_outlives_its_session(entry: GraphEntry) -> None:
    feeds = example(3, 4)
    with BindingSession(entry) as session:
        kept = session.run(feeds, keep=("total",))["total"]
    del session
    gc.collect()
    assert isinstance(kept, DeviceArray)
    np.testing.assert_allclose(kept.numpy(), formula(feeds)["total"], rtol=1e-6)
    np.testing.assert_allclose(kept.rows(1, 3).numpy(), formula(feeds)["total"][1:], rtol=1e-6)
    kept.release()
    with pytest.raises(BackendError, match="released"):
        kept.numpy()


@pytest.mark.parametrize("keep", [(), ("chosen",), ("total", "chosen")])
def test_sizes_that_the_record_does_not_tell(entry: GraphEntry, keep: tuple[str, ...]) -> None:
    """As a product of two free sizes: the library then chooses the memory."""
    total, chosen = entry.outputs
    open_ended = dataclasses.replace(
        entry, outputs=(dataclasses.replace(total, shape=("B", "Q")), chosen)
    )
    for _ in range(2):
        feeds = example(3, 4)
        with BindingSession(open_ended) as session:
            outputs = session.run(feeds, keep=keep)
            for name, expected in formula(feeds).items():
                array: Any = outputs[name]
                assert isinstance(array, DeviceArray) == (name in keep)
                got = array.numpy() if isinstance(array, DeviceArray) else array
                np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_outputs_of_another_size_than_promised_are_an_error(entry: GraphEntry) -> None:
    total, chosen = entry.outputs
    lying = dataclasses.replace(entry, outputs=(dataclasses.replace(total, shape=(1, 1)), chosen))
    with BindingSession(lying) as session, pytest.raises(BackendError, match="detector"):
        session.run(example(3, 4))


def test_a_file_that_is_not_what_the_manifest_says(entry: GraphEntry) -> None:
    wrong = dataclasses.replace(entry, inputs=(TensorSpec("x", "uint8", (1,), ""),))
    with pytest.raises(BundleError, match="promises the inputs x"):
        BindingSession(wrong)


def test_buffers_are_used_again_and_their_number_is_bounded(entry: GraphEntry) -> None:
    with BindingSession(entry) as session:
        session.run(example(1, 4))
        first = vars(session)["_buffers"]["words"][(1, 4)]
        session.run(example(1, 4))
        assert vars(session)["_buffers"]["words"][(1, 4)] is first
        for length in range(5, 30):
            session.run(example(1, length))
        kept = vars(session)["_buffers"]["words"]
        assert len(kept) == 8
        assert (1, 29) in kept
        assert (1, 4) not in kept


def test_fixed_buffers_and_results_that_are_the_callers(tmp_path: Path) -> None:
    static = write_entry(tmp_path / "static.onnx", B=3, T=4)
    a, b = example(3, 4), {**example(3, 4), "words": np.zeros((1, 4), np.float32)}
    with BindingSession(static, BackendOptions(cuda_graph=True)) as session:
        assert session.describe().endswith(", CUDA graph")
        first, second = session.run(a), session.run(b, keep=("total",))
        kept = second["total"]
        session.run(a)
        np.testing.assert_allclose(first["total"], formula(a)["total"], rtol=1e-6)
        assert isinstance(kept, DeviceArray)
        np.testing.assert_allclose(kept.numpy(), formula(b)["total"], rtol=1e-6)
        again = session.run({**a, "words": session.run(b, keep=("chosen",))["chosen"]})
        np.testing.assert_allclose(again["total"], formula(b)["total"], rtol=1e-6)


def test_no_fixed_buffers_where_an_output_may_change(tmp_path: Path) -> None:
    static = write_entry(tmp_path / "static.onnx", B=3, T=4)
    total, chosen = static.outputs
    entry = dataclasses.replace(
        static, outputs=(dataclasses.replace(total, shape=(3, "Q")), chosen)
    )
    with BindingSession(entry, BackendOptions(cuda_graph=True)) as session:
        assert session.describe().endswith(", no CUDA graph: Q may change")
        feeds = example(3, 4)
        np.testing.assert_allclose(session.run(feeds)["total"], formula(feeds)["total"], 1e-6)


def test_a_failing_run_leaves_the_session_usable() -> None:
    entry = load_bundle(NANO_ROOT).graph("clip_text")
    with BindingSession(entry) as session:
        good = feeds_of(session, N=2, L=6)
        bad = {"input_ids": np.full((2, 6), 10**6, np.int32)}
        with pytest.raises(BackendError, match="clip_text: ONNX Runtime failed"):
            session.run(bad)
        assert session.run(good)["embeddings"].shape[0] == 2


def test_the_pool_lends_blocks_and_takes_them_back() -> None:
    pool = HostPool(plain_memory)
    first = pool.array((1000, 100), np.float32)
    first[:] = 3
    address, part = first.ctypes.data, first[10:20]
    second = pool.array((1000, 100), np.float32)
    assert second.ctypes.data != address
    del first
    gc.collect()
    third = pool.array((1000, 100), np.float32)
    assert third.ctypes.data != address  # a view still reads it
    assert (part == 3).all()
    del part
    gc.collect()
    assert pool.array((1000, 100), np.float32).ctypes.data == address
    assert third.flags.writeable


def test_the_pool_has_a_limit_and_small_arrays_cost_nothing() -> None:
    freed: list[int] = []

    def memory(size: int) -> Any:
        pointer, free = plain_memory(size)

        def freeing() -> None:
            freed.append(size)
            free()

        return pointer, freeing

    pool = HostPool(memory, limit=1 << 20)
    assert pool.array((4,), np.float32).size == 4
    assert pool.total == 0
    large = pool.array((3 << 18,), np.uint8)
    beyond = pool.array((3 << 18,), np.uint8)  # of NumPy's own
    assert beyond.base is None
    assert pool.total == 3 << 18
    del large
    gc.collect()
    other = pool.array((1 << 20,), np.uint8)  # too large for the idle block, which goes
    assert freed == [3 << 18]
    assert pool.total == 1 << 20
    pool.close()
    other[:] = 1  # lent blocks outlive the pool
    del other
    gc.collect()
    assert freed == [3 << 18, 1 << 20]
    assert pool.total == 0
