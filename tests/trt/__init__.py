"""TensorRT code against the genuine Python bindings, without TensorRT.

The bindings' wheels are on PyPI; the library behind them is not. A stub of its nine C symbols lets
them be imported, so that names, enums, signatures and argument checks are NVIDIA's own. Wheels and
everything made of them stay in a cache folder; nothing is taken apart, nothing is committed.
"""
