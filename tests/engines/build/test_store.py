"""The write side of the cache: whole engines or none, one build per key, leftovers removed."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engines.build.conftest import ORIN, temporary

from t2s_engines.build.locks import locked, locked_if_free
from t2s_engines.build.plan import PlannedEngine
from t2s_engines.build.store import EngineStore, NewEngine
from t2s_rt.errors import BackendError, OutputError
from t2s_rt.plans import EngineCache, EngineKey

Planned = Callable[..., PlannedEngine]


@pytest.fixture
def key(planned: Planned) -> EngineKey:
    return planned().key("10.13.3.9", ORIN)


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(EngineCache(tmp_path / "engines"))


def make(content: bytes = b"plan") -> NewEngine:
    return NewEngine(memoryview(content), 1.0, ("a warning",))


def test_an_engine_appears_whole_and_is_found_by_the_runtime(
    store: EngineStore, key: EngineKey, planned: Planned
) -> None:
    store.prepare()
    stored = store.obtain(key, make)
    assert stored.built
    found = store.cache.find(planned().entry, "10.13.3.9", ORIN)
    assert found.folder == stored.engine.folder == store.cache.folder(key)
    found.check_plan()
    assert found.sidecar.notes == ("a warning",)
    assert found.sidecar.digest == key.digest
    assert temporary(store.cache.root) == []


def test_what_is_there_is_not_built(store: EngineStore, key: EngineKey) -> None:
    store.prepare()
    store.obtain(key, make)

    def never() -> NewEngine:
        raise AssertionError("built again")

    assert not store.obtain(key, never).built
    stored = store.obtain(key, lambda: make(b"another"), force=True)
    assert stored.built and stored.engine.plan.read_bytes() == b"another"
    assert temporary(store.cache.root) == []


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("engine.plan", b"plam", "expected SHA-256"),
        ("engine.plan", b"", "expected SHA-256"),
        ("engine.plan", None, "cannot be read"),
        ("engine.json", b"{", "expected a JSON object"),
        ("engine.json", None, "cannot be read"),
    ],
)
def test_a_damaged_engine_is_told_and_replaced(
    store: EngineStore, key: EngineKey, name: str, content: bytes | None, text: str
) -> None:
    store.prepare()
    file = store.obtain(key, make).engine.folder / name
    (file.parent / "verified.json").write_text("{}")
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert text in store.present(key)[1]
    stored = store.obtain(key, make)
    assert stored.built and text in stored.note
    assert store.present(key)[0] is not None
    assert stored.engine.sign_off() is None  # a verdict does not outlive its plan


def test_a_failed_build_leaves_nothing(store: EngineStore, key: EngineKey) -> None:
    store.prepare()
    for error in (BackendError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")):

        def fail(error: BaseException = error) -> NewEngine:
            raise error

        expected = OutputError if isinstance(error, OSError) else type(error)
        with pytest.raises(expected):
            store.obtain(key, fail)
        assert list(store.cache.root.iterdir()) == []


def test_a_full_disk_is_an_output_error_and_leaves_nothing(
    store: EngineStore, key: EngineKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.prepare()
    whole = os.fsync

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; make room or choose") as told:
        store.obtain(key, make)
    assert told.value.exit_code == 2
    assert list(store.cache.root.iterdir()) == []
    monkeypatch.setattr(os, "fsync", whole)
    assert store.obtain(key, make).built


def test_a_full_disk_for_real(key: EngineKey) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    store = EngineStore(EngineCache(Path("/dev/full")))
    with pytest.raises(OutputError, match="folder for engines that can be written"):
        store.prepare()


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("")
    with pytest.raises(OutputError, match="choose another with --cache"):
        EngineStore(EngineCache(tmp_path / "engines")).prepare()


def test_leftovers_are_removed_and_strangers_are_not(store: EngineStore, key: EngineKey) -> None:
    root = store.cache.root
    name = store.cache.folder(key).name
    other = name[:-16] + "0" * 16
    root.mkdir(parents=True)
    for leftover in (f".building-{name}.{'a' * 32}", f".building-{other}.{'b' * 32}"):
        (root / leftover).mkdir()
        (root / leftover / "engine.plan").write_bytes(b"half")
    (root / f".building-{name}.lock").touch()
    strangers = {".building-notes", "readme", f".building-{name}.txt"}
    for stranger in strangers:
        (root / stranger).mkdir()
    store.prepare()
    assert {path.name for path in root.iterdir()} == strangers


def test_the_folder_of_a_build_that_lives_is_left_alone(store: EngineStore, key: EngineKey) -> None:
    store.prepare()
    seen: list[int] = []

    def slow() -> NewEngine:
        before = temporary(store.cache.root)
        store.prepare()  # another call comes by
        seen.append(len(before))
        assert temporary(store.cache.root) == before
        return make()

    assert store.obtain(key, slow).built
    assert seen == [2]  # its lock and its folder


def test_of_two_that_want_one_key_the_second_takes_the_first_ones_result(
    store: EngineStore, key: EngineKey
) -> None:
    store.prepare()
    started, go = threading.Event(), threading.Event()
    waited: list[str] = []
    results = []

    def slow() -> NewEngine:
        started.set()
        assert go.wait(60)
        return make()

    def first() -> None:
        results.append(store.obtain(key, slow))

    def second() -> None:
        def waiting() -> None:
            waited.append("waiting")
            go.set()

        # even with force: it was built anew while this one waited
        results.append(store.obtain(key, lambda: make(b"no"), force=True, waiting=waiting))

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert started.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join(60)
    assert waited == ["waiting"]
    assert [result.built for result in results] == [True, False]
    assert results[1].note == "built by another process just now"
    assert results[1].engine.plan.read_bytes() == b"plan"
    assert temporary(store.cache.root) == []


def test_many_holders_one_at_a_time(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "lock", [0], [0]

    def work() -> None:
        for _ in range(20):
            with locked(path):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert most == [1] and not path.exists()


def test_a_lock_is_free_or_not(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked_if_free(path) as free:
        assert free and path.exists()
        with locked_if_free(path) as again:
            assert not again
    assert not path.exists()


def test_a_file_system_without_locks_still_builds_and_removes_nobodys_work(
    store: EngineStore, key: EngineKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    store.prepare()
    other = store.cache.root / f".building-{store.cache.folder(key).name}.{'a' * 32}"
    other.mkdir()
    monkeypatch.setattr(fcntl, "flock", unsupported)
    store.prepare()
    assert store.obtain(key, make).built
    assert other.exists()  # perhaps somebody is still at work there
