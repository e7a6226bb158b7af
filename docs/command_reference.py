"""The commands that there are, from the programs themselves, and their reference as Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

import data_prep.cli
import reproduce.cli
from caffe_torch import flags

MAKEFILE = Path(__file__).parent.parent / "Makefile"


def make_rules() -> list[tuple[list[str], str]]:
    """The targets of each rule that `make help` tells of, with what they do."""
    found = re.findall(r"^([a-z0-9][a-z0-9 -]*):.*## (.*)$", MAKEFILE.read_text(), re.MULTILINE)
    return [(targets.split(), said) for targets, said in found]


def make_variables() -> set[str]:
    """What may be set on make's command line."""
    text = MAKEFILE.read_text()
    exported = re.findall(r"^export (.*)$", text, re.MULTILINE)
    return {*re.findall(r"^([A-Z_]+) \?=", text, re.MULTILINE), *" ".join(exported).split()}


def commands() -> dict[str, Any]:
    """Click's commands by the words that call them: those of `metaqnn`, and `data_prep`."""
    apps = {"metaqnn": reproduce.cli.app, "python -m data_prep": data_prep.cli.app}
    return {
        words: command
        for name, app in apps.items()
        for words, command in _below(name, typer.main.get_command(app))
    }


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command, or those of a group; Typer's classes are Click's or, of late, its own."""
    if not hasattr(command, "commands"):
        yield words, command
        return
    if command.invoke_without_command:
        yield words, command
    for word, below in command.commands.items():
        yield from _below(f"{words} {word}", below)


def caffe_torch_commands() -> dict[str, str]:
    """The commands of `caffe-torch`, with what they do."""
    listed = flags.USAGE.partition("commands:\n")[2]
    return dict(re.findall(r"^  (\w+) +(.*)$", listed, re.MULTILINE))


def _cell(text: str) -> str:
    """Text for a cell of a table, in which nothing is taken for markup but code."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _table(header: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    lines = [header, ("---", "---"), *((_cell(left), _cell(right)) for left, right in rows)]
    return "\n".join(f"| {left} | {right} |" for left, right in lines) + "\n"


def _make() -> str:
    rows = ((", ".join(f"`make {t}`" for t in targets), said) for targets, said in make_rules())
    return _table(("command", "does"), rows)


def _parameters(command: Any) -> Iterator[tuple[str, str]]:
    """A command's arguments and options: their names and their help, default included."""
    for parameter in command.params:
        _, said = parameter.get_help_record(typer.Context(command)) or ("", parameter.help)
        names = [*parameter.opts, *parameter.secondary_opts]
        if parameter.param_type_name == "argument":
            names = [parameter.metavar or parameter.name.upper()]
        yield ", ".join(f"`{name}`" for name in names), said


def _options(program: str) -> str:
    sections = []
    for words, command in commands().items():
        if words.startswith(program):
            rows = _table(("argument or option", "means"), _parameters(command))
            sections.append(f"### {words}\n\n{command.help.strip()}\n\n{rows}")
    return "\n".join(sections)


def _caffe_torch() -> str:
    does = _table(
        ("command", "does"),
        ((f"`caffe-torch {name}`", said) for name, said in caffe_torch_commands().items()),
    )
    return f"{does}\n" + _table(
        ("flag", "means"), ((f"`--{name}`", said) for name, said in flags.HELP.items())
    )


SECTIONS: dict[str, Callable[[], str]] = {
    "<!-- make targets -->": _make,
    "<!-- metaqnn -->": lambda: _options("metaqnn"),
    "<!-- data_prep -->": lambda: _options("python -m data_prep"),
    "<!-- caffe-torch -->": _caffe_torch,
}
"""What is filled in on the page of the commands, by the mark that stands for it."""
