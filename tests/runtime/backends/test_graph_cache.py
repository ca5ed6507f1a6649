"""The cache of optimised graphs: used where it is sound, ignored in every other case."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.backends.test_binding import feeds_of

from t2s_rt.backends import BackendOptions, open_session
from t2s_rt.bundle import NANO_ROOT, GraphEntry, load_bundle

CACHED = BackendOptions(threads=1, graph_cache=True)
FROM_CACHE, TO_CACHE = "optimised graph from the cache", "optimised graph put into the cache"


@pytest.fixture
def entry() -> GraphEntry:
    return load_bundle(NANO_ROOT).graph("mask_decoder_local")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("T2S_CACHE", str(tmp_path))
    return tmp_path / "graphs"


def run(entry: GraphEntry, options: BackendOptions = CACHED) -> tuple[str, NDArray[Any]]:
    with open_session(entry, "onnxruntime-cpu", options=options) as session:
        outputs = session.run(feeds_of(session, N=2, P=2))
        return session.describe(), outputs["mask_logits"]


def test_off_by_default(entry: GraphEntry, cache: Path) -> None:
    line, _ = run(entry, BackendOptions())
    assert "cache" not in line
    assert not cache.exists()


def test_the_second_session_takes_it_and_gives_the_same_numbers(
    entry: GraphEntry, cache: Path
) -> None:
    first, expected = run(entry)
    assert first.endswith(TO_CACHE)
    (folder,) = cache.iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["cache.json", "graph.onnx", "weights"]
    second, found = run(entry)
    assert second.endswith(FROM_CACHE)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["graph.onnx", "weights", "cache.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "empty"])
def test_damage_never_breaks_a_run_and_is_repaired(
    entry: GraphEntry, cache: Path, name: str, damage: str
) -> None:
    _, expected = run(entry)
    (folder,) = cache.iterdir()
    path = folder / name
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        data[len(data) // 2] ^= 0x40
        path.write_bytes(bytes({"cut": data[: len(data) // 2], "flip": data, "empty": b""}[damage]))
    line, found = run(entry)
    assert line.endswith(TO_CACHE)
    np.testing.assert_array_equal(found, expected)
    line, _ = run(entry)
    assert line.endswith(FROM_CACHE)


@pytest.mark.parametrize(
    "record", [[], {}, {"key": 1}, {"key": None, "files": {}}, {"files": {"../../x": "0"}}]
)
def test_a_foreign_record_is_not_believed(entry: GraphEntry, cache: Path, record: object) -> None:
    run(entry)
    (folder,) = cache.iterdir()
    good = json.loads((folder / "cache.json").read_text())
    if isinstance(record, dict) and "key" not in record and record:
        record = {**record, "key": good["key"]}
    (folder / "cache.json").write_text(json.dumps(record))
    assert run(entry)[0].endswith(TO_CACHE)


def test_another_graph_of_the_same_role_is_another_entry(entry: GraphEntry, cache: Path) -> None:
    run(entry)
    run(dataclasses.replace(entry, sha256="f" * 64))
    assert len(list(cache.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_said_and_harmless(
    entry: GraphEntry, cache: Path
) -> None:
    cache.write_text("a file where the folder should be")
    line, _ = run(entry)
    assert f"no graph cache: {cache} cannot be written" in line


def test_without_any_cache_folder(entry: GraphEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("T2S_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", _no_home)
    assert "no graph cache: found no cache folder" in run(entry)[0]


def _no_home() -> Path:
    raise RuntimeError("no home")


def test_several_at_once_leave_one_whole_entry(entry: GraphEntry, cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: run(entry), range(6)))
    for line, found in results:
        assert line.endswith((TO_CACHE, FROM_CACHE))
        np.testing.assert_array_equal(found, results[0][1])
    assert [path.name.startswith(".") for path in cache.iterdir()] == [False]
    assert run(entry)[0].endswith(FROM_CACHE)
