"""Score thresholds from labelled scenes (``t2s-rt calibrate``)."""
