"""``bench run``, ``compare`` and ``versus``: records, what a device tells, and what grew."""

from __future__ import annotations

import copy
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from t2s_bench.cli import bench
from t2s_bench.errors import RegressionError
from t2s_bench.speed.compare import changes, differences, load_record
from t2s_bench.speed.device import EnergyMeter, device_state, gpu_memory_bytes
from t2s_bench.speed.samples import interleaved, latency, ratio_interval, summary
from t2s_bench.speed.versus import parse_side
from t2s_rt.errors import UsageError
from t2s_rt.routes import ROUTES


def _invoke(*words: object) -> Result:
    return CliRunner().invoke(bench, [str(word) for word in words])


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("speed")
    result = _invoke(
        "run", "--size", 128, "--repeat", 2, "-o", folder / "a.json", "--chart", folder / "a.png"
    )
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(folder / "a.png")) is not None
    for part in ("engine only", "km² a second", "boxes of one tile", "route fused"):
        assert part in result.output
    found: dict[str, Any] = json.loads((folder / "a.json").read_text())
    return found


def test_a_record_holds_every_part(record: dict[str, Any]) -> None:
    assert (record["kind"], record["schema_version"]) == ("speed", 1)
    assert set(record["routes"]) == set(ROUTES)
    for counts in record["routes"].values():
        one, seven, all_known = sorted(map(int, counts))
        assert (one, seven) == (1, 7) and 7 < all_known <= 30
    assert sorted(map(int, record["decoder_boxes"])) == [1, 20, 200]
    assert {"detector", "mask_encoder", "mask_decoder", "clip_patches"} <= set(record["graphs"])
    latencies = [*record["graphs"].values(), *record["decoder_boxes"].values()]
    latencies += [one for counts in record["routes"].values() for one in counts.values()]
    for one in latencies:
        assert one["samples"] == 2
        assert 0 < one["fastest_s"] <= one["p50_s"] <= one["p95_s"] <= one["p99_s"]
    assert {"read", "detector", "mask_encoder", "clip"} <= set(record["scene"]["stages_s"])


def test_a_record_does_not_regress_against_itself(record: dict[str, Any], tmp_path: Path) -> None:
    old, new, slow = (tmp_path / f"{name}.json" for name in ("old", "new", "slow"))
    old.write_text(json.dumps(record))
    assert _invoke("compare", old, old).exit_code == 0
    worse = copy.deepcopy(record)
    worse["graphs"]["detector"]["p50_s"] *= 3
    worse["machine"]["cpu"] = "another"
    slow.write_text(json.dumps(worse))
    result = _invoke("compare", old, slow)
    assert isinstance(result.exception, RegressionError) and result.exception.exit_code == 5
    assert "graphs / detector: 3.00 times" in str(result.exception)
    assert "not measured alike" in result.output and "another now" in result.output
    assert _invoke("compare", slow, old).exit_code == 0
    assert _invoke("compare", old, slow, "--tolerance", 5).exit_code == 0
    new.write_text("[]")
    assert "expected a record" in str(_invoke("compare", old, new).exception)
    assert "expected a record" in str(_invoke("compare", tmp_path / "none.json", new).exception)


def test_every_figure_is_compared_once(record: dict[str, Any]) -> None:
    found = changes(record, record)
    names = [change.name for change in found]
    assert len(names) == len(set(names))
    expected = len(record["graphs"]) + len(record["decoder_boxes"])
    expected += sum(len(counts) for counts in record["routes"].values()) + 3
    assert len(found) == expected
    assert all(change.ratio == 1.0 and not change.regressed for change in found)
    with pytest.raises(UsageError, match="a figure in common"):
        changes(record, {"graphs": {}})


def test_what_scatters_may_grow_by_as_much(record: dict[str, Any]) -> None:
    wide = copy.deepcopy(record)
    middle = wide["scene"]["p50_s"]
    wide["scene"]["warm_s"] = [0.6 * middle, middle, 1.4 * middle]
    wide["scene"]["p50_s"] = 1.3 * middle
    (scene,) = (c for c in changes(record, wide) if c.name == "scene, warm")
    assert scene.ratio == pytest.approx(1.3) and not scene.regressed


def test_other_versions_are_told(record: dict[str, Any]) -> None:
    other = copy.deepcopy(record)
    other["machine"]["versions"] = {"onnxruntime": "0.1"}
    other["scene"]["size"] = 64
    told = differences(record, other)
    assert len(told) == 2 and any("0.1" in line for line in told)
    assert differences(record, record) == []


def test_records_of_other_versions_are_refused(record: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**record, "schema_version": 9}))
    with pytest.raises(UsageError, match="expected schema_version 1, found 9"):
        load_record(path)


def test_two_settings_in_turn(tmp_path: Path) -> None:
    result = _invoke(
        "versus", "--first", "threads=1", "--second", "threads=1,precision=fp32", "--route",
        "dense", "--repeat", 3, "-o", tmp_path / "v.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "v.json").read_text())
    assert len(found["first"]["times_s"]) == len(found["second"]["times_s"]) == 3
    low, high = found["ratio_95"]
    assert 0 < low <= found["ratio"] <= high
    assert "95 % interval" in result.output


@pytest.mark.parametrize("text", ["mars=1", "threads", "threads=0", "threads=x", "precision="])
def test_settings_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        parse_side(text)
    assert parse_side(" threads=2 , backend=auto") == {"threads": "2", "backend": "auto"}


def test_parts_and_repeats_are_checked() -> None:
    assert "expected parts out of" in str(_invoke("run", "--parts", "moon").exception)
    assert _invoke("run", "--repeat", 0).exit_code == 2


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_percentiles_lie_in_order(times: list[float]) -> None:
    found = summary(times)
    assert found["fastest_s"] <= found["p50_s"] <= found["p95_s"] <= found["p99_s"] <= max(times)
    assert found["samples"] == len(times)


def test_turns_alternate_and_their_ratio_is_found() -> None:
    order: list[str] = []
    times = interleaved(lambda: order.append("a"), lambda: order.append("b"), 4)
    assert "".join(order) == "ab" + "abba" * 2 and [len(t) for t in times] == [4, 4]
    rng = np.random.default_rng(1)
    first = rng.uniform(0.9, 1.1, 50)
    ratio, low, high = ratio_interval(first.tolist(), (first * 2).tolist())
    assert ratio == low == high == pytest.approx(2)
    noisy = ratio_interval(first.tolist(), rng.uniform(1.8, 2.2, 50).tolist())
    assert 1.8 < noisy[1] < noisy[0] < noisy[2] < 2.2
    assert latency(lambda: None, 3)["samples"] == 3


def test_energy_of_the_processors_counters(tmp_path: Path) -> None:
    for package, joules in (("intel-rapl:0", 5.0), ("intel-rapl:1", 7.0), ("intel-rapl:0:0", 1.0)):
        counter = tmp_path / "class/powercap" / package / "energy_uj"
        counter.parent.mkdir(parents=True)
        counter.write_text(str(joules * 1e6))
    meter = EnergyMeter(tmp_path)
    assert meter.source is not None and "RAPL" in meter.source
    with meter.running():
        (tmp_path / "class/powercap/intel-rapl:0/energy_uj").write_text("9e6")
        (tmp_path / "class/powercap/intel-rapl:1/energy_uj").write_text("8e6")
    # the third is a part of the first, which holds it already
    assert meter.joules == pytest.approx(5.0)
    with meter.running():  # a counter that began anew
        (tmp_path / "class/powercap/intel-rapl:0/energy_uj").write_text("1e6")
    assert meter.joules is None


def test_energy_of_a_jetsons_rails(tmp_path: Path) -> None:
    folder = tmp_path / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    folder.mkdir(parents=True)
    for number, (millivolts, milliamperes) in enumerate(((5000, 1000), (20000, 250)), 1):
        (folder / f"in{number}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{number}_input").write_text(f"{milliamperes}\n")
    meter = EnergyMeter(tmp_path)
    assert meter.source is not None and "INA3221" in meter.source
    start = time.perf_counter()
    with meter.running():
        time.sleep(0.35)
    spent = time.perf_counter() - start
    assert meter.joules is not None and 10.0 * 0.3 <= meter.joules <= 10.0 * spent


def test_a_device_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    meter = EnergyMeter(tmp_path)
    with meter.running():
        pass
    assert (meter.source, meter.joules) == (None, None)
    assert device_state(tmp_path) == {} and gpu_memory_bytes() is None


def test_an_nvidia_gpu_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\ncase \"$1\" in\n*memory.used*) echo '1234 MiB';;\n"
        "*power.draw*) echo '70.5 W';;\n"
        "*) echo 'GPU, P0, 1980 MHz, 2619 MHz, 700.00 W';;\nesac\n"
    )
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert gpu_memory_bytes() == 1234 * 2**20
    assert device_state(tmp_path)["gpu"] == "GPU, P0, 1980 MHz, 2619 MHz, 700.00 W"
    meter = EnergyMeter(tmp_path)
    assert meter.source == "nvidia-smi, the GPU alone"
    with meter.running():
        time.sleep(0.25)
    assert meter.joules is not None and meter.joules > 0
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert gpu_memory_bytes() is None and EnergyMeter(tmp_path).source is None


def test_clocks_are_read(tmp_path: Path) -> None:
    clocks = tmp_path / "devices/system/cpu/cpu0/cpufreq"
    clocks.mkdir(parents=True)
    for name, value in (("scaling_governor", "performance"), ("scaling_cur_freq", "3200000")):
        (clocks / name).write_text(f"{value}\n")
    (clocks / "cpuinfo_max_freq").write_text("unknown")
    found = device_state(tmp_path)
    assert found["governor"] == "performance" and found["cpu_mhz"] == pytest.approx(3200)
    assert "cpu_max_mhz" not in found
