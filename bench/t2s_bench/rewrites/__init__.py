"""What rewriting a graph for ONNX Runtime's CPU provider would gain, and cost.

``forms`` holds the rewrites, ``measure`` races each against the graph as it is and says how far
its outputs move, ``tables`` writes it down. Nothing here changes what ``infer`` runs.
"""
