"""The command: what it says, what it leaves behind, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from t2s_rt.backends import FakeSession, Session, open_session
from t2s_rt.cli.main import cli

Run = Callable[..., Result]
QUICK = ("--backend", "onnxruntime-cpu", "--roles", "clip_image", "--limit", "1")


@pytest.fixture
def run() -> Run:
    def call(*arguments: object) -> Result:
        return CliRunner().invoke(cli, ["verify", *map(str, arguments)])

    return call


def test_a_backend_that_is_right(run: Run, tmp_path: Path) -> None:
    result = run(*QUICK, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split("\t") == ["verify", "graph", "precision", "verdict", "figures"]
    assert lines[1].split("\t")[:4] == ["verify", "clip_image", "fp32", "passed"]
    assert "tiles: 1 (synthetic, drawn by t2s-rt: no image of the world), 2 empty" in lines
    assert json.loads((tmp_path / "out" / "report.json").read_text())["verdict"] == "passed"
    assert (tmp_path / "out" / "report.md").read_text().startswith("# nano on onnxruntime-cpu")


def test_scenes_of_the_user(run: Run, example_scene: Path) -> None:
    result = run(*QUICK, "--scenes", example_scene, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert not report["synthetic"]
    assert report["tiles"][0]["name"].startswith("lakeside.tif, row ")
    assert report["environment"]["backend"] == "onnxruntime-cpu"


def test_a_backend_that_is_wrong(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(entry: object, *arguments: object, **options: object) -> Session:
        session = open_session(entry, *arguments, **options)  # type: ignore[arg-type]
        return FakeSession(session.entry, lambda f: {n: -a for n, a in session.run(f).items()})

    monkeypatch.setattr("t2s_engines.verify.targets.open_session", wrong)
    result = run(*QUICK, "-o", tmp_path)
    assert result.exit_code == 5
    assert "failed: clip_image fp32: cosine embeddings: expected at least 0.99999, found -1" in (
        result.stdout
    )
    assert result.stderr.splitlines()[-1].startswith("error: 1 of 1 verdicts failed on onnxruntime")
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == "failed"


def test_without_engines_it_says_what_to_do(run: Run, tmp_path: Path) -> None:
    result = run("--cache", tmp_path)
    assert result.exit_code == 5
    assert "run t2s-rt build on this device, or name a backend" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--roles", "clip_text"), 2, "expected --roles out of detector"),
        (("--roles", ","), 2, "found none"),
        (("--backend", "abacus"), 2, "found 'abacus'"),
        (("--scenes", "no-such-scene.tif", *QUICK), 4, "no-such-scene.tif"),
        (("--bundle", "no-such-bundle"), 3, "no-such-bundle"),
        (("--pack", "no-such.pack", *QUICK), 3, "no-such.pack"),
        (("--precision", "int8", *QUICK), 3, "expected clip_image in int8"),
        (("--limit", "0"), 2, "--limit"),
    ],
)
def test_words_it_cannot_use(run: Run, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_it_works_where_only_the_runtime_is_installed() -> None:
    """On the device there is no torch, no onnx and no scipy."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'scipy', 'matplotlib')));"
        f"sys.argv = ['t2s-rt', 'verify', *{QUICK!r}];"
        "from t2s_rt.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\tpassed\t" in done.stdout
