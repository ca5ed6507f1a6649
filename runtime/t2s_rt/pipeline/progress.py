"""How a run tells whoever watches what it is doing."""

from __future__ import annotations

from typing import Protocol

from t2s_rt.pipeline.journal import TileStatus

__all__ = ["Progress", "SilentProgress"]


class Progress(Protocol):
    """Receives a run's steps, in the thread that runs it."""

    def begin(self, scene: str, tiles: int, resumed: int) -> None:
        """A scene starts: so many tiles in all, so many taken over from an interrupted run."""

    def tile(self, status: TileStatus) -> None:
        """One more tile is finished."""

    def stage(self, name: str) -> None:
        """All tiles are through; a named step of writing starts."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def end(self) -> None:
        """The scene is finished or given up."""


class SilentProgress:
    """Tells nobody."""

    def begin(self, scene: str, tiles: int, resumed: int) -> None:
        """Ignore it."""

    def tile(self, status: TileStatus) -> None:
        """Ignore it."""

    def stage(self, name: str) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""
