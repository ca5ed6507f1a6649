"""Make the torchvision wheel importable beside a CPU build of torch."""

from t2s_bench.reference.torchvision_shim import install

__all__ = ["install"]
