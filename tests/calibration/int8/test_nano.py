"""``calibrate int8`` on nano, whole: graphs, report, map, and the same graphs again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rasterio
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from onnx import numpy_helper

from t2s_calibration.int8 import role as one_role
from t2s_calibration.int8 import run as calibration
from t2s_calibration.int8.inputs import QUANTISABLE, calls_of
from t2s_calibration.int8.recipe import Recipe
from t2s_calibration.int8.samples import choose_tiles, look_of, spread_out
from t2s_rt.bundle import Bundle, load_bundle
from t2s_rt.cli.main import cli
from t2s_rt.errors import BundleError
from t2s_rt.models import Models, choose_graph
from t2s_rt.prompts import load_pack
from t2s_rt.synthetic.__main__ import write_folder

ROLES: Any = ("detector", "mask_encoder")
FEW = ("--images", 2, "--judged", 1)


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], standalone_mode=False)


def _weights(path: Path) -> list[NDArray[Any]]:
    return [numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    found = _run(
        "calibrate", "int8", "--roles", ",".join(ROLES), *FEW, "--budget", 0.95,
        "-o", folder / "bundle",
    )  # fmt: skip
    assert found.exception is None, found.output
    return folder / "bundle"


@pytest.fixture(scope="module")
def bundle(made: Path) -> Bundle:
    return load_bundle(made)


def test_every_graph_is_there_for_both_targets(bundle: Bundle) -> None:
    for role in ROLES:
        cpu, gpu = (bundle.graph(role, "int8", target) for target in ("cpu", "tensorrt"))
        assert (cpu.opset, gpu.opset) == (17, 19)
        kinds = {node.op_type for node in onnx.load(str(cpu.path)).graph.node}
        assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
        held, plain = _weights(cpu.path), _weights(load_bundle().graph(role, "fp32", "cpu").path)
        # the weights of its layers are a quarter of float32 ones; tables of places stay floats
        eights = sum(array.nbytes for array in held if array.dtype == np.int8)
        assert eights > 0.5 * sum(array.size for array in plain)
        assert cpu.path.stat().st_size < 0.75 * sum(4 * array.size for array in plain)
    assert bundle.text_fingerprint == load_bundle().text_fingerprint


def test_the_report_holds_what_was_judged(made: Path) -> None:
    record = json.loads((made / "calibration" / "report.json").read_text())
    assert len(record["graphs"]) == 2 * len(ROLES)
    for graph in record["graphs"]:
        means = [value for name, value in graph["figures"].items() if name.endswith("mean")]
        assert graph["met"] and means and min(means) >= 0.95
        assert graph["int8_share"] > 0.8
        assert (graph["milliseconds"] is not None) == (graph["target"] == "cpu")
    for whole in record["together"].values():
        assert whole["figures"]["label agreement mean"] > 0.95 and whole["passed"]
    page = (made / "calibration" / "report.md").read_text()
    assert re.search(r"\| mask_encoder \| cpu(, 7-bit weights)? \|", page)
    assert "not measured here" in page
    pictures = list((made / "calibration").glob("*/worst-*.png"))
    assert pictures and all(f"({p.parent.name}/{p.name})" in page for p in pictures)


def test_infer_maps_the_example_alike(made: Path, example_scene: Path, tmp_path: Path) -> None:
    maps = []
    for precision in ("fp32", "int8"):
        out = tmp_path / precision
        found = _run("infer", example_scene, "--bundle", made, "--precision", precision, "-o", out)
        assert found.exception is None, found.output
        with rasterio.open(out / "lakeside.labels.tif") as labels:
            maps.append(labels.read(1))
    assert 0.95 < float((maps[0] == maps[1]).mean()) < 1.0


def test_what_int8_was_not_made_of_stays_float(bundle: Bundle) -> None:
    entry, why = choose_graph(bundle, "mask_decoder", "int8", "cpu")
    assert entry.precision == "fp32" and "not made" in why
    assert choose_graph(bundle, "mask_decoder", "int8", "gpu")[0].precision == "fp16"
    with Models.open(bundle, "int8", roles=("detector", "mask_encoder", "mask_decoder")) as models:
        found = sorted(session.entry.precision for session in models.sessions)
    assert found.count("int8") == 2 and set(found) == {"fp32", "int8"}


def test_the_same_graphs_again_without_images(made: Path, bundle: Bundle, tmp_path: Path) -> None:
    found = _run("calibrate", "int8", "--rebuild", made, "-o", tmp_path / "again")
    assert found.exception is None, found.output
    again = load_bundle(tmp_path / "again")
    for role in ROLES:
        for target in ("cpu", "tensorrt"):
            one, two = (b.graph(role, "int8", target) for b in (bundle, again))
            assert one.path.read_bytes() == two.path.read_bytes()


def test_the_same_tiles_give_the_same_ranges(made: Path, tmp_path: Path) -> None:
    found = _run(
        "calibrate", "int8", "--roles", "mask_encoder", *FEW, "--target", "cpu",
        "-o", tmp_path / "again",
    )  # fmt: skip
    assert found.exception is None, found.output
    name = "mask_encoder.int8-cpu.onnx"
    assert (tmp_path / "again" / name).read_bytes() == (made / name).read_bytes()


def test_ranges_of_other_weights_are_refused(made: Path, tmp_path: Path) -> None:
    path = made / "int8" / "mask_encoder.cpu.json"
    recipe = Recipe.from_json(path.read_text(), path.name)
    assert recipe.to_json() == path.read_text()
    other = Recipe(
        recipe.role, recipe.scheme, "0" * 64, recipe.layers, recipe.ranges, recipe.smoothings
    )
    from t2s_calibration.int8.bundle import write_bundle

    with pytest.raises(BundleError, match="belong to other weights"):
        write_bundle(load_bundle(), tmp_path / "out", [other])
    with pytest.raises(BundleError, match="positive factors"):
        Recipe.from_json(path.read_text().replace('"factors": [', '"factors": [-1.0,', 1), "x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--roles", "mask_decoder"), "expected --roles out of detector"),
        (("--labelled", "nowhere", "."), "expected one of loveda"),
        (("nowhere.tif",), "nowhere.tif"),
    ],
)
def test_mistakes_cost_nothing(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    found = _run("calibrate", "int8", *arguments, "-o", tmp_path / "out")
    assert found.exit_code in (2, 4)
    assert message in found.output
    assert not list(tmp_path.iterdir())


def test_finished_work_is_not_overwritten(made: Path) -> None:
    found = _run("calibrate", "int8", "-o", made)
    assert "holds a bundle already; add --overwrite" in found.output
    found = _run("calibrate", "int8", "--bundle", made, "-o", made, "--overwrite")
    assert "another folder than the bundle's own" in found.output
    found = _run("calibrate", "int8", "-o", made / "calibration", "--overwrite")
    assert "found a folder with other files" in found.output
    found = _run("calibrate", "int8", "--rebuild", load_bundle().root, "-o", made.parent / "none")
    assert "calibrate it on scenes" in found.output


def test_a_loss_of_miou_tightens_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels have the last word: twice too much is lost, then the third graphs are taken."""
    write_folder(tmp_path / "scenes", 3, 1, 192, None)
    budgets: list[float] = []
    scores = iter([0.50, 0.40, 0.42, 0.495])
    monkeypatch.setattr(
        calibration, "judge_labelled", lambda *_, **__: {"miou": next(scores), "tiles": 1}
    )
    whole = one_role.recipes_of

    def noted(*arguments: Any) -> Any:
        budgets.append(arguments[4].budget)
        return whole(*arguments)

    monkeypatch.setattr(calibration, "recipes_of", noted)
    found = _run(
        "calibrate", "int8", "--roles", "clip_image", "--target", "cpu", *FEW,
        "--labelled", "synthetic", tmp_path / "scenes", "-o", tmp_path / "out",
    )  # fmt: skip
    assert found.exception is None, found.output
    assert budgets == pytest.approx([0.97, 0.985, 0.9925])
    record = json.loads((tmp_path / "out" / "calibration" / "report.json").read_text())
    assert record["labelled"]["loss"] == pytest.approx(0.005)
    assert "a loss of 0.50 points" in (tmp_path / "out" / "calibration" / "report.md").read_text()


def test_labelled_tiles_are_judged_by_the_pipeline(tmp_path: Path) -> None:
    write_folder(tmp_path / "scenes", 3, 2, 192, None)
    found = _run(
        "calibrate", "int8", "--roles", "clip_image", "--target", "cpu", *FEW,
        "--labelled", "synthetic", tmp_path / "scenes", "--loss", 1, "-o", tmp_path / "out",
    )  # fmt: skip
    assert found.exception is None, found.output
    labelled = json.loads((tmp_path / "out" / "calibration" / "report.json").read_text())[
        "labelled"
    ]
    assert labelled["tiles"] == 2 and 0.0 < labelled["int8"] < 1.0
    assert labelled["loss"] == pytest.approx(labelled["fp32"] - labelled["int8"])
    assert (tmp_path / "out" / "calibration" / "labelled" / "metrics.md").is_file()


def test_varied_tiles_are_chosen(tmp_path: Path) -> None:
    looks = np.array([[0.0], [0.1], [0.2], [9.0], [9.1], [-5.0]])
    assert spread_out(looks, 3) == [2, 4, 5]
    assert spread_out(looks, 9) == list(range(6))
    bundle = load_bundle()
    write_folder(tmp_path, 1, 3, 200, None)
    tiles = choose_tiles([tmp_path / "images"], bundle, 2)
    assert len(tiles) == 2 and len({tile.sha256 for tile in tiles}) == 2
    assert look_of(tiles[0].image).shape == look_of(tiles[1].image).shape


@pytest.mark.parametrize("role", QUANTISABLE)
def test_graphs_are_fed_what_the_runtime_feeds_them(role: Any) -> None:
    """The same calls as the runtime's own models make over recorded sessions."""
    from t2s_engines.verify.calls import Recorder
    from t2s_rt.backends import open_session
    from t2s_rt.models import ClipEncoder, Detector
    from t2s_rt.models.segmenter import Segmenter

    bundle = load_bundle()
    assert bundle.default_pack is not None
    pack = load_pack(bundle.default_pack, bundle)
    image = choose_tiles((), bundle, 1)[0].image[:, :400]
    entry = bundle.graph(role)
    found = calls_of(entry, image, pack)
    session = Recorder(open_session(entry, "onnxruntime-cpu"))
    with session:
        if role == "detector":
            Detector(session).detect(image, pack)
        elif role == "mask_encoder":
            with open_session(bundle.graph("mask_decoder"), "onnxruntime-cpu") as decoder:
                Segmenter(session, decoder).encode(image)
        elif role == "clip_image":
            return  # crops come from what the routes find
        else:
            ClipEncoder(session, None).dense(image)
        made = [feeds for feeds, _ in session.calls]
    assert len(found) == len(made)
    for one, two in zip(found, made, strict=True):
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[name], two[name]) for name in one)
