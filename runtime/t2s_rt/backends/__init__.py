"""Backends: one seam to every inference library."""

from __future__ import annotations

from t2s_rt.backends.base import Session
from t2s_rt.backends.fake import FakeSession, fake_entry
from t2s_rt.backends.onnxruntime_cpu import OnnxRuntimeCpuSession
from t2s_rt.backends.registry import (
    BACKENDS,
    AutoBackend,
    BackendKind,
    choose_backend,
    open_session,
)

__all__ = [
    "BACKENDS",
    "AutoBackend",
    "BackendKind",
    "FakeSession",
    "OnnxRuntimeCpuSession",
    "Session",
    "choose_backend",
    "fake_entry",
    "open_session",
]
