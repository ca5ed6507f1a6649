"""Several scenes in one command: each by itself, failures listed, the rest complete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2s_rt.errors import OutputError, PartialError, SceneError
from t2s_rt.pipeline.core import IncompleteSceneError, Pipeline
from t2s_rt.pipeline.report import SceneReport
from t2s_rt.pipeline.scenes import SceneSource
from t2s_rt.pipeline.workplace import finished_outputs, work_folder

if TYPE_CHECKING:
    from t2s_rt.prompts import PromptPack

__all__ = ["Batch", "SceneOutcome"]


@dataclass(frozen=True)
class SceneOutcome:
    """What became of one scene of a batch.

    Attributes:
        source: the scene.
        report: of its run; None where it failed, or was finished by an interrupted command.
        error: why it failed or is incomplete, or None.
        resumed: whether an interrupted run of the same command had finished it.
    """

    source: SceneSource
    report: SceneReport | None = None
    error: str | None = None
    resumed: bool = False


class Batch:
    """The scenes of one command.

    While several scenes are at work, a small hidden file beside the outputs lists those that are
    finished, so that the same command after an interruption neither does them again nor takes
    them for somebody else's outputs. A batch of one needs none.

    Args:
        sources: the scenes.
        directory: folder of the outputs; it exists.
        command: everything that decides the outputs, as the user gave it.
        overwrite: whether finished outputs may be replaced.

    Raises:
        OutputError: finished outputs are there and may not be replaced.
    """

    def __init__(
        self,
        sources: Sequence[SceneSource],
        directory: Path,
        command: Mapping[str, Any],
        overwrite: bool,
    ) -> None:
        self.sources = tuple(sources)
        self._directory = directory
        self._overwrite = overwrite
        identity = [[str(source.path.resolve()) for source in sources], dict(command)]
        text = json.dumps(identity, sort_keys=True, default=str)
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self._marker = directory / f".t2s-batch-{key}.jsonl" if len(sources) > 1 else None
        self._finished = self._read_marker()
        self._check_outputs()

    def run(
        self,
        pipeline: Pipeline,
        pack: PromptPack,
        opened: Callable[[SceneSource], dict[str, Any]],
    ) -> Iterator[SceneOutcome]:
        """Map one scene after another.

        Args:
            pipeline: does the work.
            pack: classes to look for.
            opened: keyword arguments of the pipeline's call for a scene (``scene`` itself among
                them); called right before it runs.

        Yields:
            the outcome of each scene, as soon as it is known.

        Raises:
            SceneError, IncompleteSceneError: of the only scene of a batch of one.
            T2SError: anything that would stop the other scenes as well.
        """
        for source in self.sources:
            if source.stem in self._finished:
                error = self._finished[source.stem].get("error")
                yield SceneOutcome(source, error=error, resumed=True)
                continue
            try:
                report = pipeline(
                    pack=pack,
                    output_dir=self._directory,
                    stem=source.stem,
                    overwrite=self._overwrite,
                    **opened(source),
                )
            except IncompleteSceneError as error:
                if self._marker is None:
                    raise
                self._mark(source, str(error))
                yield SceneOutcome(source, error.report, str(error))
            except SceneError as error:
                if self._marker is None:
                    raise
                yield SceneOutcome(source, error=str(error))
            else:
                self._mark(source, None)
                yield SceneOutcome(source, report)
        if self._marker is not None:
            self._marker.unlink(missing_ok=True)

    @staticmethod
    def check(outcomes: Sequence[SceneOutcome]) -> None:
        """Raise what the outcomes amount to.

        Raises:
            SceneError: no scene worked.
            PartialError: some failed or are incomplete.
        """
        failed = [outcome for outcome in outcomes if outcome.error is not None]
        if not failed:
            return
        lost = [o for o in failed if o.report is None and not o.resumed]
        names = ", ".join(outcome.source.path.name for outcome in failed)
        if len(lost) == len(outcomes):
            raise SceneError(
                f"none of {len(outcomes)} scenes could be read; the first: {failed[0].error}"
            )
        raise PartialError(
            f"{len(failed)} of {len(outcomes)} scenes failed or are incomplete, the rest is "
            f"complete: {names}; the first: {failed[0].error}"
        )

    def _check_outputs(self) -> None:
        if self._overwrite:
            return
        for source in self.sources:
            found = finished_outputs(self._directory, source.stem)
            going_on = work_folder(self._directory, source.stem).is_dir()
            if found and not going_on and source.stem not in self._finished:
                raise OutputError(
                    f"{found[0]} exists already; add --overwrite to replace it, "
                    "or choose another folder with -o"
                )

    def _read_marker(self) -> dict[str, dict[str, Any]]:
        """Scenes that an interrupted run of this command finished and that are unchanged."""
        finished: dict[str, dict[str, Any]] = {}
        if self._marker is None or not self._marker.exists():
            return finished
        states = {source.stem: _state(source.path) for source in self.sources}
        try:
            for line in self._marker.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                stem = entry["stem"]
                report = self._directory / f"{stem}.json"
                if states.get(stem) == entry["state"] and report.is_file():
                    finished[stem] = entry
        except (OSError, ValueError, KeyError, TypeError):
            pass  # a torn last line: that scene runs again
        return finished

    def _mark(self, source: SceneSource, error: str | None) -> None:
        if self._marker is None:
            return
        entry = {"stem": source.stem, "state": _state(source.path), "error": error}
        try:
            with open(self._marker, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
        except OSError as failure:
            raise OutputError(
                f"{self._marker}: cannot be written ({failure.strerror or failure})"
            ) from failure


def _state(path: Path) -> list[int]:
    try:
        state = path.stat()
    except OSError:
        return []
    return [state.st_size, state.st_mtime_ns]
