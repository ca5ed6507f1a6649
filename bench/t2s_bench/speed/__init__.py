"""How fast the runtime is on this device: single graphs, routes on one tile, a whole scene.

``samples`` takes times, ``graphs``, ``routes`` and ``scene`` say of what, ``device`` what the
device tells about itself meanwhile, ``measure`` makes one record of it, ``compare`` holds two
records against each other, ``versus`` times two settings in turn, ``tables`` and ``chart`` show.
"""

from __future__ import annotations

__all__ = ["PARTS"]

PARTS = ("graphs", "routes", "scene")
"""What ``bench run`` measures, and may be asked for alone."""
