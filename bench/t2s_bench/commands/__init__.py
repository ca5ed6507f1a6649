"""The commands of ``t2s-rt bench``: speed, accuracy, and what keeps the project's pages."""
