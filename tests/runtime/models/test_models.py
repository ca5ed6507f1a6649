"""Opening models from a bundle: the right graphs, nothing else, closed in every case."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.bundle.tiny import QUERIES, write_tiny_bundle

from t2s_rt.backends import AutoBackend, Session, open_session
from t2s_rt.bundle import Bundle, GraphEntry, load_bundle
from t2s_rt.contracts import Role
from t2s_rt.errors import BackendError, BundleError, InternalError, UsageError
from t2s_rt.models import IMAGE_ROLES, Models, choose_graph
from t2s_rt.models import models as module
from t2s_rt.prompts import build_pack


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_tiny_bundle(tmp_path_factory.mktemp("tiny")))


def test_the_whole_way_through_onnx_runtime(tiny: Bundle) -> None:
    pack = build_pack(tiny, "building; road: street; tree")
    image = np.full((32, 32, 3), 51, np.uint8)
    with Models.open(tiny, threads=1) as models:
        assert models.detector and models.segmenter and models.clip
        found = models.detector.detect(image, pack)
        embedding = models.segmenter.encode(image)
        masks = models.segmenter.decode_boxes(embedding, np.array([[4.5, 4.5, 8.5, 8.5]]))
        dense = models.clip.dense(image)
        crops = models.clip.embed([image, image[:7]])
    logits = QUERIES[0] @ pack.text_features[0].T + 51 / 255
    best = np.stack(
        [
            np.concatenate([logits[:, start:end] for start, end in group], axis=1).max(axis=1)
            for group in pack.spans
        ],
        axis=1,
    )
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-best)), atol=1e-5)
    np.testing.assert_allclose(found.boxes[1], [0, 0, 16, 32], atol=1e-4)
    assert isinstance(embedding.array, np.ndarray)
    np.testing.assert_allclose(embedding.array, 51)
    np.testing.assert_allclose(masks.iou, [[6]], atol=1e-5)
    assert dense.patch.shape == (8, 8, 3)
    np.testing.assert_allclose(crops, 3**-0.5, atol=1e-6)


def test_only_what_is_asked_for_is_opened(tiny: Bundle) -> None:
    roles: tuple[Role, ...] = ("clip_dense",)
    with Models.open(tiny, roles=roles, threads=1) as models:
        assert models.detector is None and models.segmenter is None and models.clip is not None
        assert [session.entry.role for session in models.sessions] == ["clip_dense"]
        assert [line.split()[0] for line in models.describe()] == ["clip_dense"]
        session = models.sessions[0]
    assert session.closed


def test_text_encoders_are_never_opened(tiny: Bundle) -> None:
    with Models.open(tiny, threads=1) as models:
        roles = [session.entry.role for session in models.sessions]
    assert roles == [role for role in IMAGE_ROLES if role != "clip_patches"]


def test_the_local_decoder_comes_with_the_decoder_where_there_is_one(tiny: Bundle) -> None:
    roles: tuple[Role, ...] = ("mask_encoder", "mask_decoder")
    with Models.open(tiny, roles=roles, threads=1) as models:
        opened = [session.entry.role for session in models.sessions]
    assert opened == ["mask_encoder", "mask_decoder", "mask_decoder_local"]
    others = tuple(g for g in tiny.graphs if g.role != "mask_decoder_local")
    without = dataclasses.replace(tiny, graphs=others)
    with Models.open(without, roles=roles, threads=1) as models:
        assert [session.entry.role for session in models.sessions] == list(roles)


def test_patches_alone_come_from_their_own_graph_where_there_is_one(tiny: Bundle) -> None:
    image = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    roles: tuple[Role, ...] = ("clip_patches",)
    found = []
    others = tuple(g for g in tiny.graphs if g.role != "clip_patches")
    for bundle, role in (
        (tiny, "clip_patches"),
        (dataclasses.replace(tiny, graphs=others), "clip_dense"),
    ):
        with Models.open(bundle, roles=roles, threads=1) as models:
            assert [session.entry.role for session in models.sessions] == [role]
            assert models.clip is not None
            found.append(models.clip.dense(image))
    np.testing.assert_array_equal(found[0].patch, found[1].patch)
    assert found[1].dual_path()[0].shape == found[1].patch.shape
    with pytest.raises(InternalError, match="name clip_dense in Models.open"):
        found[0].dual_path()


def test_a_failure_half_way_closes_what_was_open(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Session] = []
    real = open_session

    def flaky(entry: GraphEntry, backend: AutoBackend, **more: Any) -> Session:
        if entry.role == "clip_dense":
            raise BackendError("out of memory")
        opened.append(real(entry, backend, **more))
        return opened[-1]

    monkeypatch.setattr(module, "open_session", flaky)
    with pytest.raises(BackendError, match="out of memory"):
        Models.open(tiny, threads=1)
    assert len(opened) == 5 and all(session.closed for session in opened)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (("mask_encoder",), "together"),
        (("mask_decoder", "detector"), "together"),
        (("clip_text",), "found clip_text"),
    ],
)
def test_unfit_sets_of_roles(tiny: Bundle, roles: tuple[Role, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Models.open(tiny, roles=roles)


def test_precision_auto(tiny: Bundle) -> None:
    assert choose_graph(tiny, "detector") == (tiny.graph("detector"), "auto: fp32 on a CPU")
    assert choose_graph(tiny, "detector", "auto", "gpu")[1] == "auto: the bundle has no fp16"
    half = dataclasses.replace(tiny.graph("detector"), precision="fp16")
    both = dataclasses.replace(tiny, graphs=(*tiny.graphs, half))
    assert choose_graph(both, "detector", "auto", "gpu") == (half, "auto: fp16 on a GPU")
    assert choose_graph(both, "detector", "auto", "cpu")[0].precision == "fp32"
    assert choose_graph(both, "detector", "fp16") == (half, "asked for")


def test_precisions_that_are_not_there(tiny: Bundle) -> None:
    with pytest.raises(BundleError, match="expected detector in fp16, found fp32"):
        Models.open(tiny, "fp16")
    with pytest.raises(UsageError, match="auto, fp32, fp16, int8, found 'fp8'"):
        Models.open(tiny, "fp8")


def test_int8_on_a_cpu_takes_the_graph_made_for_it(tiny: Bundle) -> None:
    entry = tiny.graph("detector")
    ints = [dataclasses.replace(entry, precision="int8", target=t) for t in ("tensorrt", "cpu")]
    both = dataclasses.replace(tiny, graphs=(*tiny.graphs, *ints))
    assert choose_graph(both, "detector", "int8", "cpu")[0].target == "cpu"
    # of the roles that calibration left out, what auto would take
    assert choose_graph(both, "mask_decoder", "int8", "cpu")[0].precision == "fp32"
    assert choose_graph(both, "mask_decoder", "int8", "cpu")[1] == "int8 was not made of it"
    only = dataclasses.replace(tiny, graphs=(*tiny.graphs, ints[0]))
    with pytest.raises(BundleError, match="int8 for cpu"):
        choose_graph(only, "detector", "int8", "cpu")


def test_a_missing_bundle_file_is_found_before_models_open(tmp_path: Path) -> None:
    root = write_tiny_bundle(tmp_path)
    (root / "detector.fp32.onnx").unlink()
    with pytest.raises(BundleError, match="missing"):
        load_bundle(root)
