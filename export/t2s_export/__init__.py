"""Workstation side: torch modules to ONNX graphs to a bundle.

torch lives here, and nowhere else but in the bench's opponents.
"""
