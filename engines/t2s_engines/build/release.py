"""What a release of TensorRT can build, as far as ``t2s-rt build`` has to know."""

from __future__ import annotations

import re
from dataclasses import dataclass

from t2s_rt.errors import UsageError

__all__ = ["OLDEST", "Release"]

_OPSETS = (((8, 6), 17), ((10, 0), 20), ((10, 9), 22), ((10, 13), 24))
"""First release with each highest ONNX opset, from the operator tables of onnx-tensorrt."""


@dataclass(frozen=True)
class Release:
    """A release of TensorRT.

    Attributes:
        name: as it was given, e.g. ``10.3`` or ``10.13.3.9``.
        number: its first two parts.
    """

    name: str
    number: tuple[int, int]

    @classmethod
    def parse(cls, name: str) -> Release:
        """The release of that name.

        Raises:
            UsageError: no release, or one that this program does not build for.
        """
        found = re.fullmatch(r"(\d+)\.(\d+)(\.\w+)*", name.strip(), re.ASCII)
        number = (int(found[1]), int(found[2])) if found and len(name) < 32 else (0, 0)
        if number != (8, 6) and number < (10, 0):
            raise UsageError(
                "expected a TensorRT release such as 10.3, 10.13 or 11.4, or 8.6 (JetPack 6.0), "
                f"found {name!r}; t2s-rt builds with 8.6 and with 10 and later"
            )
        return cls(name.strip(), number)

    @property
    def strongly_typed(self) -> bool:
        """Whether networks take their types from the graph; 8.6 chooses types itself."""
        return self.number >= (10, 0)

    @property
    def typing_is_asked(self) -> bool:
        """Whether strong typing has to be asked for; 11 knows nothing else."""
        return (10, 0) <= self.number < (11, 0)

    @property
    def opset(self) -> int:
        """The highest ONNX opset that its parser imports."""
        return max(opset for first, opset in _OPSETS if self.number >= first)

    @property
    def same_compute_capability(self) -> bool:
        """Whether an engine can be built for all GPUs of one compute capability."""
        return self.number >= (10, 9)

    @property
    def strips_weights(self) -> bool:
        """Whether plans without weights exist."""
        return self.number >= (10, 0)

    @property
    def reports_progress(self) -> bool:
        """Whether a build can be watched and cancelled."""
        return self.number >= (10, 0)


OLDEST = Release("10.3", (10, 3))
"""The oldest release of the strongly typed path: what is planned for where nothing is installed."""
