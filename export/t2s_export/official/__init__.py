"""Bundles of the official models: SAM, Grounding DINO and CLIP from their checkpoint files."""
