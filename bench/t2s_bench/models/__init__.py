"""Proof of the official models: parity with the originals at full size, and speed beside them."""
