"""Downloads over a line that breaks, from servers that lie."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import socket
import urllib.request
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.export.checkpoints.conftest import CONTENT, IMPATIENT, Server

from t2s_export.checkpoints import download as module
from t2s_export.checkpoints import progress
from t2s_export.checkpoints.download import Patience
from t2s_export.checkpoints.part import Part
from t2s_export.checkpoints.pull import Pulled, pull_url
from t2s_export.errors import CheckpointError, DownloadError
from t2s_rt.errors import OutputError, UsageError

SIZE = len(CONTENT)


def pull(server: Server, folder: Path, known: bool = True, size: bool = True) -> Pulled:
    return pull_url(server.entry(known=known, size=size), folder, patience=IMPATIENT)


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def begin(folder: Path, content: bytes, url: str, etag: str | None = '"one"') -> None:
    """What an interrupted run leaves behind."""
    (folder / "toy.pth.part").write_bytes(content)
    state = {"url": url, "etag": etag, "length": SIZE}
    (folder / "toy.pth.part.json").write_text(json.dumps(state))


def test_a_file_arrives_whole_and_alone(server: Server, tmp_path: Path) -> None:
    pulled = pull(server, tmp_path / "new" / "folder")
    assert pulled.path.read_bytes() == CONTENT
    assert pulled.fresh and pulled.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert left_over(pulled.path.parent) == ["toy.pth"]
    assert not pull(server, pulled.path.parent).fresh
    assert len(server.requests) == 1


def test_going_on_fetches_only_what_is_missing(server: Server, tmp_path: Path) -> None:
    begin(tmp_path, CONTENT[:70_000], server.url)
    assert pull(server, tmp_path).path.read_bytes() == CONTENT
    assert server.requests == ["bytes=70000-"]
    assert server.served == SIZE - 70_000


def test_a_whole_part_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    begin(tmp_path, CONTENT, server.url)
    assert pull(server, tmp_path).path.read_bytes() == CONTENT
    assert server.requests == []


def test_a_whole_part_of_unknown_length_asks_once(server: Server, tmp_path: Path) -> None:
    begin(tmp_path, CONTENT, server.url)
    state = {"url": server.url, "etag": None, "length": None}
    (tmp_path / "toy.pth.part.json").write_text(json.dumps(state))
    assert pull(server, tmp_path, size=False).path.read_bytes() == CONTENT
    assert server.served == 0


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [False, True])
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drops=st.lists(st.integers(0, SIZE), max_size=6))
def test_drops_anywhere_end_with_the_exact_file(
    server: Server, tmp_path: Path, chunked: bool, size: bool, drops: list[int]
) -> None:
    folder = tmp_path / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    server.chunked, server.drops, server.served = chunked, list(drops), 0
    for _ in range(3):  # a line that brings nothing at all may end a run; the next goes on
        try:
            pulled = pull(server, folder, size=size)
            break
        except DownloadError:
            continue
    assert pulled.path.read_bytes() == CONTENT
    assert server.served == SIZE, "no byte is fetched twice"
    assert left_over(folder) == ["toy.pth"]


def test_a_dead_line_is_given_up_and_what_came_is_kept(server: Server, tmp_path: Path) -> None:
    server.drops = [1000] + [0] * 50
    with pytest.raises(DownloadError, match=r"1000 bytes are kept.*--url.*--from"):
        pull(server, tmp_path)
    assert len(server.requests) == 1 + IMPATIENT.attempts
    assert (tmp_path / "toy.pth.part").read_bytes() == CONTENT[:1000]
    server.drops = []
    assert pull(server, tmp_path).path.read_bytes() == CONTENT
    assert server.served == SIZE


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.ranges, server.drops = False, [5000, 60_000]
    assert pull(server, tmp_path).path.read_bytes() == CONTENT
    assert server.served == 5000 + 60_000 + SIZE


def test_a_server_without_ranges_that_always_drops_is_given_up(
    server: Server, tmp_path: Path
) -> None:
    server.ranges, server.drops = False, [5000] * 50
    with pytest.raises(DownloadError, match="brought nothing"):
        pull(server, tmp_path)
    assert len(server.requests) <= 1 + IMPATIENT.attempts


@pytest.mark.parametrize(
    "header",
    [f"bytes 0-{SIZE - 1}/{SIZE}", f"bytes 999-{SIZE - 1}/{SIZE}", "bytes 1000-5/9", "nonsense"],
)
def test_a_wrong_range_is_not_appended(server: Server, tmp_path: Path, header: str) -> None:
    begin(tmp_path, CONTENT[:1000], server.url)
    server.range_header = header
    assert pull(server, tmp_path).path.read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-", None]


def test_a_range_of_another_length_starts_anew(server: Server, tmp_path: Path) -> None:
    begin(tmp_path, CONTENT[:1000], server.url)
    server.range_header = f"bytes 1000-{SIZE - 1}/{SIZE + 1}"
    server.lie = 0
    assert pull(server, tmp_path, size=False).path.read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-", None]


@pytest.mark.parametrize("etag", ['"old"', 'W/"old"'])
def test_a_file_that_changed_starts_anew(server: Server, tmp_path: Path, etag: str) -> None:
    begin(tmp_path, b"x" * 1000, server.url, etag)
    assert pull(server, tmp_path, known=False).path.read_bytes() == CONTENT


def test_a_part_from_elsewhere_starts_anew(server: Server, tmp_path: Path) -> None:
    begin(tmp_path, b"x" * 1000, "https://elsewhere.invalid/toy.pth")
    assert pull(server, tmp_path).path.read_bytes() == CONTENT
    (tmp_path / "toy.pth").unlink()
    (tmp_path / "toy.pth.part").write_bytes(b"x" * 1000)
    (tmp_path / "toy.pth.part.json").write_text("[1]")
    assert pull(server, tmp_path).path.read_bytes() == CONTENT


def test_a_body_shorter_than_announced_is_not_taken(server: Server, tmp_path: Path) -> None:
    server.lie = 7
    with pytest.raises(DownloadError, match="7 bytes early"):
        pull(server, tmp_path, known=False, size=False)
    assert not (tmp_path / "toy.pth").exists()


def test_another_length_than_the_registry_is_refused_at_once(
    server: Server, tmp_path: Path
) -> None:
    server.content = CONTENT + b"more"
    with pytest.raises(DownloadError, match=f"expected {SIZE} bytes, found {SIZE + 4}"):
        pull(server, tmp_path)
    assert len(server.requests) == 1
    assert left_over(tmp_path) == []


def test_a_length_that_nobody_tells_is_refused(server: Server, tmp_path: Path) -> None:
    server.mute_length = True
    with pytest.raises(DownloadError, match="does not say how long"):
        pull(server, tmp_path, size=False)
    assert pull(server, tmp_path).path.read_bytes() == CONTENT


def test_an_empty_file_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = b""
    with pytest.raises(DownloadError, match="empty file"):
        pull(server, tmp_path, known=False, size=False)
    assert left_over(tmp_path) == []


def test_wrong_bytes_are_deleted_and_named(server: Server, tmp_path: Path) -> None:
    server.content = b"y" * SIZE
    found = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(CheckpointError) as caught:
        pull(server, tmp_path)
    text = str(caught.value)
    assert caught.value.exit_code == 3
    assert found in text and str(server.entry().sha256) in text and "pull it again" in text
    assert left_over(tmp_path) == []


def test_passing_faults_of_a_server_are_borne(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    assert pull(server, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_final(server: Server, tmp_path: Path, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(DownloadError, match=f"found {status}"):
        pull(server, tmp_path)
    assert len(server.requests) == 1


def test_a_silent_server_does_not_hang(tmp_path: Path, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/toy.pth"
        patience = Patience(timeout=0.05, attempts=2, pause=0.0)
        with pytest.raises(DownloadError, match="no connection|too long"):
            pull_url(server.entry(), tmp_path, url, patience)


def test_a_trickle_counts_as_broken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 1000)
    patience = Patience(timeout=2.0, attempts=2, pause=0.0, window=0.0, least=SIZE * 2)
    with pytest.raises(DownloadError, match=r"only \d+ bytes in"):
        pull_url(server.entry(), tmp_path, patience=patience)


def test_redirections_stay_with_http(server: Server, tmp_path: Path) -> None:
    server.redirect = "file:///etc/hostname"
    with pytest.raises(DownloadError, match="not allowed"):
        pull(server, tmp_path)


def test_redirections_never_leave_tls() -> None:
    request = urllib.request.Request("https://secure.invalid/toy")
    with pytest.raises(DownloadError, match="not secured"):
        module._Redirects().redirect_request(
            request,
            None,  # type: ignore[arg-type]
            302,
            "Found",
            http.client.HTTPMessage(),
            "http://open.invalid/toy",
        )


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "toy.pth", ""])
def test_other_schemes_are_usage(server: Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="--from"):
        pull_url(server.entry(), tmp_path, url)


def test_a_link_in_place_of_the_part_is_not_followed(server: Server, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "toy.pth.part").symlink_to(outside)
    with pytest.raises(OutputError, match="cannot be written"):
        pull(server, folder)
    assert outside.read_text() == "mine"


def test_two_at_once_do_not_mix(server: Server, tmp_path: Path) -> None:
    with Part(tmp_path / "toy.pth"), pytest.raises(OutputError, match="another process"):
        pull(server, tmp_path)
    assert pull(server, tmp_path).fresh


def test_ctrl_c_leaves_what_has_come(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.drops = [3000]

    def interrupt(self: object, text: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(progress._Lines, "note", interrupt)
        pull(server, tmp_path)
    assert left_over(tmp_path) == ["toy.pth.part", "toy.pth.part.json"]
    assert pull(server, tmp_path).path.read_bytes() == CONTENT
    assert server.served == SIZE
