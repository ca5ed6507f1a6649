"""Accuracy against time: every route in float32, float16 and int8 on the same held-out scenes."""
