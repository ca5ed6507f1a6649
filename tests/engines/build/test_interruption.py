"""Builds that are killed, interrupted, or run twice at once; in processes of their own."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.engines.build.conftest import Child, temporary

from t2s_rt.plans import EngineCache

pytest.importorskip("onnx", reason="the doubles read graphs with onnx")

ROLES = "mask_decoder,clip_image"
KILLS = 20


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def complete(root: Path, count: int) -> None:
    """Every engine is whole, and nothing else is there."""
    engines = EngineCache(root).engines()
    assert len(engines) == count
    for engine in engines:
        engine.check_plan()
    assert temporary(root) == []
    names = {path.name for path in root.iterdir()}
    assert names == {engine.folder.name for engine in engines} | {"timing"}
    assert len(list((root / "timing").iterdir())) == 1


def started(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if " start " in line]


def wait_for(process: subprocess.Popen[str], log: Path) -> None:
    """Until TensorRT builds."""
    while not (log.exists() and started(log)):
        assert process.poll() is None, finish(process)
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_at_random_moments(child: Child, tmp_path: Path) -> None:
    """SIGKILL at 20 moments: each time what is there is whole, and the next call repairs the rest.

    Moments are counted from the start of the first build: before, there is nothing to leave.
    """
    moments = random.Random(20261125)
    unfinished = 0
    for number in range(KILLS):
        root, log = tmp_path / f"engines{number}", tmp_path / f"log{number}"
        process = child("--cache", root, "--roles", ROLES, seconds=0.015, log=log)
        wait_for(process, log)
        time.sleep(moments.uniform(0.0, 0.5))
        process.kill()
        finish(process)
        for engine in EngineCache(root).engines():
            engine.check_plan()  # what the runtime can find is whole at any moment
        unfinished += bool(temporary(root)) or len(EngineCache(root).engines()) < 2
        code, out, err = finish(child("--cache", root, "--roles", ROLES, "--json"))
        assert code == 0, err
        assert len(json.loads(out)["engines"]) == 2
        complete(root, 2)
    assert unfinished > KILLS // 2, "the kills came too late to mean anything"


@pytest.mark.parametrize("step", [1, 6, 11, 12, 20])
def test_killed_at_each_kind_of_step(child: Child, tmp_path: Path, step: int) -> None:
    root = tmp_path / "engines"
    process = child("--cache", root, "--roles", ROLES, kill_at_step=step)
    code, _, _ = finish(process)
    assert code == -signal.SIGKILL
    assert temporary(root)  # it left its folder and its lock
    code, _, err = finish(child("--cache", root, "--roles", ROLES))
    assert code == 0, err
    complete(root, 2)


_KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from t2s_engines.build.plan import make_plan
from t2s_engines.build.release import Release
from t2s_engines.build.store import EngineStore, NewEngine
from t2s_rt.bundle import load_bundle
from t2s_rt.plans import BuildOptions, DeviceIdentity, EngineCache
root, last = Path(sys.argv[1]), int(sys.argv[2])
plan = make_plan(load_bundle(verify=False), Release.parse("10.3"), BuildOptions(), "auto",
                 ["clip_image"])
key = plan.engines[0].key("10.3.0.30", DeviceIdentity("Orin", (8, 7), 16, 32 << 30, True))
store = EngineStore(EngineCache(root))
store.prepare()
if last == 0:
    store.obtain(key, lambda: NewEngine(memoryview(b"old"), 1.0))
    sys.exit()
calls = 0
def deadly(module, name):
    whole = getattr(module, name)
    def call(*args, **options):
        global calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*args, **options)
    setattr(module, name, call)
for name in ("open", "close", "rename", "replace", "fsync", "mkdir", "unlink", "rmdir"):
    deadly(os, name)
deadly(shutil, "rmtree")
made = lambda: NewEngine(memoryview(b"new"), 1.0)
print(store.obtain(key, made, force=True).engine.plan.read_bytes().decode())
"""


def test_killed_before_each_change_of_the_disk(tmp_path: Path) -> None:
    """Replacing an engine, killed before the first call that changes the disk, the second, ..."""

    def go(root: Path, last: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _KILLED, root, str(last)],
            capture_output=True,
            text=True,
            check=False,
        )

    for last in range(1, 100):
        root = tmp_path / str(last)
        assert go(root, 0).returncode == 0
        done = go(root, last)
        for engine in EngineCache(root).engines():
            engine.check_plan()
        if done.returncode == 0:
            assert done.stdout == "new\n"
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        again = go(root, 1000)
        assert (again.returncode, again.stdout) == (0, "new\n"), again.stderr
        assert temporary(root) == []
        assert [path.name for path in root.iterdir()] == [
            engine.folder.name for engine in EngineCache(root).engines()
        ]
    assert 8 < last < 99


def test_interrupted(child: Child, tmp_path: Path) -> None:
    root, log = tmp_path / "engines", tmp_path / "log"
    process = child("--cache", root, "--roles", "clip_image", seconds=0.2, log=log)
    wait_for(process, log)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert err.split("\n") == ["clip_image fp16: building", "", "error: interrupted", ""]
    assert list(root.iterdir()) == []
    assert log.read_text().splitlines()[-1].split()[1] == "failed"  # TensorRT was told to stop


def test_interrupted_where_tensorrt_cannot_be_stopped(child: Child, tmp_path: Path) -> None:
    root, log = tmp_path / "engines", tmp_path / "log"
    arguments = ("--cache", root, "--roles", "clip_image", "--precision", "fp32")
    process = child(*arguments, release="8.6", seconds=20.0, log=log)
    wait_for(process, log)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert err.splitlines()[-1] == "error: interrupted"
    assert list(root.iterdir()) == []


def test_two_processes_build_one_key_once(child: Child, tmp_path: Path) -> None:
    root, log = tmp_path / "engines", tmp_path / "log"
    arguments = ("--cache", root, "--roles", "clip_image", "--json")
    first = child(*arguments, seconds=0.5, log=log)
    wait_for(first, log)
    second = child(*arguments, log=log)
    answers = [finish(process) for process in (first, second)]
    assert [code for code, _, _ in answers] == [0, 0]
    assert len(started(log)) == 1
    engines = [json.loads(out)["engines"][0] for _, out, _ in answers]
    assert [engine["built"] for engine in engines] == [True, False]
    assert engines[0]["folder"] == engines[1]["folder"]
    assert engines[1]["note"] == "built by another process just now"
    assert "another process builds it" in answers[1][2]
    complete(root, 1)


def test_the_second_takes_over_when_the_first_is_killed(child: Child, tmp_path: Path) -> None:
    root, log = tmp_path / "engines", tmp_path / "log"
    arguments = ("--cache", root, "--roles", "clip_image", "--json")
    first = child(*arguments, seconds=20.0, log=log)
    wait_for(first, log)
    second = child(*arguments, log=log)
    assert second.stderr is not None
    assert "another process builds it" in second.stderr.readline()
    first.kill()
    finish(first)
    code, out, err = finish(second)
    assert code == 0, err
    assert json.loads(out)["engines"][0]["built"] is True
    complete(root, 1)


def test_different_keys_build_at_once_and_share_their_timings(child: Child, tmp_path: Path) -> None:
    root, log = tmp_path / "engines", tmp_path / "log"
    processes = [
        child("--cache", root, "--roles", role, seconds=0.05, log=log)
        for role in ("clip_image", "mask_decoder")
    ]
    for process in processes:
        code, _, err = finish(process)
        assert code == 0, err
        assert "another process" not in err
    complete(root, 2)


def test_an_unwritable_cache_is_said_before_anything_is_built(child: Child, tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "engines").write_text("")
    code, out, err = finish(child("--cache", tmp_path / "engines", log=log))
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and "choose another with --cache" in err
    assert len(err.splitlines()) == 1 and not log.exists()
