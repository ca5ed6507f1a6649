"""One file over HTTP(S), however often the line breaks.

What has arrived lies in ``FILE.part``, and who sent it in ``FILE.part.json``. A later call goes on
from there with a range request, and starts anew where the file on the server is not the same any
more. A body counts as whole only if its length was announced and has arrived.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from email.message import Message
from typing import IO, Protocol

from t2s_export.checkpoints.part import Part, Source
from t2s_export.errors import DownloadError
from t2s_rt import __version__

__all__ = ["Patience", "Watcher", "download"]

_BLOCK = 1 << 18
_SCHEMES = ("http://", "https://")
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_WHOLE_RANGE = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)


@dataclass(frozen=True)
class Patience:
    """How long a bad line is borne.

    Attributes:
        timeout: seconds that a connection or a block may take.
        attempts: tries in a row that bring less than ``least`` bytes each before giving up.
        pause: seconds before the second such try; doubled each time, at most 30.
        window: seconds in which ``least`` bytes must arrive, else the connection is dropped.
        least: bytes that count as progress.
    """

    timeout: float = 30.0
    attempts: int = 6
    pause: float = 1.0
    window: float = 60.0
    least: int = 64 * 1024


class Watcher(Protocol):
    """Who is told how a download goes."""

    def begin(self, done: int, total: int | None) -> None:
        """A connection delivers from byte ``done`` on; the file has ``total`` bytes."""

    def advance(self, done: int) -> None:
        """``done`` bytes of the file are there."""

    def note(self, text: str) -> None:
        """Something that people may want to know, in one line."""


class _TryAgain(Exception):
    """The line broke, or what arrived is of no use; another try may do."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirections that never leave HTTP, and never leave TLS once there."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        kept = _SCHEMES if req.full_url.startswith("http://") else ("https://",)
        if not newurl.lower().startswith(kept):
            raise DownloadError(f"{req.full_url}: leads to {newurl}, which is not secured by TLS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    url: str,
    part: Part,
    length: int | None,
    watcher: Watcher,
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch ``url`` until ``part`` is whole.

    Args:
        url: ``http://`` or ``https://``.
        part: holds what arrived before, and takes the rest.
        length: bytes that the file must have, None if not known.
        watcher: is told of progress and of every new try.
        patience: with a bad line; None is the default.
        sleep: waits between tries.

    Raises:
        DownloadError: the server refuses, has another file, or the line stays broken. What has
            arrived is kept.
        OutputError: ``FILE.part`` cannot be written.
    """
    patience = patience or Patience()
    transfer = _Transfer(url, part, length, watcher, patience)
    failures, best = 0, part.size
    while True:
        try:
            transfer.attempt()
            return
        except _TryAgain as cause:
            reason = str(cause)
        # against the most there ever was: a server that makes us start anew brings nothing
        failures = 0 if part.size - best >= patience.least else failures + 1
        best = max(best, part.size)
        if failures >= patience.attempts:
            raise DownloadError(
                f"{url}: expected the file, found a line that breaks ({reason}; {failures} tries "
                f"in a row brought nothing); {part.size} bytes are kept: run the same command "
                "again, or use --url with a mirror, or --from with a file fetched otherwise"
            )
        watcher.note(f"{reason}; going on from byte {part.size}")
        sleep(min(patience.pause * 2 ** max(failures - 1, 0), 30.0))


class _Transfer:
    """The tries for one file."""

    def __init__(
        self,
        url: str,
        part: Part,
        length: int | None,
        watcher: Watcher,
        patience: Patience,
    ) -> None:
        self._url, self._part = url, part
        self._length, self._watcher, self._patience = length, watcher, patience
        self._opener = urllib.request.build_opener(_Redirects)
        self._source = part.source
        if self._source is None or self._source.url != url:
            self._restart()

    def attempt(self) -> None:
        """Go on once; returns when the file is whole.

        Raises:
            _TryAgain: it is not, and another try makes sense.
            DownloadError: no other try makes sense.
            OutputError: ``FILE.part`` cannot be written.
        """
        offset = self._part.size
        known = self._length or (self._source.length if self._source else None)
        if offset and offset == known:
            return
        if known is not None and offset > known:
            self._restart()
            offset = 0
        response = self._open(offset)
        if response is None:
            return
        with closing(response):
            end: int | None
            if offset and response.status == 206:
                end = self._continue(response.headers, offset)
            elif response.status == 200:
                offset = 0
                end = self._begin(response.headers)
            else:
                raise DownloadError(f"{self._url}: expected the file, found {response.status}")
            self._watcher.begin(offset, self._total())
            self._receive(response, offset, end)
        total = self._total()
        if total is not None and self._part.size != total:
            raise _TryAgain(f"the server sent {self._part.size} of {total} bytes")

    def _total(self) -> int | None:
        return self._source.length if self._source else None

    def _open(self, offset: int) -> http.client.HTTPResponse | None:
        """The server's answer; None if it says that all bytes are there already."""
        headers = {"User-Agent": f"t2s-rt/{__version__}", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            etag = self._source.etag if self._source else None
            if etag and not etag.startswith("W/"):
                headers["If-Range"] = etag
        request = urllib.request.Request(self._url, headers=headers)
        try:
            response: http.client.HTTPResponse = self._opener.open(
                request, timeout=self._patience.timeout
            )
            return response
        except urllib.error.HTTPError as error:
            with closing(error):
                self._refused(error, offset)
            return None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise DownloadError(
                    f"{self._url}: the server's certificate is not valid ({error.reason.reason})"
                ) from error
            raise _TryAgain(f"no connection ({error.reason})") from error
        except (OSError, http.client.HTTPException) as error:
            raise _TryAgain(_reason(error)) from error

    def _refused(self, error: urllib.error.HTTPError, offset: int) -> None:
        """Returns only where all bytes are there already."""
        if error.code == 416 and offset:
            match = _WHOLE_RANGE.fullmatch(error.headers.get("Content-Range", "").strip())
            promised = {self._length, self._total()} - {None}
            if match and int(match[1]) == offset and promised <= {offset}:
                return
            self._restart()
            raise _TryAgain("the server has another file now; starting anew")
        if error.code in _TRY_AGAIN:
            raise _TryAgain(f"the server answered {error.code} {error.reason}")
        raise DownloadError(
            f"{self._url}: expected the file, found {error.code} {error.reason}; "
            "use --url with another address, or --from with a file fetched otherwise"
        )

    def _begin(self, headers: Message) -> int | None:
        """Accept a whole file; returns its length."""
        length = _content_length(headers)
        if length is None and self._length is None and not _is_chunked(headers):
            raise DownloadError(
                f"{self._url}: the server does not say how long the file is, so that a part of it "
                "would look whole; use --from with a file fetched otherwise"
            )
        self._check_length(length)
        self._restart(Source(self._url, headers.get("ETag"), length or self._length))
        return length

    def _continue(self, headers: Message, offset: int) -> int:
        """Accept the rest of a file; returns where it ends."""
        found = headers.get("Content-Range", "")
        match = _CONTENT_RANGE.fullmatch(found.strip())
        announced = _content_length(headers)
        source = self._source
        if (
            match is None
            or int(match[1]) != offset
            or int(match[2]) < offset
            or (announced is not None and announced != int(match[2]) - offset + 1)
        ):
            self._restart()
            raise _TryAgain(
                f"expected the bytes from {offset} on, found {found or 'no range'!r}; starting anew"
            )
        etag = headers.get("ETag")
        old = self._total()
        total = old if match[3] == "*" else int(match[3])
        if (
            total is None  # then nothing would tell a part from the whole
            or old not in (None, total)
            or (etag and source and source.etag and etag != source.etag)
        ):
            self._restart()
            raise _TryAgain("the file on the server may be another one now; starting anew")
        self._check_length(total)
        if source is not None:
            self._source = replace(source, length=total)
        return int(match[2]) + 1

    def _check_length(self, found: int | None) -> None:
        if found is not None and self._length is not None and found != self._length:
            raise DownloadError(
                f"{self._url}: expected {self._length} bytes, found {found}: another file lies "
                "there; use --url with another address"
            )

    def _receive(self, response: http.client.HTTPResponse, offset: int, end: int | None) -> None:
        """Append the body; what arrives is written at once."""
        done = offset
        window, mark = time.monotonic(), done
        while True:
            try:
                block = response.read1(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise _TryAgain(_reason(error)) from error
            if not block:
                break
            if end is not None:
                block = block[: end - done]
            self._part.append(block)
            done += len(block)
            self._watcher.advance(done)
            now = time.monotonic()
            if now - window >= self._patience.window:
                if done - mark < self._patience.least:
                    raise _TryAgain(f"only {done - mark} bytes in {now - window:.0f} s")
                window, mark = now, done
        if end is not None and done < end:
            raise _TryAgain(f"the connection ended {end - done} bytes early")
        if done == 0:
            raise _TryAgain("the server sent an empty file")

    def _restart(self, source: Source | None = None) -> None:
        self._part.restart(source)
        self._source = source


def _content_length(headers: Message) -> int | None:
    text = headers.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _is_chunked(headers: Message) -> bool:
    return headers.get("Transfer-Encoding", "").strip().lower() == "chunked"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "nothing arrived for too long"
    return f"the connection broke ({str(error) or type(error).__name__})"
