"""Latency, memory and accuracy figures: every number of the README comes from here."""
