"""Is this machine fit to fly? Asked of files and package records, without loading what they name.

Every probe reads a :class:`~t2s_engines.doctor.machine.Machine`: a root folder, an environment
and the records of installed packages, so that tests can describe a Jetson on any machine.
"""

from t2s_engines.doctor.examine import Examination, examine
from t2s_engines.doctor.machine import Machine
from t2s_engines.doctor.verdicts import Level, Verdict

__all__ = ["Examination", "Level", "Machine", "Verdict", "examine"]
