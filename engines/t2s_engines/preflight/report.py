"""What the preflight found, and how it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

__all__ = ["PreflightReport", "Problem"]


@dataclass(frozen=True)
class Problem:
    """One fault of one node, or of the graph as a whole.

    Attributes:
        node: the node's name, or that of its first output; empty for the graph as a whole.
        operator: its operator; empty for the graph as a whole.
        rule: which kind of rule it breaks, e.g. "types".
        found: what the graph has.
        remedy: what it should have instead.
    """

    node: str
    operator: str
    rule: str
    found: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.operator} in {self.node!r}: " if self.operator else ""
        return f"{where}{self.found} ({self.rule}); {self.remedy}"


@dataclass(frozen=True)
class PreflightReport:
    """Problems and warnings by release.

    Attributes:
        problems: what the release cannot import, or is known to misread.
        warnings: what it imports, but has been reported to compute wrongly, and conditions that
            are not checked.
    """

    problems: Mapping[str, tuple[Problem, ...]]
    warnings: Mapping[str, tuple[Problem, ...]]

    @property
    def ok(self) -> bool:
        """Whether no release has a problem; warnings do not count."""
        return not any(self.problems.values())

    def lines(self) -> Iterator[str]:
        """The report as plain text: one line per release, then each kind of fault with its nodes.

        Nodes that share a fault share a line, which names the first.
        """
        for release, found in self.problems.items():
            counts = [(len(found), "problem"), (len(self.warnings[release]), "warning")]
            said = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in counts if n]
            yield f"TensorRT {release}: {', '.join(said) or 'passes'}"
        for word, faults in (("problem", self.problems), ("warning", self.warnings)):
            alike: dict[tuple[Problem, tuple[str, ...]], list[Problem]] = {}
            for problem, releases in by_problem(faults).items():
                kind = replace(problem, node="")
                alike.setdefault((kind, tuple(releases)), []).append(problem)
            for (_, where), problems in alike.items():
                more = f" [and {len(problems) - 1} more like it]" if len(problems) > 1 else ""
                yield f"  {word} ({', '.join(where)}): {problems[0]}{more}"


def by_problem(faults: Mapping[str, tuple[Problem, ...]]) -> dict[Problem, list[str]]:
    """Each fault once, in order, with the releases that have it."""
    found: dict[Problem, list[str]] = {}
    for release, problems in faults.items():
        for problem in dict.fromkeys(problems):
            found.setdefault(problem, []).append(release)
    return found
