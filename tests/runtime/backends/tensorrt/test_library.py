"""TensorRT itself: missing, broken, too old, and what it says."""

from __future__ import annotations

import builtins
import sys
import threading
from typing import Any

import pytest
from tests.doubles import Control, tensorrt_double

from t2s_rt.backends.tensorrt import library as module
from t2s_rt.backends.tensorrt import load_library
from t2s_rt.errors import BackendError, MissingExtraError


def _refuse(monkeypatch: pytest.MonkeyPatch, error: ImportError) -> None:
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "tensorrt":
            raise error
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"))
    with pytest.raises(MissingExtraError, match=r"pip install 't2s-rt\[tensorrt\]'") as caught:
        load_library()
    assert caught.value.extra == "tensorrt"
    monkeypatch.setattr(module, "on_a_jetson", lambda: True)
    with pytest.raises(MissingExtraError, match="apt install .*--system-site-packages") as caught:
        load_library()
    assert "pip install" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libnvinfer.so.10: cannot open shared object file"),
        # the front end is there, its bindings are not
        ModuleNotFoundError("No module named 'tensorrt_bindings'", name="tensorrt_bindings"),
    ],
)
def test_it_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, error: ImportError) -> None:
    _refuse(monkeypatch, error)
    with pytest.raises(BackendError, match="installed but cannot be imported") as caught:
        load_library()
    assert not isinstance(caught.value, MissingExtraError)
    assert str(error) in str(caught.value)


def test_no_usable_driver(every_release: Control) -> None:
    every_release.no_driver = True
    with pytest.raises(BackendError, match="no usable NVIDIA driver.*run t2s-rt doctor"):
        load_library().create_runtime()


@pytest.mark.parametrize(
    ("version", "release"),
    [("8.6.1", (8, 6)), ("10.3.0.30", (10, 3)), ("10.16.1.11", (10, 16)), ("11.4.0.106", (11, 4))],
)
def test_releases_that_are_served(
    double: Control, monkeypatch: pytest.MonkeyPatch, version: str, release: tuple[int, int]
) -> None:
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", version)
    found = load_library()
    assert found.release == release
    assert found.version == version
    assert not found.note


@pytest.mark.parametrize("version", ["8.5.2.2", "7.1.3", "9.3.0"])
def test_releases_that_are_refused(
    double: Control, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", version)
    with pytest.raises(BackendError, match=f"8.6, 10.3 or newer of 10, or 11, found {version}"):
        load_library()


@pytest.mark.parametrize(
    ("version", "note"), [("10.0.1.6", "older than 10.3"), ("12.0.0.1", "newer than this t2s-rt")]
)
def test_releases_that_nobody_tried(
    double: Control, monkeypatch: pytest.MonkeyPatch, version: str, note: str
) -> None:
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", version)
    assert note in load_library().note


def test_the_build_number_comes_from_the_library_where_python_leaves_it_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Loaded:
        def __init__(self, name: str, mode: int) -> None:
            assert name == "libnvinfer.so.10"

        def getInferLibBuildVersion(self) -> int:
            return 30

    with tensorrt_double("10.3"):
        assert load_library().version == "10.3.0"  # no such library is loaded here
        monkeypatch.setattr("ctypes.CDLL", Loaded)
        assert load_library().version == "10.3.0.30"


def test_messages_belong_to_their_thread(
    double: Control, capfd: pytest.CaptureFixture[str]
) -> None:
    library = load_library()
    assert load_library().logger is library.logger
    severity = library.trt.ILogger.Severity

    def say(text: str) -> None:
        library.logger.log(severity.ERROR, text)

    other = threading.Thread(target=say, args=("theirs",))
    other.start()
    other.join()
    for text in ("one", "two\n  lines", "three", "four"):
        say(text)
    library.logger.log(severity.VERBOSE, "chatter")
    assert library.complaint() == "; TensorRT says: two lines | three | four"
    assert library.complaint() == ""
    say("old")
    library.forget()
    assert library.complaint() == ""
    assert capfd.readouterr() == ("", "")
