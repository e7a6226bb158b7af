"""Commands that users write: their words, placeholders, and what another shell makes of them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.training import commands
from reproduce.training.commands import StopCommand, fill, split_command

KNOWN = ("run", "name")
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


def split(text: str) -> tuple[str, ...]:
    return split_command(text, KNOWN, {"PATH": "/usr/bin:/bin"})


def test_words_quotes_and_placeholders() -> None:
    words = split("/a/docker run --name {name} -v '{run}:/run dir'")
    assert words == ("/a/docker", "run", "--name", "{name}", "-v", "{run}:/run dir")
    filled = fill(words, {"name": "n1", "run": "/a b"}, ["train", "it's"])
    assert filled == ["/a/docker", "run", "--name", "n1", "-v", "/a b:/run dir", "train", "it's"]


def test_a_placeholders_value_is_not_read_again() -> None:
    assert fill(("x", "{run}"), {"run": "/runs/{name}", "name": "n"}) == ["x", "/runs/{name}"]


@pytest.mark.parametrize("word", ["${HOME}", "{{.ID}", "{ print }", "{a-b}"])
def test_braces_of_others_are_left_alone(word: str) -> None:
    assert split(f"x '{word}'")[1] == word


@pytest.mark.parametrize("word", ["{foo}", "a{}b", "{Run}"])
def test_an_unknown_placeholder(word: str) -> None:
    name = re.escape(word.strip("ab"))
    with pytest.raises(ValueError, match=rf"^{name} is no placeholder; there are \{{run\}}, "):
        split(f"x {word}")


def test_files_behind_ssh_are_the_other_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "caffe").touch()
    monkeypatch.chdir(tmp_path)
    assert split("env bin/caffe")[1] == str(tmp_path / "bin" / "caffe")
    assert split("/a/ssh host bin/caffe")[2] == "bin/caffe"


@given(run=TEXT, argument=TEXT)
def test_what_ssh_joins_the_remote_shell_splits_as_it_was(run: str, argument: str) -> None:
    """ssh joins its words with blanks and hands them to a shell; that one is asked here."""
    say = "import sys; print(ascii(sys.argv[1:]))"
    words = ("ssh", f"{sys.executable} -I -S -c '{say}'", "{run}")
    joined = " ".join(fill(words, {"run": run}, [argument])[1:])
    told = subprocess.run(["/bin/sh", "-c", joined], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ascii([run, argument])


@given(TEXT)
def test_without_another_shell_nothing_is_quoted(text: str) -> None:
    assert fill(("docker", "{run}"), {"run": text}, [text]) == ["docker", text, text]


# CAFFE_STOP


def stop(*words: str) -> str:
    values = {"name": "n1", "run": "/r", "solver": "s"}
    return StopCommand(words, values).send("KILL", dict(os.environ))


def test_a_stop_command_gets_the_signal_and_the_process(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = 'echo "$@" > "$0"'
    assert stop("sh", "-c", script, str(told), "{signal}", "{name}", "{run}", "{solver}") == ""
    assert told.read_text() == "KILL n1 /r s\n"


def test_a_stop_command_that_fails_says_so_in_one_line() -> None:
    said = stop("sh", "-c", "echo one; echo No such container; exit 3")
    assert said.startswith("CAFFE_STOP (sh -c ")
    assert said.endswith("failed (exit code 3, said: No such container)")
    assert "\n" not in said.replace("'", "")
    assert stop("false").endswith("failed (exit code 1, said: nothing)")
    assert stop("/no/such/program").endswith("does not run: No such file or directory")


def test_a_stop_command_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_STOP_SECONDS", 0.3)
    script = 'sleep 5 & echo $! > "$0"; wait; echo late > "$0"'
    assert stop("sh", "-c", script, str(tmp_path / "pid")).endswith("did not end within 0.3 s")
    pid = int((tmp_path / "pid").read_text())
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=2)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
