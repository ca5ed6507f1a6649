"""CPU sessions of a process share their scratch memory; each test has a process of its own."""

from __future__ import annotations

import subprocess
import sys

_TWO_SESSIONS = """
import numpy as np
from t2s_rt.backends.onnxruntime.cpu import OnnxRuntimeCpuSession
from t2s_rt.bundle import load_bundle

def resident():
    return int(open("/proc/self/statm").read().split()[1])

entry = next(g for g in load_bundle().graphs if (g.role, g.precision) == ("mask_encoder", "fp32"))
feeds = {"image": np.zeros((1, *entry.image_size, 3), np.uint8)}
sessions = [OnnxRuntimeCpuSession(entry) for _ in range(2)]
for session in sessions:
    before = resident()
    answer = session.run(feeds)
    print(resident() - before)
"""
_OCCUPIED = """
import onnxruntime as ort
ort.create_and_register_allocator(
    ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT),
    ort.OrtArenaCfg(0, -1, -1, -1),
)
"""


def _printed(code: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def test_a_second_session_works_in_the_memory_of_the_first() -> None:
    first, second = _printed(_TWO_SESSIONS)
    assert first > 20_000  # pages: the graph's scratch memory is far from nothing
    assert second < first / 4


def test_an_arena_that_the_process_has_already_serves_as_well() -> None:
    first, second = _printed(_OCCUPIED + _TWO_SESSIONS)
    assert second < first / 4
