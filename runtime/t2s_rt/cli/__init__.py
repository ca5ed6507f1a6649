"""The command line: one module per command, joined through entry points."""
