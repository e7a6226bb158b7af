"""Malformed nets, solvers, databases, models, command lines: one line that says what and where.

No traceback, no hang, SIGABRT (a refused flag: status 1); and where real Caffe refuses the same
with a message, ours starts with it.
"""

from pathlib import Path

import pytest

from tests.conformance.bad_input.conftest import Judge
from tests.conformance.bad_input.databases import DATABASES
from tests.conformance.bad_input.nets import NET, NETS
from tests.conformance.bad_input.solvers import COMMANDS, FLAGS, SOLVERS, TRAIN
from tests.conformance.commands import Command

pytestmark = pytest.mark.conformance


@pytest.mark.parametrize("name", NETS)
def test_net(name: str, folder: Path, judge: Judge) -> None:
    (folder / "net.prototxt").write_text(NETS[name].text)
    judge(NETS[name], *TRAIN)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver(name: str, folder: Path, judge: Judge) -> None:
    (folder / "solver.prototxt").write_text(SOLVERS[name].text)
    judge(SOLVERS[name], *TRAIN)


@pytest.mark.parametrize("name", DATABASES)
def test_database(name: str, folder: Path, judge: Judge) -> None:
    write, fault = DATABASES[name]
    write(folder / "bad_lmdb")
    (folder / "net.prototxt").write_text(NET.replace('"lmdb"', '"bad_lmdb"'))
    judge(fault, *TRAIN)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_line(name: str, judge: Judge) -> None:
    arguments, fault = COMMANDS[name]
    judge(fault, *arguments)


@pytest.mark.parametrize("name", FLAGS)
def test_flags(name: str, folder: Path, embedded: Command, real: Command) -> None:
    """gflags' own refusals: status 1, and its own first line, word for word."""
    ours, theirs = embedded(*FLAGS[name], cwd=folder), real(*FLAGS[name], cwd=folder)
    assert ours.status == theirs.status == 1
    assert ours.log.splitlines()[0] == theirs.log.splitlines()[0]
    assert ours.stdout == theirs.stdout == ""


def test_the_good_one_is_good(folder: Path, embedded: Command, real: Command) -> None:
    """Else every malformed one would be refused for another reason."""
    arguments = (*TRAIN, "-weights", "good.caffemodel")
    assert embedded(*arguments, cwd=folder).status == real(*arguments, cwd=folder).status == 0
