"""The builds of one call, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from t2s_engines.build.builder import Cancelled, Watch, build_engine
from t2s_engines.build.cancel import run_cancellable
from t2s_engines.build.plan import BuildPlan, PlannedEngine
from t2s_engines.build.progress import BuildProgress
from t2s_engines.build.release import Release
from t2s_engines.build.store import EngineStore, NewEngine, StoredEngine
from t2s_engines.build.timing import TimingCache
from t2s_engines.build.verdicts import check_on_paper
from t2s_rt.backends.tensorrt.cuda import Cuda
from t2s_rt.backends.tensorrt.device import device_identity
from t2s_rt.backends.tensorrt.library import Library, load_library
from t2s_rt.errors import OutputError
from t2s_rt.plans import DeviceIdentity, EngineCache

__all__ = ["Result", "Workshop"]


@dataclass(frozen=True)
class Result:
    """One engine of a plan, in the cache now.

    Attributes:
        engine: as it was planned.
        stored: where it lies.
    """

    engine: PlannedEngine
    stored: StoredEngine


class Workshop:
    """TensorRT, a GPU and a cache, ready to build.

    Args:
        library: TensorRT.
        cuda: the device that builds.
        device: its identity.
        cache: where engines go.
        progress: told of everything.
    """

    def __init__(
        self,
        library: Library,
        cuda: Cuda,
        device: DeviceIdentity,
        cache: EngineCache,
        progress: BuildProgress,
    ) -> None:
        self.library = library
        self.release = Release.parse(library.version)
        self.device = device
        self.cache = cache
        self._cuda = cuda
        self._progress = progress
        self._timing = TimingCache(cache.root, device, library.version)

    @classmethod
    def open(cls, cache: EngineCache, progress: BuildProgress) -> Workshop:
        """Find TensorRT and the GPU.

        Raises:
            MissingExtraError: TensorRT or cuda-python is not installed.
            BackendError: either cannot be loaded, or there is no usable GPU.
        """
        library = load_library()
        cuda = Cuda.load()
        shop = cls(library, cuda, device_identity(cuda), cache, progress)
        if library.note:
            progress.note(library.note)
        return shop

    def build(self, plan: BuildPlan, force: bool = False) -> Sequence[Result]:
        """Build what is not there yet.

        Args:
            plan: for this release.
            force: build what is there, too.

        Raises:
            OutputError: the cache cannot be written.
            BackendError: a graph cannot be built; engines that were finished before stay.
            KeyboardInterrupt: Ctrl-C; likewise.
        """
        store = EngineStore(self.cache)
        there: dict[str, StoredEngine] = {} if force else self._already_there(store, plan)
        try:
            store.prepare()
        except OutputError:
            if len(there) < len(plan.engines):
                raise
        results = []
        for engine in plan.engines:
            found = there.get(engine.label)
            if found is None:
                found = self._obtain(store, engine, force)
            results.append(Result(engine, found))
        return results

    def _already_there(self, store: EngineStore, plan: BuildPlan) -> dict[str, StoredEngine]:
        found: dict[str, StoredEngine] = {}
        for engine in plan.engines:
            files, wrong = store.present(engine.key(self.library.version, self.device))
            if files is not None:
                found[engine.label] = StoredEngine(files, False, "was there already")
            elif wrong:
                self._progress.note(f"{engine.label}: {wrong}; it is built again")
        return found

    def _obtain(self, store: EngineStore, engine: PlannedEngine, force: bool) -> StoredEngine:
        check_on_paper(engine, self.release)
        key = engine.key(self.library.version, self.device)
        waiting = partial(
            self._progress.note, f"{engine.label}: another process builds it, waiting for that"
        )
        stored = store.obtain(key, partial(self._make, engine), force=force, waiting=waiting)
        warnings = stored.engine.sidecar.notes
        if stored.built and warnings:
            more = f" [and {len(warnings) - 1} more, in its sidecar]" if len(warnings) > 1 else ""
            self._progress.note(f"{engine.label}: TensorRT warns: {warnings[0]}{more}")
        return stored

    def _make(self, engine: PlannedEngine) -> NewEngine:
        watch = Watch(threading.Event(), self._progress.step)

        def work() -> NewEngine:
            self._cuda.use()  # CUDA keeps the device per thread
            return build_engine(self.library, engine, self.release, self._timing, watch)

        self._progress.begin(engine.label, self.release.reports_progress)
        try:
            return run_cancellable(work, watch.cancel, self.release.reports_progress)
        except Cancelled as error:
            raise KeyboardInterrupt from error
        finally:
            self._progress.end()
