"""``bench detector``: frames and captions, each with its time, and frames with what they find."""

from __future__ import annotations

from t2s_bench.detector_sizes import detector_sizes_tables, measure_detector_sizes


def test_frames_are_timed_and_judged_and_captions_timed() -> None:
    record = measure_detector_sizes((576, 384), scenes=2, full_size=False, repeat=2)
    nano, small = record["frames"]
    assert (nano["side"], small["side"]) == (576, 384)
    assert nano["p50_s"] > 0 and small["p50_s"] > 0
    assert nano["ap50"]["building"] > 0.2, "nano's own frame finds what the bundle's graph finds"
    assert small["ap50"] != nano["ap50"]
    assert [one["tokens"] for one in record["captions"]["nano"]] == [16, 32, 64]
    shown = detector_sizes_tables(record)
    assert (
        "| 384 x 384 |" in shown and "| nano | 64 |" in shown and "`t2s-rt bench detector`" in shown
    )
