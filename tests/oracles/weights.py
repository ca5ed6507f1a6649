"""Random weights under which every parameter matters."""

from t2s_bench.reference.weights import randomise

__all__ = ["randomise"]
