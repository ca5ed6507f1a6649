"""SAM, Grounding DINO and CLIP as lean modules: trainable, and written for export."""
