"""Every broken or hostile file of the test data through ``infer``: one clear line, or a map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from tests.runtime.cli.test_infer import _expected, _files, _one_line
from tests.runtime.routes.fakes import FakeModels

Run = Callable[..., Result]


@pytest.mark.slow
def test_no_malformed_file_gets_through_as_something_else(
    models: FakeModels, run: Run, test_data: Path
) -> None:
    files = sorted(path for path in (test_data / "malformed").rglob("*") if path.is_file())
    assert len(files) > 200
    wrong = []
    for number, path in enumerate(files):
        out = Path(f"out-{number}")
        # a route without encoders: what is tested here is reading and writing
        result = run("infer", path, "--prompts", "water", "--route", "dense", "-o", out)
        try:
            assert result.exit_code in (0, 4, 6)
            if result.exit_code:
                assert str(path.name) in _one_line(result)
            if result.exit_code == 4:
                assert _files(out) == []
                assert result.stdout == "" and len(result.stderr.splitlines()) == 1
            else:
                stem = path.stem
                made = {name.replace(".geojson", ".gpkg") for name in _files(out)}
                assert made == set(_expected(stem))
        except AssertionError as error:
            wrong.append(f"{path.relative_to(test_data)}: {result.exit_code} {error}")
    assert not wrong, "\n".join(wrong)
    assert not list(Path().glob("t2s-rt-fault-*"))
