"""The original packages: opponents of the bench, oracles of the tests. torch may live here.

Nothing here is ours but the loading: the model code that runs is segment_anything's,
groundingdino's and open_clip's. Only :mod:`t2s_bench.reference.clip_papers`, a second reading of
two papers, is written for comparisons.
"""
