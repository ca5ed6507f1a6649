"""How well a bundle sees the held-out synthetic scenes, beside colour k-means.

Objects count if the longer side of their visible part is at least eight pixels of the scene.
Scenes keep their own ground resolution, 0.05 to 1 m; like ``infer``, everything here works on
them at the bundle's resolution, in tiles, and is judged in the scene's own pixels.

==========  ================================================================
measure     the whole of it, one record
boxes       detector: AP50 pooled, by ground resolution and season
masks       SAM: masks of true boxes
maps        every route's class map, and two baselines
text        whether words decide: swapped captions, synonyms
floors      what is asked for, and whether it is reached
tables      the record as Markdown
sheets      maps beside the truth, as pictures
==========  ================================================================
"""
