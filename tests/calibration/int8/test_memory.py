"""Ranges are collected in bounded memory, however many images and values there are."""

from __future__ import annotations

import subprocess
import sys

_COLLECT = """
import resource
import numpy as np
from tests.export.graph_text import parse
from t2s_calibration.int8.observe import observe

ROWS, WIDTH, LAYERS, IMAGES = 4096, 256, 24, 12
lines = "".join(f" v{i + 1} = MatMul(v{i}, w)" for i in range(LAYERS))
graph = parse(
    f"g (float[{ROWS},{WIDTH}] x) => (float[{ROWS},{WIDTH}] v{LAYERS})"
    f"{{ v0 = Relu(x) {lines} }}"
)
graph.constants["w"] = np.eye(WIDTH, dtype=np.float32)
values = {f"v{i}" for i in range(LAYERS)}

def feeds():
    for seed in range(IMAGES):
        yield {"x": np.random.default_rng(seed).normal(size=(ROWS, WIDTH)).astype(np.float32)}

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seen = observe(graph, values, feeds, budget=16 << 20).histograms
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert all(int(one.counts.sum()) == ROWS * WIDTH * IMAGES for one in seen.values())
print(grown // 1024)
"""


def test_memory_does_not_grow_with_images_and_values() -> None:
    """All values of all images are 1,208 MB; a run holds 16 MB of them beside the session."""
    found = subprocess.run(
        [sys.executable, "-c", _COLLECT], capture_output=True, text=True, timeout=300, check=False
    )
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) < 220
