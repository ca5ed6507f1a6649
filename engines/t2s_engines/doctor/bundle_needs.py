"""What a bundle asks of the machine, and which known faults its engines may meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from t2s_engines.doctor.graph_facts import GraphFacts, graph_facts
from t2s_engines.doctor.host import int8_products, memory_bytes
from t2s_engines.doctor.known import faults_of
from t2s_engines.doctor.machine import Machine
from t2s_engines.doctor.verdicts import Verdict
from t2s_engines.doctor.versions import Version, show_version
from t2s_rt.bundle import Bundle
from t2s_rt.contracts import OPSET, PRECISIONS, TEXT_ROLES

__all__ = ["Target", "check_bundle"]


@dataclass(frozen=True)
class Target:
    """Where engines of the bundle would run.

    Attributes:
        gpu: whether there is a GPU at all.
        tensorrt: release of TensorRT; empty where there is none.
        capabilities: compute capabilities of the GPUs, as far as known.
    """

    gpu: bool
    tensorrt: Version
    capabilities: frozenset[str]


def check_bundle(bundle: Bundle, machine: Machine, target: Target) -> Iterator[Verdict]:
    """Verdicts on one bundle."""
    facts = graph_facts(bundle)
    yield _contents(bundle, facts)
    yield _text(bundle)
    yield from _deformable(facts)
    yield from _precisions(facts, target)
    yield from _saturation(facts, machine)
    yield from _memory(bundle, machine)
    if target.tensorrt:
        yield from _opsets(facts, target.tensorrt)
        yield from _faults(facts, target)


def _contents(bundle: Bundle, facts: list[GraphFacts]) -> Verdict:
    roles: dict[str, list[str]] = {}
    for graph in facts:
        roles.setdefault(graph.role, []).append(graph.precision)
    listed = ", ".join(f"{role} {'+'.join(found)}" for role, found in roles.items())
    opsets = "+".join(str(number) for number in sorted({graph.opset for graph in facts}))
    return Verdict("ok", "bundle", f"{bundle.name}: {listed}; opset {opsets}")


def _text(bundle: Bundle) -> Verdict:
    if all(role in bundle.roles for role in TEXT_ROLES) and bundle.tokenizers:
        return Verdict("ok", "bundle text", "text encoders inside: --prompts works on board")
    return Verdict(
        "note",
        "bundle text",
        "no text encoders inside",
        "make packs on the ground (t2s-rt prompts) and use --pack",
    )


def _deformable(facts: Iterable[GraphFacts]) -> Iterator[Verdict]:
    detectors = [graph for graph in facts if graph.role == "detector"]
    if detectors:
        form = "GridSample" if any(graph.grid_sample for graph in detectors) else "gather"
        yield Verdict("ok", "bundle detector", f"deformable attention in the {form} form")


def _precisions(facts: list[GraphFacts], target: Target) -> Iterator[Verdict]:
    held = {graph.precision for graph in facts}
    if target.gpu and "fp16" not in held:
        yield Verdict(
            "note", "bundle precision", "no fp16 graphs: a GPU is used at half its speed or less"
        )
    if not target.gpu and "fp16" in held:
        yield Verdict(
            "note",
            "bundle precision",
            "a processor computes fp16 graphs in float32: no gain, and overflow stays hidden",
            "use fp32 here, which --precision auto takes",
        )
    targets = {graph.target for graph in facts if graph.precision == "int8"}
    if target.gpu and targets == {"cpu"}:
        yield Verdict("note", "bundle int8", "its int8 graphs are for processors only")
    if not target.gpu and targets == {"tensorrt"}:
        yield Verdict("note", "bundle int8", "its int8 graphs are for TensorRT only")


def _saturation(facts: Iterable[GraphFacts], machine: Machine) -> Iterator[Verdict]:
    full = [graph for graph in facts if graph.target == "cpu" and graph.weight_bits == 8]
    if full and int8_products(machine) is False:
        yield Verdict(
            "warning",
            "bundle int8",
            "its int8 graphs hold weights of 8 bits, whose products saturate on this processor",
            "calibrate it for this one: t2s-rt calibrate int8 --weight-bits 7",
        )


def _memory(bundle: Bundle, machine: Machine) -> Iterator[Verdict]:
    found = memory_bytes(machine)
    weights = {
        file.path: file.bytes
        for graph in bundle.manifest.graphs
        if graph.precision == PRECISIONS[0]
        for file in graph.files
    }
    need = sum(weights.values())
    if found is not None and need > found[1]:
        yield Verdict(
            "warning",
            "bundle memory",
            f"its fp32 graphs are {need / 1e9:.1f} GB, {found[1] / 1e9:.1f} GB of memory are free",
            "use a smaller preset, or another machine",
        )


def _opsets(facts: Iterable[GraphFacts], release: Version) -> Iterator[Verdict]:
    new = [graph for graph in facts if graph.opset > OPSET and graph.target != "cpu"]
    if new and release < (10,):
        yield Verdict(
            "fails",
            "bundle opset",
            f"{_names(new)} of opset {max(graph.opset for graph in new)}; TensorRT "
            f"{show_version(release)} reads opset {OPSET} at most",
            "build the other precisions (t2s-rt build --precision fp32), or use TensorRT 10",
        )
    old = [graph for graph in facts if graph.precision == "int8" and graph.target == "cpu"]
    if old:
        yield Verdict("note", "bundle int8", f"{_names(old)} for processors: no engine is built")


def _faults(facts: Iterable[GraphFacts], target: Target) -> Iterator[Verdict]:
    candidates = [graph for graph in facts if graph.target != "cpu"]
    hit = False
    for fault, graphs in faults_of(target.tensorrt, target.capabilities, candidates):
        hit = True
        unsure = fault.capabilities and not target.capabilities
        where = f" (if this GPU is {_architectures(fault.capabilities)})" if unsure else ""
        yield Verdict(
            fault.level,
            "known fault",
            f"{_names(graphs)}{where}: {fault.what} [{', '.join(fault.threads)}]",
            fault.do,
        )
    if not hit:
        yield Verdict(
            "ok",
            "known faults",
            f"none reported for TensorRT {show_version(target.tensorrt)} and these graphs; "
            "only t2s-rt verify shows that an engine is right",
        )


def _architectures(capabilities: Iterable[str]) -> str:
    return " or ".join(f"sm_{name.replace('.', '')}" for name in capabilities)


def _names(graphs: Iterable[GraphFacts]) -> str:
    """``detector fp16, mask_encoder fp32+fp16``."""
    roles: dict[str, list[str]] = {}
    for graph in graphs:
        roles.setdefault(graph.role, []).append(graph.precision)
    return ", ".join(f"{role} {'+'.join(found)}" for role, found in roles.items())
