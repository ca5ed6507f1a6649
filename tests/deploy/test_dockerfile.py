"""The Dockerfile, read, not built: sources, extras, stages and commands that it names exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTRUCTIONS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "WORKDIR",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of every line, comments dropped and continuations joined."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def _of(kind: str) -> list[str]:
    return [rest for word, rest in instructions() if word == kind]


def test_every_line_is_an_instruction() -> None:
    assert {word for word, _ in instructions()} == INSTRUCTIONS


def test_every_source_exists_and_is_not_ignored() -> None:
    ignored = [
        line.rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    stages = set(re.findall(r"\bAS (\w+)", " ".join(_of("FROM"))))
    copied: list[str] = []
    for copy in _of("COPY"):
        words = shlex.split(copy)
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages
            continue
        copied += words[:-1]
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source not in ignored, source
    # whatever the build of the wheel reads: its five packages, the readme, the licences
    metadata_files = {"pyproject.toml", "README.md", "LICENSE", "NOTICE"}
    assert metadata_files <= set(copied)
    roots = re.findall(r'^    "(\w+)/t2s_\w+",$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert len(roots) == 5 and set(roots) <= set(copied)


def test_stages_and_variants_resolve() -> None:
    arguments = dict(arg.partition("=")[::2] for arg in _of("ARG"))
    stages: set[str] = set()
    for line in _of("FROM"):
        image, _, name = line.partition(" AS ")
        (variable,) = re.findall(r"\$\{(\w+)\}", image)
        value = arguments[variable]
        assert value in stages or ":" in value, line
        stages.add(name)
    assert {"cpu", "cuda"} <= stages
    assert arguments["VARIANT"] == "cuda"


def test_extras_of_the_variants_are_declared() -> None:
    declared = set(metadata.metadata("t2s-rt").get_all("Provides-Extra") or ())
    named = set(re.findall(r"T2S_EXTRA=(\w+)", " ".join(_of("ENV"))))
    assert named == {"cpu", "cuda"} and named <= declared


def test_commands_exist() -> None:
    for command in _of("RUN"):
        # a shell reads it without running it
        subprocess.run(["sh", "-n", "-c", command], check=True)
    listed = subprocess.run(
        [sys.executable, "-m", "t2s_rt", "--help"], capture_output=True, text=True, check=True
    ).stdout
    called = [run.split()[1] for run in _of("RUN") if run.startswith("t2s-rt ")]
    assert called == ["doctor"]
    for name in called:
        assert re.search(rf"^\s+{name}\s", listed, re.M), name
    assert _of("ENTRYPOINT") == ['["t2s-rt"]']


def test_it_is_labelled_for_what_it_is() -> None:
    head = (ROOT / "Dockerfile").read_text().partition("\nARG")[0]
    assert "UNBUILT" in head
    assert "unbuilt" in (ROOT / "docs" / "deploy.md").read_text().lower()
