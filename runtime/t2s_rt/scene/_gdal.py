"""How this package calls GDAL: bounded, offline, and with its messages collected.

Every GDAL call of the scene package happens inside `gdal_session`. It sets the options below for
the calling thread and collects what GDAL logs, because rasterio only raises on errors and leaves
warnings to Python's logging, where nobody looks.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio.errors import NotGeoreferencedWarning

__all__ = ["CACHE_BYTES", "MAX_BANDS", "damage", "gdal_session", "reason"]

CACHE_BYTES = 128 * 1024 * 1024
"""Block cache of the process: holds one row of tiles of a 40,000 pixel wide RGB image."""

MAX_BANDS = 2000
"""More bands than any imaging spectrometer; a hostile header claims 65,535."""

_OPTIONS: dict[str, object] = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_MAX_BAND_COUNT": MAX_BANDS,
    # libjpeg only warns about truncated data and returns grey pixels
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    # the whole-image decoder returns zeros for the missing rows of a truncated PNG
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    # a sidecar may name any file as its overview; none may be fetched over a network
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".t2s-rt-never-fetches",
    "GDAL_HTTP_MAX_RETRY": "0",
}

# What decoders log as a warning when bits are missing or senseless; the pixels are then guesses.
_DAMAGE = (
    "bad code word",
    "corrupt",
    "decodingerror",
    "line length mismatch",
    "premature",
    "truncat",
    "uncompressed data (not supported)",
    "unexpected end",
)

_LOGGERS = ("rasterio._env", "rasterio._err", "rasterio._io", "rasterio._base")


class _Collector(logging.Filter):
    """Takes GDAL's log records out of the stream while the calling thread collects them."""

    def __init__(self) -> None:
        super().__init__()
        self.local = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        messages: list[str] | None = getattr(self.local, "messages", None)
        if messages is None:
            return True
        if record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
        return False


_COLLECTOR = _Collector()
for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_COLLECTOR)


@contextmanager
def gdal_session(**options: object) -> Iterator[list[str]]:
    """Run GDAL calls with this package's options.

    Args:
        options: further GDAL configuration options for this session.

    Yields:
        The warnings and errors that GDAL logged in this thread, oldest first.
    """
    outer: list[str] | None = getattr(_COLLECTOR.local, "messages", None)
    messages: list[str] = []
    _COLLECTOR.local.messages = messages
    try:
        with warnings.catch_warnings(), rasterio.Env(**{**_OPTIONS, **options}):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield messages
    finally:
        _COLLECTOR.local.messages = outer


def reason(error: BaseException) -> str:
    """The innermost message of an exception: rasterio's own often only points to its cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def damage(messages: list[str]) -> str | None:
    """The first warning that means guessed pixels, or None."""
    for message in messages:
        lowered = message.lower()
        if any(word in lowered for word in _DAMAGE):
            return " ".join(message.split())
    return None
