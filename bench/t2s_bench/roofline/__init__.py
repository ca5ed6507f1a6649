"""Where the time of each graph goes, and how much of the machine it uses.

``profile`` runs a graph with ONNX Runtime's profiler, ``count`` tells the work of each node from
its shapes, ``peaks`` measures what the machine can do through the same runtime, ``measure`` puts
them side by side for the calls that ``infer`` makes, ``tables`` writes it down.
"""
