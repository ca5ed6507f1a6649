"""What is planned: roles, precisions, profiles, keys; and what a release does not have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from tests.engines.build.conftest import ORIN

from t2s_engines.build.plan import PlannedEngine, make_plan
from t2s_engines.build.release import Release
from t2s_rt.bundle import Bundle
from t2s_rt.contracts import TEXT_ROLES
from t2s_rt.errors import BackendError, BundleError, T2SError, UsageError
from t2s_rt.limits import TILES_PER_CALL
from t2s_rt.models import IMAGE_ROLES
from t2s_rt.plans import BuildOptions

Planned = Callable[..., PlannedEngine]
TEN = Release.parse("10.3")


def test_all_that_sees_pixels_is_planned_in_float16_and_no_text_encoder(nano: Bundle) -> None:
    plan = make_plan(nano, TEN, BuildOptions())
    assert [engine.entry.role for engine in plan.engines] == list(IMAGE_ROLES)
    assert {engine.entry.precision for engine in plan.engines} == {"fp16"}
    assert not {engine.entry.role for engine in plan.engines} & set(TEXT_ROLES)


def test_auto_takes_float32_where_there_is_nothing_else(nano: Bundle) -> None:
    graphs = tuple(graph for graph in nano.graphs if graph.precision == "fp32")
    plan = make_plan(dataclasses.replace(nano, graphs=graphs), TEN, BuildOptions())
    assert {engine.entry.precision for engine in plan.engines} == {"fp32"}
    assert plan.engines[0].reason == "auto: the bundle has no fp16"


def test_int8_is_the_graph_for_tensorrt(nano: Bundle) -> None:
    base = nano.graph("clip_image", "fp32")
    both = tuple(
        dataclasses.replace(base, precision="int8", target=target, opset=opset)
        for target, opset in (("cpu", 17), ("tensorrt", 19))
    )
    bundle = dataclasses.replace(nano, graphs=(*nano.graphs, *both))
    plan = make_plan(bundle, TEN, BuildOptions(), "int8", ["clip_image"])
    assert plan.engines[0].entry.target == "tensorrt"
    with pytest.raises(BackendError, match="opset 17 or lower for TensorRT 8.6, found opset 19"):
        make_plan(bundle, Release.parse("8.6"), BuildOptions(), "int8", ["clip_image"])
    only_cpu = dataclasses.replace(nano, graphs=(*nano.graphs, both[0]))
    with pytest.raises(BundleError, match="int8 for tensorrt"):
        make_plan(only_cpu, TEN, BuildOptions(), "int8", ["clip_image"])


@pytest.mark.parametrize("roles", [["clip_text"], ["detectr"], [], ["detector", ""]])
def test_roles_that_no_engine_is_built_for(nano: Bundle, roles: list[str]) -> None:
    with pytest.raises(UsageError, match="never built"):
        make_plan(nano, TEN, BuildOptions(), roles=roles)


def test_a_batch_bounds_the_encoders_and_changes_no_other_key(planned: Planned) -> None:
    image = planned("mask_encoder").profiles[0]
    assert image.greatest[0] == TILES_PER_CALL
    assert planned("mask_encoder", batch=2).profiles[0].greatest[0] == 2
    for role, same in (("mask_encoder", False), ("detector", False), ("mask_decoder", True)):
        keys = {planned(role, batch=batch).key("10.13.3.9", ORIN).digest for batch in (None, 2)}
        assert (len(keys) == 1) == same, role


def test_only_dynamic_inputs_need_a_profile(planned: Planned) -> None:
    names = [profile.name for profile in planned("mask_decoder").dynamic]
    assert names == ["point_coords", "point_labels"]


@pytest.mark.parametrize(
    ("release", "options", "text"),
    [
        ("8.6", {"strip_weights": True}, "--strip-weights needs TensorRT 10"),
        ("10.3", {"hardware_compatibility": "same_compute_capability"}, "10.9 or later"),
    ],
)
def test_options_that_a_release_lacks(
    nano: Bundle, release: str, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        make_plan(nano, Release.parse(release), BuildOptions(**options))
    assert make_plan(nano, Release.parse("10.13"), BuildOptions(**options)).engines


@pytest.mark.parametrize(
    "change",
    [
        {"workspace": 1 << 30},
        {"optimization_level": 5},
        {"hardware_compatibility": "ampere_plus"},
        {"version_compatible": True},
        {"strip_weights": True},
    ],
)
def test_every_option_changes_the_key(planned: Planned, change: dict[str, Any]) -> None:
    keys = {planned(**options).key("10.13.3.9", ORIN).digest for options in ({}, change)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    "name", ["", "ten", "8.5", "8.60", "9.1", "10", "10.3.", "-10.3", "1" * 40 + ".1", "１０.3"]
)
def test_names_that_are_no_release_to_build_for(name: str) -> None:
    with pytest.raises(T2SError) as refused:
        Release.parse(name)
    assert refused.value.exit_code == 2 and "expected a TensorRT release" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "typed", "asked", "opset"),
    [
        ("8.6", False, False, 17),
        ("8.6.2.3", False, False, 17),
        ("10.3.0.30", True, True, 20),
        ("10.9", True, True, 22),
        ("10.13.3.9", True, True, 24),
        ("11.4.0.106", True, False, 24),
        ("10.0.0b6", True, True, 20),
    ],
)
def test_what_releases_can_do(name: str, typed: bool, asked: bool, opset: int) -> None:
    release = Release.parse(name)
    assert (release.strongly_typed, release.typing_is_asked, release.opset) == (typed, asked, opset)
