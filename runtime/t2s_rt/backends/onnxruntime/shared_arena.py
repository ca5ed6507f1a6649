"""One scratch arena for all CPU sessions of a process.

A session's own arena grows to what its largest call needs and keeps it while other sessions work.
The graphs of a chain take turns on a tile, so that one arena for all of them holds what is needed
at once and no more: nano maps a scene in three quarters of the memory, at the same speed. The
arena belongs to the process: closing sessions leaves it to the next ones.
"""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["use_shared_arena"]

_DEFAULT = -1
"""The library's own choice."""


def use_shared_arena(onnxruntime: Any, settings: Any) -> None:
    """Let a session with these settings take its scratch memory from the process's arena.

    Args:
        onnxruntime: the library.
        settings: its ``SessionOptions`` of a session on the CPU provider.
    """
    _register(onnxruntime)
    settings.add_session_config_entry("session.use_env_allocators", "1")


@cache
def _register(onnxruntime: Any) -> None:
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    sizes = {
        "max_mem": 0,
        "arena_extend_strategy": _DEFAULT,
        "initial_chunk_size_bytes": _DEFAULT,
        "max_dead_bytes_per_chunk": _DEFAULT,
    }
    try:
        onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(sizes))
    except Exception:
        # the process that we are part of has registered one already, which then serves us, too;
        # without any, sessions have arenas of their own
        return
