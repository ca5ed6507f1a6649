"""The command line over the plain-colour world: in this process, or as a program of its own.

``python -m tests.runtime.cli.colours SECONDS ARGUMENT...`` runs ``t2s-rt ARGUMENT...`` with fake
models that take so many seconds per tile, so that a test can break it off in the middle.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.runtime.pipeline.conftest import make_bundle
from tests.runtime.routes.fakes import PALETTE, FakeDetector, FakeModels, pack_of

import t2s_rt.bundle
import t2s_rt.prompts
from t2s_rt.errors import UnknownWordError
from t2s_rt.models import Models


class SlowDetector(FakeDetector):
    """Takes its time, and has no image encoder beside it that could be slow instead."""

    seconds = 0.0

    def detect(self, image: Any, pack: Any) -> Any:
        time.sleep(self.seconds)
        return super().detect(image, pack)


def fake_build_pack(bundle: Any, prompts: Any, **_: Any) -> Any:
    """A pack of palette words."""
    names = [item.name for item in prompts]
    unknown = [name for name in names if name not in PALETTE]
    if unknown:
        raise UnknownWordError(f"does not know {unknown}")
    return pack_of(*names)


def install(patch: Any, root: Path, models: FakeModels) -> None:
    """Put the fake bundle, pack builder and models in place with ``patch(object, name, value)``."""
    patch(t2s_rt.bundle, "load_bundle", lambda path=None, verify=True: make_bundle(root))
    patch(t2s_rt.prompts, "build_pack", fake_build_pack)
    patch(Models, "open", lambda *_, **__: models)


if __name__ == "__main__":
    from t2s_rt.cli.main import main

    slow = FakeModels()
    slow.detector = SlowDetector(slow.calls)
    SlowDetector.seconds = float(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        install(setattr, Path(folder), slow)
        sys.argv[1:] = sys.argv[2:]
        main()
