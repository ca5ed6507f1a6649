"""The command line: one module per command, joined through the entry-point group t2s_rt.commands."""
