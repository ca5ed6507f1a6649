"""Activation ranges to Q/DQ graphs to an accuracy report; score thresholds. No command yet."""
