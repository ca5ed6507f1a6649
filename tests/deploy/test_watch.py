"""t2s-rt-watch and its systemd units: what becomes of scenes, whatever infer's exit code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
WATCH = DEPLOY / "t2s-rt-watch"

pytestmark = pytest.mark.skipif(
    shutil.which("flock") is None, reason="flock of util-linux is not at hand"
)

# Takes exit codes from a file, one a run; writes a report for every scene but "bad".
STUB = """#!/bin/sh
set -eu
shift; folder=$1; out=$3
echo "$@" >> {log}
code=$(head -n 1 {codes}); sed -i 1d {codes}
if [ "$code" = 0 ] || [ "$code" = 6 ]; then
    mkdir -p "$out"
    for scene in "$folder"/*; do
        name=${{scene##*/}}
        case $name in bad*) ;; *) echo '{{}}' > "$out/${{name%.*}}.json" ;; esac
    done
fi
echo "error: the last line"
exit "$code"
"""


class Station:
    """A folder that is watched, and a stand-in for t2s-rt with exit codes of the test's choice."""

    def __init__(self, root: Path) -> None:
        self.root = root / "station"
        self.root.mkdir()
        self.log, self._codes = root / "calls", root / "codes"
        self.log.touch()
        self.program = root / "t2s-rt"
        self.program.write_text(STUB.format(log=self.log, codes=self._codes))
        self.program.chmod(0o755)
        (self.root / "inbox").mkdir()

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "T2S_WATCH": str(self.root),
            "T2S_RT": str(self.program),
            "T2S_SETTLE": "0",
            **more,
        }

    def arrive(self, *names: str) -> None:
        for name in names:
            (self.root / "inbox" / name).write_text(name)

    def start(self, *codes: int, **more: str) -> subprocess.CompletedProcess[str]:
        self._codes.write_text("".join(f"{code}\n" for code in codes))
        return subprocess.run(
            ["sh", WATCH], env=self.environment(**more), capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    def names(self, folder: str) -> list[str]:
        return sorted(p.name for p in (self.root / folder).rglob("*") if p.is_file())

    def calls(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines()]


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path)


def test_an_empty_inbox_is_nothing_to_do(station: Station) -> None:
    done = station.start()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert station.calls() == []


def test_scenes_are_mapped_as_one_batch_and_moved(station: Station) -> None:
    station.arrive("a b.tif", "c.png", "c.pgw", ".hidden")
    done = station.start(0, T2S_INFER_OPTIONS="--pack m.safetensors --backend auto")
    assert done.returncode == 0, done.stderr
    (call,) = station.calls()
    batch = Path(call[0]).name
    assert call[1:] == ["-o", f"maps/{batch}", "--overwrite", "--pack", "m.safetensors",
                        "--backend", "auto"]  # fmt: skip
    assert station.names("done") == ["a b.tif", "c.pgw", "c.png"]
    assert station.names("inbox") == [".hidden"]
    assert station.names("work") == station.names("failed") == []
    assert (station.root / "maps" / f"{batch}.log").read_text() == "error: the last line\n"


def test_a_bad_scene_fails_alone(station: Station) -> None:
    station.arrive("bad.tif", "good.tif")
    done = station.start(6)
    assert done.returncode == 6
    assert station.names("failed") == ["bad.tif"]
    assert station.names("done") == ["good.tif"]
    assert "exit code 6: error: the last line" in done.stderr
    assert "failed: bad.tif" in done.stderr


def test_scenes_of_one_stem_are_told_apart(station: Station) -> None:
    station.program.write_text('#!/bin/sh\nmkdir -p "$4"\ntouch "$4/a_tif.json" "$4/a_png.json"\n')
    station.arrive("a.tif", "a.png")
    assert station.start().returncode == 0
    assert station.names("done") == ["a.png", "a.tif"]


@pytest.mark.parametrize("code", [2, 3, 5])
def test_what_is_no_fault_of_the_scenes_keeps_them_waiting(station: Station, code: int) -> None:
    station.arrive("a.tif")
    assert station.start(code).returncode == code
    assert station.names("work") == ["a.tif"]
    station.arrive("b.tif")
    # the batch that waits is the same command again; what arrived since is another batch
    assert station.start(0, 0).returncode == 0
    first, again, later = [call[0] for call in station.calls()]
    assert first == again != later
    assert station.names("done") == ["a.tif", "b.tif"]


def test_a_batch_that_kills_is_given_up_in_the_end(station: Station) -> None:
    station.arrive("a.tif")
    assert [station.start(137).returncode for _ in range(2)] == [137, 137]
    assert station.start(137).returncode == 6
    assert station.names("failed") == ["a.tif"]
    assert station.names("work") == []
    station.arrive("b.tif")
    assert station.start(0).returncode == 0


def test_a_batch_that_was_emptied_is_no_error(station: Station) -> None:
    (station.root / "work" / "20260101T000000Z").mkdir(parents=True)
    done = station.start()
    assert (done.returncode, done.stderr) == (0, "")
    assert not any((station.root / "work").iterdir())


def test_a_file_that_still_arrives_is_waited_for(station: Station) -> None:
    station._codes.write_text("0\n0\n")
    writer = subprocess.Popen(
        ["sh", "-c", "for i in 1 2 3; do echo $i >> inbox/slow.tif; sleep 0.5; done"],
        cwd=station.root,
    )
    time.sleep(0.2)
    done = subprocess.run(
        ["sh", WATCH], env=station.environment(T2S_SETTLE="1"), timeout=60, check=False
    )
    assert writer.wait() == 0
    assert done.returncode == 0
    (copied,) = (station.root / "done").rglob("slow.tif")
    assert copied.read_text() == "1\n2\n3\n"
    assert len(station.calls()) == 1


def test_only_one_is_at_work(station: Station) -> None:
    station.arrive("a.tif")
    with subprocess.Popen(["flock", "-F", station.root / ".lock", "sleep", "30"]) as holder:
        time.sleep(0.5)
        done = station.start(0)
        holder.terminate()
    assert done.returncode == 0 and "another t2s-rt-watch" in done.stdout
    assert station.calls() == []


def test_a_stop_leaves_the_batch_for_the_next_start(station: Station) -> None:
    station.program.write_text("#!/bin/sh\nsleep 30\n")
    station.arrive("a.tif")
    watch = subprocess.Popen(["sh", WATCH], env=station.environment(), start_new_session=True)
    for _ in range(200):
        if station.root.joinpath("work").is_dir() and station.names("work"):
            break
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(watch.pid, signal.SIGINT)  # as systemd does: the whole control group
    assert watch.wait(timeout=30) == 130
    assert station.names("work") == ["a.tif"]


def test_the_real_program_maps_what_arrives_and_resumes(
    station: Station, example_scene: Path
) -> None:
    station.program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m t2s_rt "$@"\n')
    options = "--route dense"
    shutil.copy(example_scene, station.root / "inbox" / "first.tif")
    (station.root / "inbox" / "broken.tif").write_text("no image")
    done = station.start(T2S_INFER_OPTIONS=options)
    assert done.returncode == 6, done.stderr
    assert station.names("done") == ["first.tif"] and station.names("failed") == ["broken.tif"]
    # a batch that was finished when the power went, right before its scenes were moved
    (folder,) = (station.root / "done").iterdir()
    folder.rename(station.root / "work" / folder.name)
    done = station.start(T2S_INFER_OPTIONS=options)
    assert done.returncode == 0, done.stderr
    assert station.names("work") == []
    assert "first.labels.tif" in station.names("maps")


def test_the_real_program_goes_on_after_a_stop(station: Station, example_scene: Path) -> None:
    station.program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m t2s_rt "$@"\n')
    for name in ("a.tif", "b.tif"):
        shutil.copy(example_scene, station.root / "inbox" / name)
    environment = station.environment(T2S_INFER_OPTIONS="--route dense")
    watch = subprocess.Popen(["sh", WATCH], env=environment, start_new_session=True)
    for _ in range(3000):
        # the second scene has begun, so the first one is finished and noted as such
        if any((station.root / "maps").glob("*/.b.t2s-work")) or watch.poll() is not None:
            break
        time.sleep(0.02)
    os.killpg(watch.pid, signal.SIGINT)
    assert watch.wait(timeout=60) == 130
    assert station.names("work") == ["a.tif", "b.tif"]
    done = station.start(T2S_INFER_OPTIONS="--route dense")
    assert done.returncode == 0, done.stderr
    assert station.names("done") == ["a.tif", "b.tif"]
    (log,) = (station.root / "maps").glob("*.log")
    assert "a.tif: finished before the interruption" in log.read_text()
    assert {"a.labels.tif", "b.labels.tif"} <= set(station.names("maps"))


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not at hand"
)
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    units = [p for p in DEPLOY.iterdir() if p.suffix in (".service", ".path", ".timer")]
    assert len(units) == 3
    for unit in units:
        # the program need not be installed on the machine that checks
        text = unit.read_text().replace("ExecStart=/opt/t2s-rt/bin/", f"ExecStart={DEPLOY}/")
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / unit.name for unit in units)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_service_takes_infers_exit_codes(tmp_path: Path) -> None:
    text = (DEPLOY / "t2s-rt-watch.service").read_text()
    assert "SuccessExitStatus=6 130 143" in text and "KillSignal=SIGINT" in text
    config = (DEPLOY / "watch.conf").read_text()
    settings = [line.partition("=")[0] for line in config.splitlines() if line[:1] not in ("#", "")]
    script = WATCH.read_text()
    assert settings and all(f"${{{name}:-" in script for name in settings)
