"""Is this machine fit to fly? Asked of files and package records, without loading what they name.

:func:`t2s_engines.doctor.examine.examine` runs every check. Each reads a
:class:`~t2s_engines.doctor.machine.Machine`: a root folder, an environment and the records of
installed packages, so that tests can describe a Jetson on any machine. Nothing is imported here:
the command is registered without loading any of it.
"""
