"""Engines that build, run, and are wrong: what users of TensorRT reported, as data.

Nothing of it was reproduced by this project; each row names the threads it comes from. A row
applies where release, GPU and graph are like those of the report. That an engine is right is
shown by ``t2s-rt verify`` alone, and absence from this list shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from t2s_engines.doctor.graph_facts import GraphFacts
from t2s_engines.doctor.verdicts import Level
from t2s_engines.doctor.versions import Version, within

__all__ = ["KNOWN_FAULTS", "KnownFault", "faults_of"]

_ENCODERS = ("mask_encoder", "clip_image", "clip_dense", "clip_patches")
_ATTENTION = ("detector", *_ENCODERS)
_VERIFY = "trust t2s-rt verify alone"
_FP32 = f"build fp32 (t2s-rt build --precision fp32) unless t2s-rt verify passes; {_VERIFY}"


@dataclass(frozen=True)
class KnownFault:
    """One fault that was reported.

    Attributes:
        threads: where.
        releases: ranges of TensorRT releases, both ends included; an empty end is open.
        capabilities: compute capabilities of the reports' GPUs; empty where the fault was not
            tied to one.
        roles: graphs of ours that are like the reported model; empty means all that fly.
        precisions: of the graph; empty means any.
        form: a further condition on the graph.
        level: ``warning`` where our graph has the reported operators and types, ``note`` where it
            is only of the same kind as the reported model.
        what: what was seen.
        do: the way round it.
    """

    threads: tuple[str, ...]
    releases: tuple[tuple[Version, Version], ...]
    what: str
    do: str
    capabilities: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    form: Callable[[GraphFacts], bool] = lambda graph: True
    level: Level = "warning"

    def hits(self, release: Version, capabilities: Iterable[str], graph: GraphFacts) -> bool:
        """Whether it applies; GPUs whose capability is unknown are taken to be concerned."""
        known = set(capabilities)
        return (
            any(within(release, *span) for span in self.releases)
            and (not self.capabilities or not known or bool(known & set(self.capabilities)))
            and (not self.roles or graph.role in self.roles)
            and (not self.precisions or graph.precision in self.precisions)
            and self.form(graph)
        )


def _samples(graph: GraphFacts) -> bool:
    return graph.grid_sample


def _new_samples(graph: GraphFacts) -> bool:
    return graph.grid_sample and graph.opset >= 20


def _small_norms(graph: GraphFacts) -> bool:
    return not graph.float32_norms


def _tiny_vit(graph: GraphFacts) -> bool:
    return graph.architecture == "mobile_sam"


def _batches(graph: GraphFacts) -> bool:
    return graph.batches


KNOWN_FAULTS: tuple[KnownFault, ...] = (
    KnownFault(
        threads=("NVIDIA/TensorRT#4813", "lightly-ai/lightly-train#917"),
        releases=(((10, 13, 3), ()),),
        roles=("detector",),
        form=_samples,
        what="deformable attention through GridSample gives wrong boxes, in fp32 too (seen with "
        "10.13.3, 10.14.1 and 11.1, on sm_89 and sm_120; what lies between is taken to be alike)",
        do=f"export with --deformable gather, the form without GridSample; {_VERIFY}",
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT#4646",),
        releases=(((8,), ()),),
        form=_new_samples,
        what="GridSample of opset 20 is read as nearest neighbour",
        do="export at opset 17, or with --deformable gather",
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT#4837",),
        releases=(((10,), (11, 2)),),
        capabilities=("12.0",),
        roles=_ATTENTION,
        precisions=("fp16",),
        what="fused attention in fp16 and bf16 loses objects and invents others on sm_120; fp32 is "
        "exact (seen with SAM 3 up to 10.16.1; 11.3 accumulates attention in float32)",
        do=_FP32,
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT#4723",),
        releases=(((10, 3), (10, 3)),),
        roles=_ENCODERS,
        precisions=("fp16",),
        what="a ViT in fp16 gives one class everywhere on 10.3, the release of JetPack 6.1 and "
        "6.2; right on 8.6.1 (seen with DINOv3)",
        do=_FP32,
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT-Edge-LLM#105", "NVIDIA/TensorRT-Edge-LLM#151"),
        releases=(((10, 13), (10, 13)),),
        capabilities=("11.0",),
        roles=_ATTENTION,
        what="products q, k and v behind one layer norm are fused wrongly at batch 1 on Thor with "
        "10.13.3.9, the release of JetPack 7.0 and 7.1 (seen with language models)",
        do='build with __LUNOWUD="-peep:fc_h_fusion=off" in the environment, or use JetPack 7.2; '
        f"{_VERIFY}",
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT#4820",),
        releases=(((10, 13), (10, 13)),),
        capabilities=("11.0",),
        precisions=("fp16",),
        level="note",
        what="a detector in fp16 differs much on Thor with 10.13, not with 10.3 (seen with "
        "YOLOv10); fp32 agrees",
        do=_FP32,
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT#3413", "open-mmlab/mmdetection#11342"),
        releases=(((8, 6), (8, 6)),),
        roles=("detector",),
        precisions=("fp16",),
        what="Grounding DINO in fp16 is wrong on 8.6.1; with encoder and decoder in fp32 it is "
        "right",
        do=_FP32,
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT#3652", "lyuwenyu/RT-DETR#222"),
        releases=(((8, 6), (8, 6)),),
        capabilities=("8.0", "8.6", "8.7"),
        roles=("detector",),
        precisions=("fp16",),
        level="note",
        what="RT-DETR in fp16 is right on sm_70 and wrong on sm_80 and sm_86 with 8.6",
        do=_FP32,
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT-LLM#3223",),
        releases=(((8,), (9,)),),
        roles=_ENCODERS,
        precisions=("fp16",),
        level="note",
        what="a vision tower in fp16 reached a cosine of 0.14 with weak typing and 0.9997 with "
        "strong typing on 10.16; releases before 10 have weak typing only",
        do=_FP32,
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT#2922", "NVIDIA/TensorRT#3101", "NVIDIA/TensorRT#2564",
                 "mit-han-lab/efficientvit#142"),
        releases=(((8,), ()),),
        precisions=("fp16",),
        form=_small_norms,
        what="layer norms in fp16 overflow",
        do="export again: this t2s-rt keeps norms in float32 inside fp16 graphs",
    ),
    KnownFault(
        threads=("NVIDIA-AI-IOT/nanosam, README",),
        releases=(((8,), ()),),
        roles=("mask_encoder",),
        precisions=("fp16",),
        form=_tiny_vit,
        what="MobileSAM's image encoder in fp16 gave wrong masks",
        do=_FP32,
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT#4853",),
        releases=(((10, 11), (10, 11)), ((11, 1), (11, 1))),
        roles=_ATTENTION,
        form=_batches,
        level="note",
        what="a SegFormer is wrong for every batch above 1, in any precision (10.11 and 11.1)",
        do=f"{_VERIFY}; or build for one image at a time",
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT#3777",),
        releases=(((10, 0, 0), (10, 0, 0)),),
        roles=_ATTENTION,
        what="fused attention (_gemm_mha_v2) differs in 10.0.0 (early access)",
        do="use 10.0.1 or later",
    ),
    KnownFault(
        threads=("NVIDIA/TensorRT#3908",),
        releases=(((10, 0, 1), (10, 0, 1)),),
        roles=("clip_image", "clip_dense", "clip_patches"),
        precisions=("fp16",),
        level="note",
        what="SigLIP in fp16 loses accuracy on 10.0.1",
        do=_FP32,
    ),
    KnownFault(
        threads=("Peterande/D-FINE#44",),
        releases=(((8,), ()),),
        capabilities=("8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "10.3", "11.0", "12.0", "12.1"),
        roles=("detector",),
        precisions=("fp32",),
        level="note",
        what="TensorRT computes fp32 products in TF32 from Ampere on; a DETR was wrong with it",
        do=f"{_VERIFY}",
    ),
)  # fmt: skip
"""From the most to the least certain to concern a bundle of ours."""


def faults_of(
    release: Version, capabilities: Iterable[str], graphs: Iterable[GraphFacts]
) -> Iterator[tuple[KnownFault, list[GraphFacts]]]:
    """Faults that may meet these graphs, each with the graphs it concerns.

    Args:
        release: of TensorRT, as exact as known.
        capabilities: of the GPUs, e.g. ``{"8.7"}``; empty where unknown.
        graphs: those that an engine would be built from.
    """
    listed, known = list(graphs), frozenset(capabilities)
    for fault in KNOWN_FAULTS:
        if hit := [graph for graph in listed if fault.hits(release, known, graph)]:
            yield fault, hit
