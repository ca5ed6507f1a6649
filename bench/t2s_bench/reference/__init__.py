"""The original packages: opponents of the bench, oracles of the tests. torch may live here.

Nothing here is ours but the loading: the model code that runs is segment_anything's,
groundingdino's and open_clip's. Written for comparisons are
:mod:`t2s_bench.reference.clip_papers`, a second reading of two papers, and
:mod:`t2s_bench.reference.text2seg`, the steps of a third around the packages' models. For nano,
which two of the packages cannot build, ``race_parts`` runs our trainable modules in their place.
"""
