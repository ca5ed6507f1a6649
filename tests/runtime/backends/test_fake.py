"""The fake backend, and what the seam does that only a fake can show."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.runtime.backends.builders import Arrays

from t2s_rt.backends import DeviceArray, FakeSession, fake_entry
from t2s_rt.errors import BackendError

ENTRY = fake_entry("clip_text", D=3)
IDS = {"input_ids": np.zeros((2, 5), np.int32)}


def zeros(feeds: Arrays) -> Arrays:
    return {"embeddings": np.zeros((len(feeds["input_ids"]), 3), np.float32)}


def test_it_remembers_copies_of_its_feeds() -> None:
    session = FakeSession(ENTRY, zeros)
    ids = np.zeros((2, 5), np.int32)
    session.run({"input_ids": ids})
    ids[:] = 7
    assert session.calls[0]["input_ids"].max() == 0


def test_a_tape_that_ran_out_says_so() -> None:
    session = FakeSession.recorded(ENTRY, [])
    with pytest.raises(BackendError, match="no recorded output is left"):
        session.run(IDS)


def test_it_remembers_what_was_kept_and_gives_it_on_its_device() -> None:
    on_host, on_device = FakeSession(ENTRY, zeros), FakeSession(ENTRY, zeros, device="cuda")
    assert isinstance(on_host.run(IDS, keep=("embeddings",))["embeddings"], np.ndarray)
    kept = on_device.run(IDS, keep=("embeddings",))["embeddings"]
    assert isinstance(kept, DeviceArray)
    assert (kept.device, kept.shape) == ("cuda", (2, 3))
    assert isinstance(on_device.run(IDS)["embeddings"], np.ndarray)
    assert on_device.kept == [{"embeddings"}, frozenset()]


def test_closing_waits_for_a_run_and_refuses_new_ones() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(feeds: Arrays) -> Arrays:
        inside.set()
        assert go_on.wait(30)
        assert not released.is_set()
        return zeros(feeds)

    released = threading.Event()

    class Watched(FakeSession):
        def _close(self) -> None:
            released.set()

    session = Watched(ENTRY, slow)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(session.run, IDS)
        assert inside.wait(30)
        closing = pool.submit(session.close)
        while not session.closed:
            threading.Event().wait(0.001)
        with pytest.raises(BackendError, match="is closed"):
            session.run(IDS)
        assert not closing.done()
        go_on.set()
        assert running.result()["embeddings"].shape == (2, 3)
        closing.result()
    assert released.is_set()


def test_a_session_cannot_be_closed_from_its_own_run() -> None:
    def close(feeds: Arrays) -> Arrays:
        session.close()
        return zeros(feeds)

    session = FakeSession(ENTRY, close)
    with pytest.raises(BackendError, match="closed from its own run"):
        session.run(IDS)
    assert not session.closed
