"""The command line and the documents agree: what is shown exists, and what exists is shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from durably.cli.app import COMMANDS
from durably.cli.app import durably as command_line

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = re.compile(r"```(?:console|sh|bash|shell)?\n(.*?)```", re.DOTALL)


def commands_shown() -> list[str]:
    """Every `durably …` line of the pages' shell blocks."""
    blocks = [block for page in PAGES for block in SHELL.findall(page.read_text())]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if re.match(r"(\$ )?durably (?!on )[a-z-]", line)]


@pytest.mark.parametrize("line", commands_shown())
def test_every_command_shown_is_one_that_the_command_line_takes(line: str) -> None:
    words = shlex.split(line.split(" | ")[0].split(" > ")[0], comments=True)[1:]
    if words[:1] == ["--help"]:
        return
    with command_line.make_context("durably", words) as outer:
        name, command, rest = command_line.resolve_command(outer, [*outer._protected_args, *outer.args])
        assert command is not None, name
        assert isinstance(command, click.Command)
        refuse_unknown(command, name or "", rest, outer)


def refuse_unknown(command: click.Command, name: str, words: list[str], outer: click.Context) -> None:
    """Parse the words as the command would, down to a command of a group. Raises click.UsageError."""
    context = click.Context(command, info_name=name, parent=outer)
    if isinstance(command, click.Group):
        inner, found, rest = command.resolve_command(context, words)
        assert found is not None, inner
        refuse_unknown(found, inner or "", rest, context)
        return
    parser = command.make_parser(context)
    parser.parse_args(list(words))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert re.search(rf"durably {name}\b", "".join(page.read_text() for page in PAGES))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented(name: str) -> None:
    command = command_line.get_command(click.Context(command_line), name)
    assert command is not None
    text = "".join(page.read_text() for page in PAGES)
    options = [option for one in flat(command) for option in one.params if isinstance(option, click.Option)]
    assert [option.opts[0] for option in options if not option.hidden and option.opts[0] not in text] == []


def flat(command: click.Command) -> list[click.Command]:
    """The command, and those inside it."""
    inside = command.commands.values() if isinstance(command, click.Group) else ()
    return [command, *(one for inner in inside for one in flat(inner))]
