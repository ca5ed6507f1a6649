"""What the doctor must know of a bundle's graphs; no ONNX library is needed for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.contracts import TEXT_ROLES

__all__ = ["GraphFacts", "graph_facts", "holds_operator"]

_CHUNK = 1 << 24


@dataclass(frozen=True)
class GraphFacts:
    """One graph that flies.

    Attributes:
        role: which contract it fulfils.
        precision: ``fp32``, ``fp16`` or ``int8``.
        target: what an int8 graph was quantised for.
        opset: ONNX opset.
        grid_sample: whether it holds GridSample.
        float32_norms: whether its layer norms are float32.
        architecture: what the exporter called its model; may be empty.
        batches: whether several images may enter at once.
        bytes: of its files.
        weight_bits: of an int8 graph's weights; 7 for processors whose int8 product saturates.
    """

    role: str
    precision: str
    target: str | None
    opset: int
    grid_sample: bool
    float32_norms: bool
    architecture: str
    batches: bool
    bytes: int
    weight_bits: int = 8

    @property
    def name(self) -> str:
        """Role and precision."""
        return f"{self.role} {self.precision}"


def graph_facts(bundle: Bundle) -> list[GraphFacts]:
    """Facts of every graph that flies; text encoders stay on the ground, on a CPU."""
    found = []
    for entry, record in zip(bundle.graphs, bundle.manifest.graphs, strict=True):
        if entry.role in TEXT_ROLES:
            continue
        rules = record.islands.get("rules", {})
        found.append(
            GraphFacts(
                role=entry.role,
                precision=entry.precision,
                target=entry.target,
                opset=entry.opset,
                grid_sample=_grid_sample(entry),
                float32_norms=entry.precision == "fp32" or bool(rules.get("normalisation")),
                architecture=str(entry.source.get("architecture", "")),
                batches=entry.inputs[0].name == "image"
                and isinstance(entry.inputs[0].shape[0], str),
                bytes=sum(file.bytes for file in record.files),
                weight_bits=int(record.islands.get("weight_bits", 8)),
            )
        )
    return found


def _grid_sample(entry: GraphEntry) -> bool:
    """By the manifest; where it does not say, by the file."""
    form = entry.source.get("deformable")
    if form in ("grid_sample", "gather"):
        return bool(form == "grid_sample")
    return entry.role == "detector" and holds_operator(entry.path, "GridSample")


def holds_operator(path: Path, operator: str) -> bool:
    """Whether an ONNX file has a node of this operator, found without a parser.

    ``NodeProto.op_type`` is field 4 of a protobuf message: the bytes 0x22, length, name. Names of
    nodes and tensors are fields 1 to 3, so that they are not taken for it.
    """
    name = operator.encode()
    mark = b"\x22" + bytes([len(name)]) + name
    tail = b""
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            window = tail + chunk
            if mark in window:
                return True
            tail = window[1 - len(mark) :]
    return False
