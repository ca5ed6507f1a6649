"""Can TensorRT import this graph? Answered on paper, release by release, with onnx alone.

A pass says that every operator, element type and form is one that the release's documentation
takes, and that no known trap is in it. Whether an engine builds, and is right, only the device
says.
"""

from t2s_engines.preflight.checks import check, preflight
from t2s_engines.preflight.releases import RELEASES
from t2s_engines.preflight.report import PreflightReport, Problem

__all__ = ["RELEASES", "PreflightReport", "Problem", "check", "preflight"]
