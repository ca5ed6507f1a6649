"""README's promises: its first command runs and gives the map it speaks of."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from t2s_bench.readme import render_readme
from t2s_rt.errors import UsageError

ROOT = Path(__file__).parents[2]


def _shell_lines() -> list[str]:
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_first_two_commands_do_all_the_setting_up() -> None:
    first, second = _shell_lines()[:2]
    assert first.startswith("pip install '.[cpu]' && t2s-rt infer ")
    assert second == "pip install '.[test]' && pytest"


def test_first_command_makes_the_map(tmp_path: Path) -> None:
    words = shlex.split(_shell_lines()[0].partition("&& ")[2])
    assert words[0] == "t2s-rt"
    where = words.index("-o")
    words[where + 1] = str(tmp_path / "map")
    done = subprocess.run(
        [sys.executable, "-m", "t2s_rt", *words[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (tmp_path / "map").iterdir()}
    stem = Path(words[2]).stem
    wanted = ("labels.tif", "labels.tif.aux.xml", "confidence.tif", "gpkg", "preview.png", "json")
    assert made == {f"{stem}.{suffix}" for suffix in wanted}
    table = (ROOT / "README.md").read_text()
    assert all(f"| `{name}` |" in table for name in made)


def test_figures_are_the_records() -> None:
    """`t2s-rt bench readme` writes them; nobody copies figures by hand."""
    text = (ROOT / "README.md").read_text()
    assert text.count("<!-- figures: ") == text.count("<!-- end of figures -->") >= 3
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text()
        assert render_readme(text, ROOT / "bench" / "records") == text, page.name


def test_a_section_without_a_record_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'nano'"):
        render_readme("<!-- figures: nano -->\nold\n<!-- end of figures -->\n", tmp_path)


def test_one_bench_may_have_a_record_of_each_machine(tmp_path: Path) -> None:
    other = (ROOT / "bench" / "records" / "scenes.json").read_text()
    (tmp_path / "scenes_other.json").write_text(other)
    page = "<!-- figures: scenes of scenes_other -->\nold\n<!-- end of figures -->\n"
    written = render_readme(page, tmp_path)
    assert written.startswith("<!-- figures: scenes of scenes_other -->\nOne core draws")
    with pytest.raises(UsageError, match=r"scenes\.json"):
        render_readme(page.replace(" of scenes_other", ""), tmp_path)


def test_links_inside_the_repository_resolve() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", ["README.md"])
def test_every_command_shown_exists(page: str) -> None:
    shown = set(re.findall(r"t2s-rt ([a-z]+)(?= |`|\n)", (ROOT / page).read_text()))
    done = subprocess.run(
        [sys.executable, "-m", "t2s_rt", "--help"], capture_output=True, text=True, check=True
    )
    for name in shown:
        assert re.search(rf"^\s+{name}\s", done.stdout, re.M), name
