"""Sessions that count their runs."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from t2s_rt.backends import Session

__all__ = ["counted"]


def counted(session: Session, calls: Counter[str]) -> Session:
    """The session, with each run counted under its role.

    Args:
        session: opened.
        calls: where to.
    """
    return cast(Session, _Counted(session, calls))


class _Counted:
    def __init__(self, session: Session, calls: Counter[str]) -> None:
        self._session, self._calls = session, calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *arguments: Any, **keywords: Any) -> Any:
        self._calls[self._session.entry.role] += 1
        return self._session.run(*arguments, **keywords)
