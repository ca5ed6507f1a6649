"""Known faults: each reported combination is recognised, and its neighbours are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.runtime.bundle.tiny import write_tiny_bundle

from t2s_engines.doctor.graph_facts import GraphFacts, graph_facts, holds_operator
from t2s_engines.doctor.jetson import JETPACKS, jetpack_of
from t2s_engines.doctor.known import KNOWN_FAULTS, faults_of
from t2s_engines.doctor.versions import Version, parse_version, show_version, within
from t2s_rt.bundle import NANO_ROOT, load_bundle
from t2s_rt.contracts import PRECISIONS, ROLES

PLAIN = GraphFacts("mask_encoder", "fp32", None, 17, False, True, "sam_vit_b", True, 1)
VIT = replace(PLAIN, precision="fp16")
GATHER = replace(PLAIN, role="detector", architecture="swin_t", batches=False)
GRID = replace(GATHER, grid_sample=True)

HITS: list[tuple[str, str, str, GraphFacts]] = [
    ("NVIDIA/TensorRT#4813", "10.13.3.9", "11.0", GRID),
    ("NVIDIA/TensorRT#4813", "10.14.1", "8.9", replace(GRID, precision="fp16")),
    ("NVIDIA/TensorRT#4813", "11.1.0.106", "12.0", GRID),
    ("NVIDIA/TensorRT#4646", "10.13.3", "9.0", replace(GRID, opset=20)),
    ("NVIDIA/TensorRT#4837", "10.16.1.11", "12.0", VIT),
    ("NVIDIA/TensorRT#4723", "10.3.0", "8.7", VIT),
    ("NVIDIA/TensorRT-Edge-LLM#105", "10.13.3.9", "11.0", PLAIN),
    ("NVIDIA/TensorRT#4820", "10.13.3.9", "11.0", VIT),
    ("NVIDIA/TensorRT#3413", "8.6.1", "8.0", replace(GATHER, precision="fp16")),
    ("NVIDIA/TensorRT#3652", "8.6.1", "8.6", replace(GATHER, precision="fp16")),
    ("NVIDIA/TensorRT-LLM#3223", "8.6.2", "8.7", VIT),
    ("mit-han-lab/efficientvit#142", "10.16", "9.0", replace(VIT, float32_norms=False)),
    ("NVIDIA-AI-IOT/nanosam, README", "10.3.0", "8.7", replace(VIT, architecture="mobile_sam")),
    ("NVIDIA/TensorRT#4853", "10.11.0.33", "9.0", PLAIN),
    ("NVIDIA/TensorRT#4853", "11.1", "9.0", PLAIN),
    ("NVIDIA/TensorRT#3777", "10.0.0.6", "9.0", PLAIN),
    ("NVIDIA/TensorRT#3908", "10.0.1.6", "9.0", replace(VIT, role="clip_dense")),
    ("Peterande/D-FINE#44", "10.3.0", "8.7", GATHER),
]
MISSES: list[tuple[str, str, str, GraphFacts]] = [
    ("NVIDIA/TensorRT#4813", "10.13.3.9", "11.0", GATHER),
    ("NVIDIA/TensorRT#4813", "10.3.0", "8.7", GRID),
    ("NVIDIA/TensorRT#4646", "10.13.3", "9.0", GRID),
    ("NVIDIA/TensorRT#4837", "10.16.1.11", "9.0", VIT),
    ("NVIDIA/TensorRT#4837", "10.16.1.11", "12.0", PLAIN),
    ("NVIDIA/TensorRT#4837", "11.3.0", "12.0", VIT),
    ("NVIDIA/TensorRT#4723", "10.4.0", "8.7", VIT),
    ("NVIDIA/TensorRT#4723", "10.3.0", "8.7", PLAIN),
    ("NVIDIA/TensorRT-Edge-LLM#105", "10.13.3.9", "9.0", PLAIN),
    ("NVIDIA/TensorRT-Edge-LLM#105", "10.16.2", "11.0", PLAIN),
    ("NVIDIA/TensorRT#3413", "8.6.1", "8.0", GATHER),
    ("NVIDIA/TensorRT#3652", "8.6.1", "7.0", replace(GATHER, precision="fp16")),
    ("NVIDIA/TensorRT-LLM#3223", "10.3.0", "8.7", VIT),
    ("mit-han-lab/efficientvit#142", "10.16", "9.0", VIT),
    ("NVIDIA-AI-IOT/nanosam, README", "10.3.0", "8.7", VIT),
    ("NVIDIA/TensorRT#4853", "10.12.0", "9.0", PLAIN),
    ("NVIDIA/TensorRT#4853", "11.1", "9.0", replace(PLAIN, batches=False)),
    ("NVIDIA/TensorRT#3777", "10.0.1", "9.0", PLAIN),
    ("NVIDIA/TensorRT#3908", "10.0.1", "9.0", VIT),
    ("Peterande/D-FINE#44", "10.3.0", "7.5", GATHER),
]


def threads(release: str, capability: str, graph: GraphFacts) -> set[str]:
    capabilities = {capability} if capability else set()
    found = faults_of(parse_version(release), capabilities, [graph])
    return {thread for fault, _ in found for thread in fault.threads}


@pytest.mark.parametrize(("thread", "release", "capability", "graph"), HITS)
def test_a_reported_combination_is_named(
    thread: str, release: str, capability: str, graph: GraphFacts
) -> None:
    assert thread in threads(release, capability, graph)
    # a GPU that nobody can name is no reason to keep quiet
    assert thread in threads(release, "", graph)


@pytest.mark.parametrize(("thread", "release", "capability", "graph"), MISSES)
def test_its_neighbours_are_not(
    thread: str, release: str, capability: str, graph: GraphFacts
) -> None:
    assert thread not in threads(release, capability, graph)


def test_every_row_is_hit_by_a_test_and_says_what_to_do() -> None:
    named = {thread for thread, *_ in HITS}
    for fault in KNOWN_FAULTS:
        assert set(fault.threads) & named, fault.threads
        assert fault.do and fault.what
        assert set(fault.roles) <= set(ROLES)
        assert set(fault.precisions) <= set(PRECISIONS)


def test_without_tensorrt_nothing_is_known() -> None:
    assert threads("", "12.0", GRID) == set()


def test_nano_samples_its_features_with_grid_sample_and_keeps_norms() -> None:
    facts = {graph.name: graph for graph in graph_facts(load_bundle(verify=False))}
    assert facts["detector fp32"].grid_sample and facts["detector fp16"].grid_sample
    assert not facts["mask_encoder fp32"].grid_sample
    assert all(graph.float32_norms for graph in facts.values())
    assert not any(name.startswith(("detector_text", "clip_text")) for name in facts)
    assert facts["clip_image fp32"].batches and not facts["mask_decoder fp32"].batches


def test_what_the_manifest_leaves_out_is_in_the_file(tmp_path: Path) -> None:
    assert holds_operator(NANO_ROOT / "detector.fp32.onnx", "GridSample")
    assert not holds_operator(NANO_ROOT / "mask_encoder.fp32.onnx", "GridSample")
    # the tiny bundle's manifest says nothing of its detector, whose graph has no GridSample
    bundle = load_bundle(write_tiny_bundle(tmp_path))
    assert [graph.grid_sample for graph in graph_facts(bundle) if graph.role == "detector"] == [
        False
    ]


def test_an_operator_is_found_across_the_border_of_two_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import t2s_engines.doctor.graph_facts as module

    monkeypatch.setattr(module, "_CHUNK", 8)
    file = tmp_path / "graph.onnx"
    for shift in range(16):
        file.write_bytes(b"x" * shift + b"\x22\x0aGridSample" + b"y" * 5)
        assert holds_operator(file, "GridSample"), shift
    file.write_bytes(b"name: /decoder/GridSample_3")
    assert not holds_operator(file, "GridSample")


@pytest.mark.parametrize(
    ("l4t", "name"),
    [
        ((36, 3, 0), "6.0"),
        ((36, 4, 0), "6.1 to 6.2.x"),
        ((36, 4, 7), "6.1 to 6.2.x"),
        ((38, 2, 1), "7.0 or 7.1"),
        ((39, 2, 0), "7.2"),
        ((35, 4, 1), "5.1.x"),
        ((37, 1), None),
        ((), None),
    ],
)
def test_a_release_of_l4t_belongs_to_one_jetpack(l4t: Version, name: str | None) -> None:
    found = jetpack_of(l4t)
    assert (found and found.name) == name
    assert sum(within(l4t, *row.l4t) for row in JETPACKS) == (name is not None)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("10.3.0.26-1+cuda12.5", (10, 3, 0, 26)),
        ("v8.6", (8, 6)),
        ("580.65.06", (580, 65, 6)),
        ("unknown", ()),
        ("", ()),
    ],
)
def test_versions_are_the_leading_numbers(text: str, version: Version) -> None:
    assert parse_version(text) == version


def test_an_end_of_a_range_counts_to_its_own_length() -> None:
    assert within((10, 3, 0, 30), (10, 3), (10, 3))
    assert not within((10, 4), (10, 3), (10, 3))
    assert within((10, 13, 3, 9), (10, 13, 3))
    assert not within((10, 13, 2), (10, 13, 3))
    assert not within((), (1,))
    assert show_version(()) == "of unknown version"
