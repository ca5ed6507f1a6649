"""The wheel holds what it promises, and words about the project agree with pyproject.toml."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - Python 3.10 only
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[2]
PACKAGES = {"t2s_rt", "t2s_export", "t2s_engines", "t2s_calibration", "t2s_bench"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT],
        check=True,
        capture_output=True,
    )
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_the_five_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    for package in PACKAGES:
        assert f"{package}/py.typed" in wheel.namelist()
    info = next(top for top in tops if top.endswith(".dist-info"))
    licences = {Path(name).name for name in wheel.namelist() if name.startswith(f"{info}/licenses")}
    assert {"LICENSE", "NOTICE"} <= licences


def test_wheel_holds_the_operator_table(wheel: zipfile.ZipFile) -> None:
    table = wheel.read("t2s_engines/preflight/tensorrt_operators.csv").decode()
    assert table.startswith("op,8.5 supported,") and len(table.splitlines()) > 200


def test_wheel_holds_all_of_nano_unaltered(wheel: zipfile.ZipFile) -> None:
    manifest = json.loads(wheel.read("t2s_rt/nano/bundle.json"))
    hashes = _hashes(manifest)
    assert len(hashes) >= 8
    for name, expected in hashes.items():
        found = hashlib.sha256(wheel.read(f"t2s_rt/nano/{name}")).hexdigest()
        assert found == expected, name
    stored = {
        name.removeprefix("t2s_rt/nano/")
        for name in wheel.namelist()
        if name.startswith("t2s_rt/nano/")
    }
    assert {name for name in stored if name.endswith(".onnx")} <= hashes.keys()
    graphs = sum(
        wheel.getinfo(f"t2s_rt/nano/{name}").file_size for name in stored if name.endswith(".onnx")
    )
    assert graphs <= 30_000_000


def _hashes(node: object) -> dict[str, str]:
    """Every {"path": …, "sha256": …} of the manifest, wherever it stands."""
    found: dict[str, str] = {}
    if isinstance(node, dict):
        if isinstance(node.get("path"), str) and isinstance(node.get("sha256"), str):
            found[node["path"]] = node["sha256"]
        for value in node.values():
            found |= _hashes(value)
    elif isinstance(node, list):
        for value in node:
            found |= _hashes(value)
    return found


def _pyproject() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        return dict(tomllib.load(stream)["project"])


def test_install_hints_name_declared_extras() -> None:
    extras = _pyproject()["optional-dependencies"]
    assert isinstance(extras, dict)
    text = "\n".join(
        path.read_text()
        for folder in ("runtime", "export", "engines", "calibration", "bench")
        for path in (ROOT / folder).rglob("*.py")
    )
    text += "".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    named = set(re.findall(r"t2s-rt\[(\w+)\]", text))
    named |= set(re.findall(r"MissingExtraError\([^)]*?[\"'](\w+)[\"']\s*,?\s*\)", text))
    assert named
    assert named <= set(extras)


def test_no_extra_joins_two_onnxruntimes() -> None:
    extras = _pyproject()["optional-dependencies"]
    assert isinstance(extras, dict)
    for name, needs in extras.items():
        packages = {re.split(r"[<>=;\[ ]", need)[0] for need in needs}
        assert not {"onnxruntime", "onnxruntime-gpu"} <= packages, name


def test_version_is_one() -> None:
    import t2s_rt

    assert _pyproject()["version"] == t2s_rt.__version__
    assert f"## {t2s_rt.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_public_names_are_what_is_listed() -> None:
    import t2s_rt

    assert t2s_rt.__all__ == sorted(t2s_rt.__all__)
    for name in t2s_rt.__all__:
        assert getattr(t2s_rt, name) is not None
    with pytest.raises(AttributeError):
        _ = t2s_rt.nonsense
