"""From build over verify to infer, on the double of TensorRT: nothing flies without a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.runtime.backends.tensorrt.installation import installed

from t2s_rt.cli.main import cli
from t2s_rt.plans import EngineCache

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setenv("T2S_CACHE", str(tmp_path / "cache"))
    with installed("11.4"):
        yield lambda *arguments: CliRunner().invoke(cli, [str(part) for part in arguments])


def test_build_verify_infer(run: Run, example_scene: Path, tmp_path: Path) -> None:
    infer = ("infer", example_scene, "--route", "dense", "--backend", "tensorrt", "--overwrite")
    out = ("-o", tmp_path / "map")
    assert run("build", "--roles", "clip_patches").exit_code == 0
    (engine,) = EngineCache().engines()
    refused = run(*infer, *out)
    assert refused.exit_code == 5, refused.output
    assert "expected a passed verdict of t2s-rt verify" in refused.stderr
    risky = run(*infer, *out, "--allow-unverified")
    assert risky.exit_code == 0, risky.output
    warnings = json.loads((tmp_path / "map" / "lakeside.json").read_text())["warnings"]
    assert any("was not verified" in text for text in warnings)

    verified = run("verify", "--roles", "clip_patches", "--limit", "1")
    assert verified.exit_code == 0, verified.output
    assert "verdicts: 1 written beside the engines" in verified.stdout
    verdict = engine.sign_off()
    assert verdict is not None and verdict.verdict == "passed"
    assert "TensorRT" in verdict.environment["session"]
    flown = run(*infer, *out)
    assert flown.exit_code == 0, flown.output

    # an engine that was built anew is another engine
    assert run("build", "--roles", "clip_patches", "--force").exit_code == 0
    (again,) = EngineCache().engines()
    if again.sidecar.plan_sha256 != engine.sidecar.plan_sha256:
        assert again.sign_off() is None
