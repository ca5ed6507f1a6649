"""A bundle, a device, and the command in this process or in a child that may be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.doubles import RELEASES, Control, child_environment

from t2s_engines.build.plan import PlannedEngine, make_plan
from t2s_engines.build.release import Release
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.cli.main import cli
from t2s_rt.plans import BuildOptions, DeviceIdentity

ROOT = Path(__file__).parents[3]
ORIN = DeviceIdentity("Orin", (8, 7), 16, 32 << 30, True)
SMALL = "clip_image"
"""The role whose graph builds fastest."""

Run = Callable[..., Result]
Child = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def nano() -> Bundle:
    return load_bundle(verify=False)


@pytest.fixture
def planned(nano: Bundle) -> Callable[..., PlannedEngine]:
    """One planned engine of nano."""

    def plan(
        role: str = SMALL, release: str = "10.13", precision: str = "auto", **options: object
    ) -> PlannedEngine:
        chosen = BuildOptions(**options)  # type: ignore[arg-type]
        made = make_plan(nano, Release.parse(release), chosen, precision, [role])
        return made.engines[0]

    return plan


@pytest.fixture
def run() -> Run:
    """Run ``t2s-rt build`` in this process."""

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(cli, ["build", *map(str, arguments)])

    return call


_OLD = """
import sys, tensorrt
from tests.engines.build.old_network import attach
attach(tensorrt)
sys.argv = ["t2s-rt", *sys.argv[1:]]
from t2s_rt.cli.main import main
main()
"""
"""The command for 8.6, whose double shows no layers by itself."""


@pytest.fixture
def child() -> Iterator[Child]:
    """Start ``t2s-rt build`` with the doubles in a process of its own."""
    started = []

    def start(
        *arguments: object,
        release: str = "10.13",
        seconds: float = 0.0,
        log: Path | None = None,
        kill_at_step: int = 0,
    ) -> subprocess.Popen[str]:
        control = Control(
            RELEASES[release],
            step_seconds=seconds,
            build_log=str(log or ""),
            kill_at_step=kill_at_step,
        )
        command = ["-c", _OLD] if release == "8.6" else ["t2s-rt"]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.doubles.run", release, *command, "build"]
            + [str(argument) for argument in arguments],
            cwd=ROOT,
            env={**os.environ, **child_environment(control)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def temporary(root: Path) -> list[str]:
    """Whatever lies in a cache that is neither an engine nor a timing cache."""
    paths = (*root.iterdir(), *root.glob("timing/*"))
    return sorted(path.name for path in paths if path.name.startswith("."))
