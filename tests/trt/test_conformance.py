"""The double offers nothing that the genuine bindings lack, and refuses what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.doubles import CrashError, tensorrt_double
from tests.trt.calls import CALLBACKS, CALLS, OUTSIDE
from tests.trt.doubled import objects
from tests.trt.genuine import RELEASES, Genuine
from tests.trt.probe import callbacks_of, dump, evaluated, scope_of

SURFACES: dict[str, Any] = {}


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def surfaces(release: str, genuine: Genuine) -> tuple[Any, Any]:
    """(genuine, double) of one release."""
    if release not in SURFACES:
        with tensorrt_double(release):
            import tensorrt

            SURFACES[release] = (genuine.run(release, "dump"), dump(tensorrt))
    found: tuple[Any, Any] = SURFACES[release]
    return found


def public(members: dict[str, Any]) -> set[str]:
    return {name for name in members if not name.startswith("_")}


def test_both_say_the_same_version(surfaces: tuple[Any, Any]) -> None:
    real, double = surfaces
    assert double["version"] == real["version"]


def test_every_class_and_name_of_the_double_exists(surfaces: tuple[Any, Any]) -> None:
    real, double = surfaces
    assert not double["classes"].keys() - real["classes"].keys()
    own = {name for name in double["names"] if not name.startswith("_")}
    assert not own - set(real["names"])
    assert double["values"] == real["values"]


def test_enums_have_the_same_members_and_values(surfaces: tuple[Any, Any]) -> None:
    real, double = surfaces
    enums = {n: c["enum"] for n, c in double["classes"].items() if c["enum"] is not None}
    assert len(enums) > 20
    for name, values in enums.items():
        assert values == real["classes"][name]["enum"], name


def test_every_member_of_the_double_exists_and_is_of_the_same_kind(
    surfaces: tuple[Any, Any],
) -> None:
    real, double = surfaces
    wrong = []
    for name, entry in double["classes"].items():
        theirs = real["classes"][name]["members"]
        for member in public(entry["members"]):
            mine, other = entry["members"][member], theirs.get(member)
            if other is None:
                wrong.append(f"{name}.{member} does not exist")
            elif mine["kind"] == "property" and mine != other:
                wrong.append(f"{name}.{member}: {mine} is really {other}")
    assert not wrong, "\n".join(wrong)


_TYPES = {
    **{"typing.SupportsInt": "int", "typing.SupportsFloat": "float"},
    **{
        "typing_extensions.Buffer": "Buffer",
        "collections.abc.Buffer": "Buffer",
        "buffer": "Buffer",
        "numpy.ndarray": "ndarray",
    },
    **{"UInt": "int", "CStr": "str", "AnyTuple": "tuple", "AnyList": "list"},
    "ILogger.Severity": "Severity",
}


def parameters(text: str) -> list[tuple[str, str, bool]]:
    """(name, type, has a default) of each parameter but ``self``."""
    text = re.sub(r"<([\w.]+): \d+>", r"\1", text)
    text = text.replace("tensorrt_bindings.tensorrt.", "").replace("tensorrt.tensorrt.", "")
    text = re.sub(r"\w+::(?:v_1_0::)?I?", "", text)
    text = re.sub(r"collections\.abc\.Sequence\[|List\[", "list[", text)
    found = []
    for part in text.split(", ")[1:]:
        name, _, rest = part.partition(":")
        kind, _, default = rest.strip().strip("'").partition(" = ")
        kind = kind.strip("'").replace("None | ", "")
        inner = re.fullmatch(r"list\[(.+)\]", kind)
        plain = _TYPES.get(inner[1], inner[1]) if inner else _TYPES.get(kind, kind)
        found.append((name, f"list[{plain}]" if inner else plain, bool(default)))
    return found


def test_signatures_are_those_of_the_genuine_classes(surfaces: tuple[Any, Any]) -> None:
    real, double = surfaces
    wrong, checked = [], 0
    for name, entry in double["classes"].items():
        theirs = real["classes"][name]["members"]
        for member, mine in entry["members"].items():
            listed = theirs.get(member, {}).get("overloads", [])
            if mine["kind"] != "method" or not mine["overloads"] or not listed:
                continue
            allowed = [parameters(text) for text in listed]
            for text in mine["overloads"]:
                checked += 1
                if parameters(text) not in allowed:
                    wrong.append(f"{name}.{member}{parameters(text)} is really {allowed}")
    assert checked > 100
    assert not wrong, "\n".join(wrong)


def answer(code: str, scope: dict[str, Any]) -> str:
    """What the double says to one call; a crash counts as taken."""
    try:
        exec(compile(code, "<call>", "exec"), scope)
    except CrashError:
        return "accepted"
    except Exception as error:
        return type(error).__name__
    return "accepted"


def test_calls_are_taken_and_refused_alike(
    release: str, genuine: Genuine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "calls.json"
    table.write_text(json.dumps(CALLS), encoding="utf-8")
    real = genuine.run(release, "calls", str(table))
    refused = [code for code, found in real.items() if found != "accepted"]
    assert len(refused) > 80  # the genuine module answers, and does not crash at everything
    wrong = []
    with tensorrt_double(release, check=False):
        import tensorrt

        scope = scope_of(tensorrt, objects(tensorrt))
        for code in CALLS:
            found = answer(code, dict(scope))
            if found != real[code]:
                wrong.append(f"{code}: {found} here, {real[code]} from the genuine bindings")
    assert not wrong, "\n".join(wrong)


def test_what_python_callbacks_do_reaches_the_library_alike(
    release: str, genuine: Genuine, tmp_path: Path
) -> None:
    """The base class's method is the C++ call: it finds the override, as the library would."""
    table = tmp_path / "calls.json"
    table.write_text(json.dumps(CALLBACKS), encoding="utf-8")
    real = genuine.run(release, "answers", str(table))
    assert real["step(raising(KeyboardInterrupt()))"] == "False"  # Ctrl-C ends in the bindings
    with tensorrt_double(release):
        import tensorrt

        scope = callbacks_of(tensorrt)
        mine = {code: evaluated(code, scope) for code in CALLBACKS}
    assert mine == real


@pytest.mark.parametrize("code", OUTSIDE)
def test_what_11_lost_the_double_never_offers(code: str, genuine: Genuine, tmp_path: Path) -> None:
    table = tmp_path / "calls.json"
    table.write_text(json.dumps([code]), encoding="utf-8")
    assert genuine.run("11.4", "calls", str(table)) == {code: "AttributeError"}
    for release in RELEASES:
        with tensorrt_double(release, check=False):
            import tensorrt

            assert answer(code, scope_of(tensorrt, objects(tensorrt))) == "AttributeError"


def test_without_tensorrt_the_factories_answer_with_the_same_error(
    release: str, genuine: Genuine
) -> None:
    real = genuine.run(release, "factories")
    with tensorrt_double(release) as double:
        import tensorrt

        double.no_driver = True
        for name in ("Builder", "Runtime"):
            with pytest.raises(TypeError) as caught:
                getattr(tensorrt, name)(tensorrt.Logger())
            assert real[name] == f"TypeError: {caught.value}"
