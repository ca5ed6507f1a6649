"""Run the command line with ``python -m t2s_rt``."""

from __future__ import annotations

from t2s_rt.cli.main import main

if __name__ == "__main__":
    main()
