"""TensorRT's timing caches: what a device measured once need not be measured again.

One file for each device and exact release: a cache of another one is refused by TensorRT, or
misleads it. Several builds may run at once; each merges what it measured into the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from t2s_engines.build.locks import locked
from t2s_engines.build.store import sync_folder
from t2s_rt.plans import DeviceIdentity

__all__ = ["FOLDER", "TimingCache"]

FOLDER = "timing"
"""Folder of timing caches within that of the engines."""


class TimingCache:
    """The timing cache of one device and release.

    Args:
        root: folder of engines.
        device: that measures.
        tensorrt: full version.

    Attributes:
        path: of the file; it need not exist.
    """

    def __init__(self, root: Path, device: DeviceIdentity, tensorrt: str) -> None:
        text = json.dumps(asdict(device), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        name = re.sub(r"[^A-Za-z0-9]+", "-", device.name).strip("-")
        self.path = root / FOLDER / f"{name}.{device.architecture}.{digest}.{tensorrt}.cache"

    def read(self) -> bytes:
        """What was measured so far; empty where nothing was, or where it cannot be read."""
        try:
            return self.path.read_bytes()
        except OSError:
            return b""

    def update(self, merge: Callable[[bytes], bytes]) -> None:
        """Replace the file by what ``merge`` makes of its present content.

        Raises:
            OSError: it cannot be written.
        """
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{self.path.name}.lock") as held:
            if held.exclusive:
                for leftover in folder.glob(f".{self.path.name}.*.tmp"):
                    leftover.unlink(missing_ok=True)
            made = folder / f".{self.path.name}.{uuid.uuid4().hex}.tmp"
            try:
                with open(made, "wb") as stream:
                    stream.write(merge(self.read()))
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(made, self.path)
                sync_folder(folder)
            finally:
                made.unlink(missing_ok=True)
