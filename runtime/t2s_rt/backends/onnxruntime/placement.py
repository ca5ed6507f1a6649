"""Which node runs where: a graph that silently fell back to the CPU is found here.

ONNX Runtime gives an operator that a GPU provider lacks to the CPU without a word, and copies its
tensors back and forth at every run. From release 1.24 on a session can be asked where each node
went; before, only whether any went to the CPU, by making that an error.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

__all__ = ["CPU", "RECORD_PLACEMENT", "REFUSE_FALLBACK", "Placement"]

CPU = "CPUExecutionProvider"
RECORD_PLACEMENT = "session.record_ep_graph_assignment_info"
"""Session entry, since release 1.24; older ones ignore it."""
REFUSE_FALLBACK = "session.disable_cpu_ep_fallback"
"""Session entry that makes any node on the CPU an error, shape arithmetic included."""

_SHAPE_WORK = frozenset(
    {
        "Add",
        "Cast",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Equal",
        "Expand",
        "Gather",
        "Identity",
        "Mul",
        "Range",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "Squeeze",
        "Sub",
        "Unsqueeze",
        "Where",
    }
)
"""The CUDA provider has all of these. One on the CPU computes with shapes: ONNX Runtime leaves
such integers on the host on purpose, where they are needed for the next launch."""


@dataclass(frozen=True)
class Placement:
    """How many nodes each provider took.

    Attributes:
        providers: number of nodes by provider.
        fallen: number of nodes by operator that the CPU got because no GPU provider has them.
        shape_work: nodes on the CPU that compute with shapes.
    """

    providers: dict[str, int]
    fallen: dict[str, int]
    shape_work: int

    @classmethod
    def of(cls, session: Any) -> Placement | None:
        """The placement of a session's nodes, or None where the library does not tell."""
        tell = getattr(session, "get_provider_graph_assignment_info", None)
        if tell is None:
            return None
        providers: Counter[str] = Counter()
        on_cpu: Counter[str] = Counter()
        for part in tell():
            nodes = part.get_nodes()
            providers[part.ep_name] += len(nodes)
            if part.ep_name == CPU:
                on_cpu.update(node.op_type for node in nodes)
        fallen = {name: n for name, n in sorted(on_cpu.items()) if name not in _SHAPE_WORK}
        return cls(dict(providers), fallen, sum(on_cpu.values()) - sum(fallen.values()))

    def describe(self) -> str:
        """``260 nodes on CUDA, 4 on CPU (4 of shapes)``; operators that fell back are named."""
        text = ", ".join(
            f"{count} {'nodes ' if number == 0 else ''}on {name.removesuffix('ExecutionProvider')}"
            for number, (name, count) in enumerate(
                sorted(self.providers.items(), key=lambda item: -item[1])
            )
        )
        details = [f"{name} x{count}" for name, count in self.fallen.items()]
        if self.shape_work:
            details.append(f"{self.shape_work} of shapes")
        return f"{text} ({', '.join(details)})" if details else text
