"""From a graph to a plan, through TensorRT's builder.

One path for 10.3 and later, where networks are strongly typed: precision is in the graph, and no
flag asks for it. What 8.6 needs instead is in :mod:`t2s_engines.build.legacy`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from t2s_engines.build import legacy
from t2s_engines.build.phases import Phases
from t2s_engines.build.plan import PlannedEngine
from t2s_engines.build.release import Release
from t2s_engines.build.store import NewEngine
from t2s_engines.build.timing import TimingCache
from t2s_rt.backends.tensorrt.library import Library
from t2s_rt.bundle import GraphEntry
from t2s_rt.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["Cancelled", "Watch", "build_engine"]

_T = TypeVar("_T")
_NOTES = 20
_LONGEST_NOTE = 500
_SHOWN = 4
_LEVELS = {
    "ampere_plus": "AMPERE_PLUS",
    "same_compute_capability": "SAME_COMPUTE_CAPABILITY",
}


class Cancelled(Exception):
    """The build was stopped through its :class:`Watch`."""


@dataclass(frozen=True)
class Watch:
    """The other end of a build that runs in a thread.

    Attributes:
        cancel: set it to stop the build at TensorRT's next step.
        progress: called after every step, from any thread.
    """

    cancel: threading.Event
    progress: Callable[[Phases], None]


def build_engine(
    library: Library,
    engine: PlannedEngine,
    release: Release,
    timing: TimingCache,
    watch: Watch,
) -> NewEngine:
    """Build one engine with the TensorRT that is installed, on the current device.

    Args:
        library: TensorRT.
        engine: that is planned.
        release: of the library.
        timing: what the device measured before; what it measures now is added.
        watch: to see and stop the build.

    Raises:
        BackendError: TensorRT cannot start, import the graph or build it; what it said is quoted.
        Cancelled: through ``watch``.
    """
    begun = time.monotonic()
    library.forget()
    # every object stays in this frame until the plan is there: each depends on the ones before
    builder = _make_builder(library)
    network = _make_network(builder, library, release)
    parser = _parse(network, library, engine.entry)
    config = _made(builder.create_builder_config, "builder configuration", library)
    _apply_options(config, engine)
    if not release.strongly_typed:
        legacy.ask_for_precision(network, config, engine.entry.precision)
    profile = _add_profile(builder, config, engine)
    cache = _use_timing(config, timing.read(), library)
    monitor = _add_monitor(config, release, watch)
    plan = builder.build_serialized_network(network, config)
    if watch.cancel.is_set():
        raise Cancelled
    if plan is None:
        raise BackendError(
            f"{engine.label}: TensorRT {library.version} cannot build this graph"
            f"{library.complaint()}; try a larger --workspace, or --precision fp32"
        )
    notes = _printable(library.logger.take())
    try:
        timing.update(lambda saved: _merged(config, cache, saved))
    except OSError as error:
        notes.append(f"the timing cache could not be saved ({error.strerror or error})")
    del parser, profile, monitor
    return NewEngine(memoryview(plan), time.monotonic() - begun, tuple(notes))


def _printable(messages: Iterable[str]) -> list[str]:
    """The first warnings, each once, as a sidecar takes them."""
    texts = ("".join(c if c.isprintable() else " " for c in text) for text in messages)
    return list(dict.fromkeys(text[:_LONGEST_NOTE] for text in texts))[:_NOTES]


def _made(make: Callable[[], _T | None], what: str, library: Library) -> _T:
    """Make one of TensorRT's objects, and say what to do where it gives none.

    Raises:
        BackendError: its factory returned a null pointer, as it does without a usable driver.
    """
    try:
        made, reason = make(), "it returned nothing"
    except (TypeError, RuntimeError) as error:
        made, reason = None, str(error)
    if made is None:
        raise BackendError(
            f"TensorRT {library.version} cannot make its {what} ({reason}){library.complaint()}; "
            "expected an NVIDIA driver, a GPU and libraries that fit these bindings: run "
            "t2s-rt doctor --backend tensorrt"
        )
    return made


def _make_builder(library: Library) -> trt.Builder:
    import tensorrt as trt

    return _made(lambda: trt.Builder(library.logger), "builder", library)


def _make_network(
    builder: trt.Builder, library: Library, release: Release
) -> trt.INetworkDefinition:
    import tensorrt as trt

    if release.strongly_typed:
        # 11 ignores the flag and takes it; its value differs between releases
        flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    else:
        flag = legacy.explicit_batch()
    return _made(lambda: builder.create_network(1 << int(flag)), "network", library)


def _parse(network: trt.INetworkDefinition, library: Library, entry: GraphEntry) -> trt.OnnxParser:
    """Import the graph by its path: its weights lie beside it."""
    import tensorrt as trt

    parser = _made(lambda: trt.OnnxParser(network, library.logger), "ONNX parser", library)
    if not parser.parse_from_file(str(entry.path)):
        faults = [_fault(parser.get_error(index)) for index in range(parser.num_errors)]
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        said = " | ".join(faults[:_SHOWN]) + more if faults else "it names no fault"
        raise BackendError(
            f"{entry.role} {entry.precision}: TensorRT {library.version} cannot import "
            f"{entry.path}: {said}; choose another --precision, or see what the preflight of "
            "t2s-rt build --dry-run says where onnx is installed"
        )
    found = [network.get_input(index).name for index in range(network.num_inputs)]
    wanted = [spec.name for spec in entry.inputs]
    if found != wanted:
        raise BackendError(
            f"{entry.path}: expected the inputs {', '.join(wanted)} as bundle.json says, found "
            f"{', '.join(found) or 'none'}; export the bundle again"
        )
    return parser


def _fault(error: trt.ParserError) -> str:
    """What the parser says of one fault; 8.6 knows the number of its node only."""
    text = " ".join(str(error.desc()).split())[:300]
    if hasattr(error, "node_name"):
        name, operator = error.node_name(), error.node_operator()
        where = f"{operator or 'an operator'} {name!r}" if name or operator else "the graph"
    else:
        where = f"node number {error.node()}" if error.node() >= 0 else "the graph"
    # by its text: in 10.x the name of this enum is a method, by a slip of the bindings
    code = str(error.code()).rpartition(".")[2]
    return f"{where}: {text} ({code})"


def _apply_options(config: trt.IBuilderConfig, engine: PlannedEngine) -> None:
    import tensorrt as trt

    options = engine.options
    # on by default; it rounds the products of float32 islands to 10 bits, where a graph says
    # float32 because 10 bits were too few
    config.clear_flag(trt.BuilderFlag.TF32)
    config.builder_optimization_level = options.optimization_level
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if options.hardware_compatibility != "none":
        level = _LEVELS[options.hardware_compatibility]
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.strip_weights:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
        # the same weights come back at load, so that tactics may depend on their values
        config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)


def _add_profile(
    builder: trt.Builder, config: trt.IBuilderConfig, engine: PlannedEngine
) -> trt.IOptimizationProfile | None:
    if not engine.dynamic:
        return None
    profile = builder.create_optimization_profile()
    try:
        for shapes in engine.dynamic:
            profile.set_shape(shapes.name, shapes.least, shapes.usual, shapes.greatest)
        index = config.add_optimization_profile(profile)
    except (ValueError, RuntimeError) as error:
        raise BackendError(
            f"{engine.label}: TensorRT refuses the shapes it is to be built for ({error}); "
            "choose another --batch"
        ) from error
    if index != 0:
        raise BackendError(
            f"{engine.label}: TensorRT refuses the shapes it is to be built for; "
            "choose another --batch"
        )
    return profile


def _use_timing(config: trt.IBuilderConfig, saved: bytes, library: Library) -> trt.ITimingCache:
    """Give the builder what was measured before; a file that it refuses counts as empty."""
    for content in dict.fromkeys((saved, b"")):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    raise BackendError(f"TensorRT {library.version} gives no timing cache{library.complaint()}")


def _merged(config: trt.IBuilderConfig, cache: trt.ITimingCache, saved: bytes) -> bytes:
    """What was measured, with what other builds have saved meanwhile."""
    if saved:
        other = config.create_timing_cache(saved)
        if other is not None:
            cache.combine(other, False)
    measured = cache.serialize()
    # without memory for a copy there is none: what was saved before stays
    return saved if measured is None else bytes(measured)


def _add_monitor(config: trt.IBuilderConfig, release: Release, watch: Watch) -> Any:
    """Watch the build; the object must live as long as the build does."""
    if not release.reports_progress:
        return None
    import tensorrt as trt

    phases = Phases()

    class _Monitor(trt.IProgressMonitor):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            watch.progress(phases)
            return not watch.cancel.is_set()

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    monitor = _Monitor()
    config.progress_monitor = monitor
    return monitor
