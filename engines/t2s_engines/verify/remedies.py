"""What to say, and what to do, about a figure that is out of its limit."""

from __future__ import annotations

from t2s_engines.verify.tally import base_name
from t2s_rt.contracts import Precision

__all__ = ["fault_text"]


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
