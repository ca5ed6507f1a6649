"""Score thresholds from labelled scenes (``t2s-rt calibrate``); int8 ranges are not built yet."""
