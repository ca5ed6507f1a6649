"""Graphs to engines on this device: preflight, build, cache, doctor, verify. No command yet."""
