"""Per-class score thresholds from labelled tiles.

``planes`` collects what a route scores on each tile, ``choice`` finds thresholds on them, ``run``
is the whole command and ``tables`` shows what came of it.
"""
