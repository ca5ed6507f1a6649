"""The original packages as oracles, and what loading and comparing them needs."""
