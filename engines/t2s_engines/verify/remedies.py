"""What to say, and what to do, about a figure that is out of its limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from t2s_engines.doctor.graph_facts import graph_facts
from t2s_engines.doctor.known import faults_of
from t2s_engines.doctor.versions import parse_version
from t2s_engines.verify.tally import base_name
from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.contracts import Precision
from t2s_rt.plans import EngineFiles

__all__ = ["fault_text", "reports_of"]


def fault_text(
    role: str,
    precision: Precision,
    name: str,
    found: float,
    floor: float | None,
    ceiling: float | None,
) -> str:
    """One fault in one line: graph, figure, what was expected and found, what to do."""
    wanted = f"at least {floor:g}" if floor is not None else f"at most {ceiling:g}"
    remedy = "; or ".join(_remedies(role, precision, name))
    return f"{role} {precision}: {name}: expected {wanted}, found {_shown(found)}; {remedy}"


def _shown(value: float) -> str:
    return f"{value:.5f}".rstrip("0").rstrip(".") if abs(value) < 1e4 else f"{value:.4g}"


def _remedies(role: str, precision: Precision, name: str) -> list[str]:
    lower = precision != "fp32"
    if name.endswith(", batched"):
        # NVIDIA/TensorRT#4853: any batch above 1 wrong, in any precision
        return ["build it for one tile at a time (t2s-rt build --batch 1) and verify again"]
    if name.endswith(", repeated"):
        return [
            "the same call gave another answer the second time: do not fly this backend; "
            "see t2s-rt doctor"
        ]
    if base_name(name) == "non-finite values":
        first = "an overflow of float16: use --precision fp32" if lower else "see t2s-rt doctor"
        return [first, "export again with calibration images like these"] if lower else [first]
    texts = ["use --precision fp32"] if lower else []
    if role == "detector":
        texts.append("export again with --deformable gather, the form without GridSample")
    return [*texts, "look for this device and release in t2s-rt doctor"]


def reports_of(bundle: Bundle, entry: GraphEntry, engine: EngineFiles) -> Iterator[str]:
    """What others reported of such graphs on the engine's release and GPU, one line each."""
    release = parse_version(str(engine.sidecar.key.get("tensorrt", "")))
    device = engine.sidecar.key.get("device")
    capability = device.get("compute_capability") if isinstance(device, Mapping) else None
    known = [".".join(map(str, capability))] if isinstance(capability, list) else []
    graphs = [
        facts
        for facts in graph_facts(bundle)
        if (facts.role, facts.precision) == (entry.role, entry.precision)
    ]
    for fault, _ in faults_of(release, known, graphs):
        yield f"reported: {fault.what} ({', '.join(fault.threads)}): {fault.do}"
