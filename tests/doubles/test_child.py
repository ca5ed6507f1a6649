"""The doubles in a child process, which can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.doubles import Control, DeviceInfo, child_environment
from tests.trt.doubled import small_model

ROOT = Path(__file__).parents[2]
CHILD = """
import tensorrt as trt
logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(2)
import sys
assert trt.OnnxParser(network, logger).parse_from_file(sys.argv[1])
config = builder.create_builder_config()
profile = builder.create_optimization_profile()
profile.set_shape("x", (1, 3), (2, 3), (4, 3))
config.add_optimization_profile(profile)
plan = builder.build_serialized_network(network, config)
with open(sys.argv[2], "wb") as stream:
    stream.write(plan)
"""


@pytest.mark.parametrize("kill", [0, 3])
def test_a_child_process_gets_the_doubles_and_can_be_killed(tmp_path: Path, kill: int) -> None:
    (tmp_path / "small.onnx").write_bytes(small_model())
    control = Control("10.13.3.9", kill_at_step=kill, build_log=str(tmp_path / "log"))
    control.device.info = DeviceInfo(name="child's", compute_capability=(8, 6))
    command = [sys.executable, "-m", "tests.doubles.run", "10.13", "-c", CHILD]
    done = subprocess.run(
        [*command, str(tmp_path / "small.onnx"), str(tmp_path / "plan")],
        cwd=ROOT,
        env={**os.environ, **child_environment(control)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split()[1] for line in (tmp_path / "log").read_text().splitlines()]
    if kill:
        assert done.returncode == -signal.SIGKILL
        assert lines == ["start"]
        assert not (tmp_path / "plan").exists()
        return
    assert done.returncode == 0, done.stderr
    assert lines == ["start", "done"]
    assert b"child's" in (tmp_path / "plan").read_bytes()
