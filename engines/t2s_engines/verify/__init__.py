"""``t2s-rt verify``: is what runs on this device what was exported?

A graph that builds and runs may still be wrong: current releases of TensorRT have silent wrong
results for models like ours. So each engine, or each graph on a backend, is compared on this very
device with the float32 graph on ONNX Runtime's CPU provider, and signed off or not.
"""

from __future__ import annotations
