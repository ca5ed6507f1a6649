"""What every ONNX Runtime session needs: the import, its settings, its words for errors.

Settings, each for a reason: sequential execution (the graphs are chains, parallel branches only
fight for cores); one inter-op thread; no spinning (several sessions are open at once, and idle
threads would burn the cores that the active one needs); log severity 4, fatal only (an error is
raised as well, and its text reaches the user once, through ours).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t2s_rt.backends.onnxruntime.shared_arena import use_shared_arena
from t2s_rt.backends.options import BackendOptions
from t2s_rt.bundle import GraphEntry
from t2s_rt.errors import BackendError, BundleError, MissingExtraError

__all__ = [
    "Provider",
    "check_file",
    "create_session",
    "failed",
    "first_line",
    "import_onnxruntime",
    "run_options",
    "session_options",
]

Provider = str | tuple[str, Mapping[str, str]]
"""A provider's name, with its options where it has any."""

_TYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(float)": "float32",
    "tensor(bool)": "bool",
}
_QUIET = 4


def import_onnxruntime(extra: str) -> Any:
    """The library.

    Raises:
        MissingExtraError: it is not installed, or fails to load.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("the ONNX Runtime backend", "onnxruntime", extra) from error
    return onnxruntime


def session_options(onnxruntime: Any, options: BackendOptions, *, on_cpu: bool = False) -> Any:
    """The house settings, see the top of this module.

    Args:
        onnxruntime: the library.
        options: whose ``threads`` count.
        on_cpu: whether the CPU provider runs the whole graph, with the process's arena.
    """
    settings = onnxruntime.SessionOptions()
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    settings.intra_op_num_threads = options.threads or 0
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _QUIET
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if on_cpu:
        use_shared_arena(onnxruntime, settings)
    return settings


def run_options(onnxruntime: Any, options: BackendOptions, arenas: str) -> Any:
    """Options of every run.

    Args:
        onnxruntime: the library.
        options: whose ``shrink_arena`` counts.
        arenas: the arenas to shrink, in the library's words: ``"cpu:0"``.
    """
    settings = onnxruntime.RunOptions()
    settings.log_severity_level = _QUIET
    if options.shrink_arena:
        settings.add_run_config_entry("memory.enable_memory_arena_shrinkage", arenas)
    return settings


def create_session(
    onnxruntime: Any, path: str, settings: Any, providers: Sequence[Provider]
) -> Any:
    """An ``InferenceSession``.

    ``enable_fallback=0`` keeps the library from printing and taking other providers instead.

    Raises:
        BackendError: the library refuses the graph.
    """
    try:
        return onnxruntime.InferenceSession(
            path, settings, providers=list(providers), enable_fallback=0
        )
    except Exception as error:  # the library's classes share no base below Exception
        raise BackendError(
            f"{path}: ONNX Runtime {onnxruntime.__version__} cannot load this graph "
            f"({first_line(error)})"
        ) from error


def check_file(entry: GraphEntry, session: Any) -> None:
    """The file's own names and dtypes must be those that the manifest promised.

    Raises:
        BundleError: they are not.
    """
    for side, specs, nodes in (
        ("inputs", entry.inputs, session.get_inputs()),
        ("outputs", entry.outputs, session.get_outputs()),
    ):
        found = {node.name: _TYPES.get(node.type, node.type) for node in nodes}
        expected = {spec.name: spec.dtype for spec in specs}
        if found != expected:
            raise BundleError(
                f"{entry.path}: bundle.json promises the {side} {_show(expected)}, "
                f"the file has {_show(found)}; export the bundle again"
            )


def failed(entry: GraphEntry, error: Exception) -> BackendError:
    """What a run that the library broke off raises."""
    return BackendError(f"{entry.role}: ONNX Runtime failed ({first_line(error)})")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 300 letters."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def _show(tensors: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in tensors.items())
