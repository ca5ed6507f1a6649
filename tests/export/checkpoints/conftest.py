"""A server that behaves as badly as it is told to."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from t2s_export.checkpoints.download import Patience
from t2s_export.checkpoints.registry import ModelEntry

IMPATIENT = Patience(timeout=2.0, attempts=4, pause=0.0, least=1)
CONTENT = bytes(range(256)) * 400


@dataclass
class Server:
    """What is served, how, and what was asked.

    Attributes:
        drops: bytes after which each coming body ends, in turn; then bodies are whole.
        ranges: whether range requests are honoured.
        range_header: what 206 says instead of the truth.
        lie: added to Content-Length; a positive number makes the body short.
        statuses: answers to give, in turn, before any other.
        chunked: no Content-Length but chunks.
        redirect: where every request is sent instead.
    """

    url: str = ""
    content: bytes = CONTENT
    etag: str | None = '"one"'
    drops: list[int] = field(default_factory=list)
    ranges: bool = True
    range_header: str | None = None
    lie: int = 0
    statuses: list[int] = field(default_factory=list)
    chunked: bool = False
    mute_length: bool = False
    redirect: str | None = None
    served: int = 0
    requests: list[str | None] = field(default_factory=list)

    def entry(self, *, known: bool = True, size: bool = True) -> ModelEntry:
        """A row of the registry for what is served at first."""
        return ModelEntry(
            "toy",
            "sam",
            "vit_b",
            "torch",
            "toy.pth",
            self.url,
            "MIT",
            hashlib.sha256(CONTENT).hexdigest() if known else None,
            len(CONTENT) if size else None,
        )


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.requests.append(asked)
            self.close_connection = True
            if server.redirect is not None:
                self.send_response(302)
                self.send_header("Location", server.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if server.statuses:
                self.send_error(server.statuses.pop(0))
                return
            self._file(asked)

        def _file(self, asked: str | None) -> None:
            start, total = 0, len(server.content)
            same = self.headers.get("If-Range") in (None, server.etag)
            if asked and server.ranges and same:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= total:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{total}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                truth = f"bytes {start}-{total - 1}/{total}"
                self.send_header("Content-Range", server.range_header or truth)
            else:
                self.send_response(200)
            if server.etag:
                self.send_header("ETag", server.etag)
            body = server.content[start:]
            if server.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            elif not server.mute_length:
                self.send_header("Content-Length", str(len(body) + server.lie))
            self.end_headers()
            self._body(body)

        def _body(self, body: bytes) -> None:
            whole = not server.drops
            sent = body if whole else body[: server.drops.pop(0)]
            server.served += len(sent)
            if not server.chunked:
                self.wfile.write(sent)
                return
            if sent:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(sent), sent))
            if whole:
                self.wfile.write(b"0\r\n\r\n")

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A local HTTP server; proxies of the environment are left aside."""
    monkeypatch.setenv("no_proxy", "*")
    state = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as http:
        state.url = f"http://127.0.0.1:{http.server_address[1]}/toy.pth"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()
