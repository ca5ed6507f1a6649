"""docs/deploy.md agrees with the program: commands, options, extras, files, the JetPack table."""

from __future__ import annotations

import re
import shlex
import subprocess
from importlib import metadata
from pathlib import Path

import click
import pytest

from t2s_engines.doctor.jetson import JETPACKS
from t2s_engines.doctor.nvidia import LEAST_DRIVER
from t2s_engines.doctor.versions import Version, show_version
from t2s_rt.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text()
CONFIG = (ROOT / "docs" / "deploy" / "watch.conf").read_text()


def shell_blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", PAGE, re.S)


def named_commands() -> list[list[str]]:
    """Words of every call of t2s-rt in shell blocks and in running text."""
    lines = [line for block in shell_blocks() for line in block.splitlines()]
    lines += re.findall(r"`(t2s-rt [^`]+)`", PAGE)
    # what runs in the image has its name before the arguments
    calls = [re.search(r"(?:^|[\s/])t2s-rt(?::cpu)? (?=[a-z])(.+)", line) for line in lines]
    found = [
        shlex.split(re.split(r"\s(?:\||>|&&|;)\s", call[1])[0])
        for call, line in zip(calls, lines, strict=True)
        if call and not line.startswith(("docker build", "#"))
    ]
    options = re.search(r"T2S_INFER_OPTIONS=(.*)", CONFIG)
    assert options
    return [*found, ["infer", "scene", *options[1].split()]]


def command_of(words: list[str]) -> tuple[click.Command | None, list[str]]:
    """The command that words name, sub-commands included, and the words left over."""
    context = click.Context(cli)
    command: click.Command | None = cli
    while isinstance(command, click.Group) and words:
        command = command.get_command(context, words[0])
        words = words[1:]
    return command, words


def test_the_page_names_all_that_a_deployment_needs() -> None:
    firsts = {words[0] for words in named_commands()}
    assert {"models", "export", "prompts", "info", "doctor", "build", "verify", "infer"} <= firsts


@pytest.mark.parametrize("words", named_commands(), ids=" ".join)
def test_every_command_and_option_exists(words: list[str]) -> None:
    command, rest = command_of(list(words))
    assert command is not None, words
    known = {name for parameter in command.params for name in parameter.opts}
    used = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    assert used <= known | {"--help"}, used - known
    for parameter in command.params:
        if isinstance(parameter.type, click.Choice):
            for name in parameter.opts:
                if name in rest and name.startswith("-"):
                    assert rest[rest.index(name) + 1] in parameter.type.choices


def test_every_block_is_a_script() -> None:
    for block in shell_blocks():
        subprocess.run(["sh", "-n", "-c", block], check=True)


def test_extras_are_declared() -> None:
    declared = set(metadata.metadata("t2s-rt").get_all("Provides-Extra") or ())
    named = set(re.findall(r"(?:t2s-rt|\.|whl\)?)\[(\w+)\]", PAGE))
    assert {"cpu", "cuda", "export"} <= named <= declared


def test_models_are_in_the_registry() -> None:
    from t2s_export.checkpoints.registry import MODELS

    known = {entry.id for entry in MODELS}
    pulled = [words[2:] for words in named_commands() if words[:2] == ["models", "pull"]]
    for names in pulled:
        ids = names[: names.index("--from")] if "--from" in names else names
        assert ids and set(ids) <= known


def test_files_that_are_installed_are_there() -> None:
    installed = set(re.findall(r"\bdeploy/([\w.-]+)", PAGE))
    kept = {path.name for path in (ROOT / "docs" / "deploy").iterdir()}
    assert kept <= installed
    assert installed - kept <= {"test_watch.py", "test_dockerfile.py"}


def _span(ends: tuple[Version, Version]) -> str:
    first, last = map(show_version, ends)
    return first if first == last else f"{first} to {last}"


def test_the_jetpack_table_is_the_doctors() -> None:
    block = PAGE.partition("<!-- jetpacks -->")[2].partition("<!-- end of jetpacks -->")[0]
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in block.strip().splitlines()[2:]
    ]
    assert rows == [
        (
            pack.name,
            _span(pack.l4t),
            pack.cuda,
            show_version(pack.tensorrt),
            show_version(pack.python),
            ", ".join(pack.modules),
        )
        for pack in JETPACKS
    ]


def test_driver_bounds_are_the_doctors() -> None:
    for driver in LEAST_DRIVER.values():
        assert f"driver {driver.partition('.')[0]}" in PAGE


def test_exit_codes_are_the_programs() -> None:
    from t2s_rt import errors

    codes = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.T2SError)
    }
    table = PAGE.partition("| `infer` | meaning |")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    told = {int(number) for cell in first_cells for number in re.findall(r"\d+", cell)}
    assert told == codes | {0, errors.EXIT_INTERRUPTED}
