"""What can be said about a graph before TensorRT sees it, where onnx is installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from t2s_engines.build.plan import PlannedEngine
from t2s_engines.build.release import Release
from t2s_rt.errors import BackendError

if TYPE_CHECKING:
    from t2s_engines.graphs.float32 import FloatTypes

__all__ = ["Verdict", "check_on_paper", "graph_float_types", "preflight_verdict"]

_SHOWN = 4


@dataclass(frozen=True)
class Verdict:
    """What the preflight says of a graph.

    Attributes:
        text: in one line.
        problems: each with what to do; empty where it passes, or was not asked.
        warnings: forms that some release was reported to compute wrongly.
    """

    text: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _onnx_is_here() -> bool:
    try:
        return find_spec("onnx") is not None
    except ImportError:  # an import hook may refuse it
        return False


def preflight_verdict(engine: PlannedEngine, release: Release) -> Verdict:
    """Ask the preflight about one graph, by the newest table that is not newer than the release.

    Raises:
        GraphError: the file cannot be read as ONNX.
    """
    if not _onnx_is_here():
        return Verdict("not checked: onnx is not installed; run: pip install 't2s-rt[export]'")
    from t2s_engines.preflight import RELEASES, preflight

    table = max(
        (name for name in RELEASES if Release.parse(name).number <= release.number),
        key=lambda name: Release.parse(name).number,
        default=RELEASES[1],  # 10.0 is older than the oldest table of 10
    )
    report = preflight(engine.entry.path, (table,))
    problems = tuple(dict.fromkeys(str(problem) for problem in report.problems[table]))
    warnings = tuple(dict.fromkeys(str(problem) for problem in report.warnings[table]))
    said = f"{len(problems)} problems" if problems else "passes"
    more = f", {len(warnings)} warnings" if warnings else ""
    return Verdict(f"{said} by the table of TensorRT {table}{more}", problems, warnings)


def check_on_paper(engine: PlannedEngine, release: Release) -> None:
    """Refuse a graph that the preflight says TensorRT cannot import, or would misread.

    Raises:
        BackendError: names up to four of its problems.
    """
    found = preflight_verdict(engine, release).problems
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise BackendError(
            f"{engine.label}: expected a graph that TensorRT {release.name} imports, found "
            + "; ".join(found[:_SHOWN])
            + more
            + "; choose another --precision, or export the bundle again"
        )


def graph_float_types(engine: PlannedEngine) -> FloatTypes | None:
    """Which floating-point types a graph computes in; None where onnx is not installed.

    trtexec 8.6 has to be told: it takes no types from the graph.

    Raises:
        GraphError: the file cannot be read as ONNX.
    """
    if not _onnx_is_here():
        return None
    from t2s_engines.graphs.float32 import float_types

    return float_types(engine.entry.path)
