"""Engines built with the doubles of 10.3, 10.13 and 11.4: what they are told and what is said."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.doubles import Control, DeviceInfo, tensorrt_double

from t2s_engines.build.builder import Watch, build_engine
from t2s_engines.build.phases import Phases
from t2s_engines.build.plan import PlannedEngine, make_plan
from t2s_engines.build.release import Release
from t2s_engines.build.timing import TimingCache
from t2s_engines.build.work import Result, Workshop
from t2s_rt.backends import open_session
from t2s_rt.backends.options import BackendOptions
from t2s_rt.backends.tensorrt.library import load_library
from t2s_rt.backends.tensorrt.session import TensorRtSession
from t2s_rt.bundle import Bundle
from t2s_rt.errors import BackendError, MissingExtraError
from t2s_rt.plans import BuildOptions, EngineCache, input_profiles

onnx = pytest.importorskip("onnx", reason="the doubles read graphs with onnx")

Planned = Callable[..., PlannedEngine]
TYPED = ("10.3", "10.13", "11.4")
ROLES = ("clip_image", "mask_decoder")


class Recorder:
    """Progress that only remembers."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.notes: list[str] = []
        self.parts: list[float] = []
        self.ended = 0

    def begin(self, label: str, steps: bool) -> None:
        self.begun.append(label)

    def step(self, phases: Phases) -> None:
        self.parts.append(phases.fraction())

    def note(self, text: str) -> None:
        self.notes.append(text)

    def end(self) -> None:
        self.ended += 1


@pytest.fixture(params=TYPED)
def double(request: pytest.FixtureRequest) -> Iterator[Control]:
    with tensorrt_double(request.param) as control:
        yield control


def build(
    nano: Bundle, root: Path, *roles: str, force: bool = False, precision: str = "auto", **wish: Any
) -> tuple[list[Result], Recorder]:
    told = Recorder()
    shop = Workshop.open(EngineCache(root), told)
    plan = make_plan(nano, shop.release, BuildOptions(**wish), precision, roles or ROLES)
    return list(shop.build(plan, force)), told


def test_networks_are_strongly_typed_in_every_release(
    double: Control, nano: Bundle, tmp_path: Path
) -> None:
    for precision in ("fp32", "fp16"):
        build(nano, tmp_path, precision=precision)
    assert len(double.builds) == 4
    for made in double.builds:
        assert made["plan"].strongly_typed
        # STRONGLY_TYPED is 1 up to 10 and 0 in 11; its bit alone is set
        assert made["network"].flags == (1 if double.release.startswith("11") else 2)
        assert made["plan"].flags == []  # TF32 is on by default


def test_profiles_are_what_the_runtime_asks_for(
    double: Control, nano: Bundle, tmp_path: Path
) -> None:
    for role, batch in (("mask_decoder", None), ("mask_encoder", 2)):
        (result,), _ = build(nano, tmp_path, role, batch=batch)
        (profile,) = double.builds[-1]["plan"].profiles
        wanted = input_profiles(result.engine.entry, batch)
        assert profile == {p.name: (p.least, p.usual, p.greatest) for p in wanted}


def test_the_sidecar_says_for_what(double: Control, nano: Bundle, tmp_path: Path) -> None:
    (result,), told = build(nano, tmp_path, "clip_image")
    files = result.stored.engine
    files.check_plan()
    assert files.sidecar.key["tensorrt"] == double.release
    assert files.sidecar.builder.endswith(f"TensorRT {double.release}")
    assert told.begun == ["clip_image fp16"] and told.ended == 1
    assert told.parts == sorted(told.parts) and told.parts[0] > 0 and told.parts[-1] == 1.0


def test_what_is_there_is_kept_and_force_builds_it_anew(
    double: Control, nano: Bundle, tmp_path: Path
) -> None:
    first, _ = build(nano, tmp_path)
    again, told = build(nano, tmp_path)
    assert [result.stored.built for result in (*first, *again)] == [True, True, False, False]
    assert told.begun == [] and len(double.builds) == 2
    forced, _ = build(nano, tmp_path, force=True)
    assert all(result.stored.built for result in forced) and len(double.builds) == 4


def timed(double: Control) -> list[str]:
    """Count from now on the tactics that the builder really times."""
    slept: list[str] = []
    whole = double.step

    def step(phase: str, number: int, sleep: bool = True) -> None:
        if phase == "Tactic selection" and sleep:
            slept.append(phase)
        whole(phase, number, sleep)

    vars(double)["step"] = step
    return slept


def test_the_second_build_reads_what_the_first_measured(
    double: Control, nano: Bundle, tmp_path: Path
) -> None:
    slept = timed(double)
    build(nano, tmp_path)
    measured = len(slept)
    assert measured > 0
    build(nano, tmp_path, force=True)
    assert len(slept) == measured
    (cache,) = (tmp_path / "timing").iterdir()
    assert cache.name.endswith(f".sm_87.{cache.name.split('.')[2]}.{double.release}.cache")


def test_builds_that_ran_meanwhile_keep_their_timings(
    double: Control, nano: Bundle, tmp_path: Path
) -> None:
    build(nano, tmp_path, "clip_image")
    (path,) = (tmp_path / "timing").iterdir()
    earlier = path.read_bytes()
    path.unlink()

    def meanwhile(phase: str, step: int) -> None:
        path.write_bytes(earlier)

    double.on_step = meanwhile
    build(nano, tmp_path, "mask_decoder")
    double.on_step = None
    slept = timed(double)
    build(nano, tmp_path, force=True)
    assert slept == []


@pytest.mark.parametrize("content", [b"", b"rubbish", b"TRTCACHE\x01 cut off"])
def test_a_damaged_timing_cache_is_replaced(nano: Bundle, tmp_path: Path, content: bytes) -> None:
    with tensorrt_double("10.13"):
        build(nano, tmp_path, "clip_image")
        (path,) = (tmp_path / "timing").iterdir()
        whole = path.read_bytes()
        path.write_bytes(content)
        (result,), _ = build(nano, tmp_path, "clip_image", force=True)
        assert result.stored.built
        assert path.read_bytes() == whole


def test_timing_caches_are_kept_apart_by_device_and_release(nano: Bundle, tmp_path: Path) -> None:
    infos = (None, DeviceInfo(sm_count=8))
    for release in TYPED:
        for info in infos:
            with tensorrt_double(release, info=info):
                build(nano, tmp_path, "clip_image")
    assert len(list((tmp_path / "timing").iterdir())) == len(TYPED) * len(infos)
    assert len(list(tmp_path.glob("clip_image.*"))) == len(TYPED) * len(infos)


def test_a_timing_cache_that_cannot_be_saved_fails_no_build(nano: Bundle, tmp_path: Path) -> None:
    (tmp_path / "timing").write_text("a file, where a folder should be")
    with tensorrt_double("10.13"):
        (result,), told = build(nano, tmp_path, "clip_image")
    assert result.stored.built
    assert "timing cache could not be saved" in result.stored.engine.sidecar.notes[0]
    assert "timing cache could not be saved" in told.notes[0]


def test_options_reach_the_builder(double: Control, nano: Bundle, tmp_path: Path) -> None:
    build(
        nano,
        tmp_path,
        "clip_image",
        workspace=256 << 20,
        optimization_level=5,
        hardware_compatibility="ampere_plus",
        version_compatible=True,
    )
    made = double.builds[-1]
    assert made["plan"].level == 5 and made["plan"].hardware == "AMPERE_PLUS"
    assert made["plan"].version_compatible and made["plan"].lean_runtime
    import tensorrt as trt

    assert made["config"].get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 256 << 20


def test_one_compute_capability(nano: Bundle, tmp_path: Path) -> None:
    with tensorrt_double("10.13") as double:
        build(nano, tmp_path, "clip_image", hardware_compatibility="same_compute_capability")
        assert double.builds[-1]["plan"].hardware == "SAME_COMPUTE_CAPABILITY"


def test_stripped_plans_are_small_and_compute_the_same_once_refitted(
    double: Control, nano: Bundle, tmp_path: Path
) -> None:
    feeds = {"image": np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)}
    answers, sizes = [], []
    for strip in (False, True):
        root = tmp_path / str(strip)
        (result,), _ = build(nano, root, "clip_image", strip_weights=strip)
        sizes.append(result.stored.engine.sidecar.plan_bytes)
        options = BackendOptions(engines=root, allow_unverified=True)
        with TensorRtSession(result.engine.entry, options) as session:
            answers.append(session.run(feeds)["embeddings"])
    assert {"STRIP_PLAN", "REFIT_IDENTICAL"} <= set(double.builds[-1]["plan"].flags)
    assert sizes[1] < sizes[0] / 5
    np.testing.assert_array_equal(answers[0], answers[1])
    with open_session(nano.graph("clip_image", "fp32"), "onnxruntime-cpu") as oracle:
        wanted = oracle.run(feeds)["embeddings"]
    cosine = (answers[0] * wanted).sum(axis=1)
    assert cosine.min() > 0.999


# what goes wrong


def direct(engine: PlannedEngine, root: Path) -> None:
    """Build past the preflight, as where onnx is not installed."""
    library = load_library()
    release = Release.parse(library.version)
    from t2s_rt.backends.tensorrt.cuda import Cuda
    from t2s_rt.backends.tensorrt.device import device_identity

    timing = TimingCache(root, device_identity(Cuda.load()), library.version)
    watch = Watch(threading.Event(), lambda phases: None)
    build_engine(library, engine, release, timing, watch)


@pytest.fixture
def foreign(planned: Planned, tmp_path: Path) -> PlannedEngine:
    """A graph with an operator that no release knows."""
    from onnx import TensorProto, helper

    names = ("image", "middle", "embeddings")
    kinds = [TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT]
    values = [
        helper.make_tensor_value_info(name, kind, [1, 3, 3])
        for name, kind in zip(names, kinds, strict=True)
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["image"], ["middle"], name="head/Relu"),
            helper.make_node("Det", ["middle"], ["embeddings"], name="head/Det"),
        ],
        "g",
        [values[0]],
        [values[2]],
    )
    path = tmp_path / "foreign.onnx"
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    )
    engine = planned(precision="fp32")
    return dataclasses.replace(engine, entry=dataclasses.replace(engine.entry, path=path))


@pytest.mark.parametrize(
    ("release", "where"), [*((name, "Det 'head/Det'") for name in TYPED), ("8.6", "node number 1")]
)
def test_a_refused_graph_names_the_node(
    foreign: PlannedEngine, tmp_path: Path, release: str, where: str
) -> None:
    with tensorrt_double(release) as double:
        with pytest.raises(BackendError) as refused:
            direct(foreign, tmp_path)
        assert f"TensorRT {double.release} cannot import" in str(refused.value)
    text = str(refused.value)
    assert f"{where}: No importer registered for op: Det (UNSUPPORTED_NODE)" in text
    assert "choose another --precision" in text


def test_the_preflight_refuses_it_before_tensorrt_does(
    foreign: PlannedEngine, nano: Bundle, tmp_path: Path
) -> None:
    bundle = dataclasses.replace(nano, graphs=(foreign.entry,))
    with tensorrt_double("10.13") as double:
        with pytest.raises(BackendError, match=r"Det in 'head/Det'"):
            build(bundle, tmp_path, "clip_image", precision="fp32")
        assert double.builds == []


def test_a_graph_that_is_not_what_the_manifest_says(planned: Planned, tmp_path: Path) -> None:
    engine = planned()
    alien = dataclasses.replace(engine, entry=dataclasses.replace(engine.entry, inputs=()))
    with (
        tensorrt_double("10.13"),
        pytest.raises(BackendError, match="as bundle.json says, found image"),
    ):
        direct(alien, tmp_path)


def test_missing_weights_beside_a_graph(planned: Planned, tmp_path: Path) -> None:
    engine = planned()
    path = tmp_path / "moved.onnx"
    path.write_bytes(engine.entry.path.read_bytes())
    moved = dataclasses.replace(engine, entry=dataclasses.replace(engine.entry, path=path))
    with (
        tensorrt_double("10.13"),
        pytest.raises(BackendError, match=r"cannot import .*the graph: Failed to open file"),
    ):
        direct(moved, tmp_path)


def test_without_a_driver(nano: Bundle, tmp_path: Path) -> None:
    with tensorrt_double("10.13") as double:
        double.no_driver = True
        with pytest.raises(BackendError) as refused:
            build(nano, tmp_path, "clip_image")
    text = str(refused.value)
    assert "cannot make its builder" in text and "returned nullptr" in text
    assert "run t2s-rt doctor" in text


def test_a_failed_build_quotes_tensorrt(double: Control, nano: Bundle, tmp_path: Path) -> None:
    double.fails = "Could not find any implementation for node {ForeignNode}"
    with pytest.raises(BackendError) as refused:
        build(nano, tmp_path, "clip_image")
    text = str(refused.value)
    assert f"clip_image fp16: TensorRT {double.release} cannot build" in text
    assert "Could not find any implementation" in text and "--workspace" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == []


def test_engines_that_were_finished_stay_when_a_later_one_fails(
    nano: Bundle, tmp_path: Path
) -> None:
    with tensorrt_double("10.13") as double:

        def second(phase: str, step: int) -> None:
            double.fails = "no"

        double.on_step = second
        with pytest.raises(BackendError, match="clip_image"):
            build(nano, tmp_path)
        double.on_step, double.fails = None, ""
        results, _ = build(nano, tmp_path)
    assert [result.stored.built for result in results] == [False, True]


def test_without_tensorrt(nano: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtraError) as refused:
        build(nano, tmp_path)
    assert refused.value.extra == "tensorrt"


def test_a_changed_sidecar_is_refused_by_name_and_built_again(nano: Bundle, tmp_path: Path) -> None:
    with tensorrt_double("10.13"):
        (result,), _ = build(nano, tmp_path, "clip_image")
        path = result.stored.engine.folder / "engine.json"
        record = json.loads(path.read_text())
        record["key"]["tensorrt"] = "10.13.0.1"
        path.write_text(json.dumps(record))
        options = BackendOptions(engines=tmp_path, allow_unverified=True)
        with pytest.raises(BackendError, match=r'expected "10.13.3.9", found "10.13.0.1"'):
            TensorRtSession(result.engine.entry, options)
        (result,), told = build(nano, tmp_path, "clip_image")
        assert result.stored.built
        (note,) = told.notes
        assert 'tensorrt: expected "10.13.3.9", found "10.13.0.1"' in note
        with TensorRtSession(result.engine.entry, options) as session:
            assert session.outputs[0].name == "embeddings"
