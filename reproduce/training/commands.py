"""Commands as users write them: words as in a shell, with placeholders in braces."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_PLACEHOLDER = re.compile(r"(?<!\$)\{(\w*)\}")  # ${HOME} is a shell's, not ours
_STOP_SECONDS = 20.0

StopSignal = Literal["INT", "KILL"]


def split_command(text: str, known: Iterable[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """The words of a command line; those that name local files become absolute.

    Words behind `ssh` belong to the other host and stay as they are.

    Raises:
        ValueError: if the text is no command line, or a placeholder is not among `known`.
    """
    words = shlex.split(text)
    for word in words:
        for name in _PLACEHOLDER.findall(word):
            if name not in known:
                there_are = ", ".join(f"{{{each}}}" for each in known)
                raise ValueError(f"{{{name}}} is no placeholder; there are {there_are}")
    program = shutil.which(words[0], path=env.get("PATH")) or words[0]
    if "/" in program:
        program = str(Path(program).absolute())
    if joins_words((program,)):
        return (program, *words[1:])
    return (program, *(_absolute(word) for word in words[1:]))


def _absolute(word: str) -> str:
    return str(Path(word).absolute()) if "/" in word and Path(word).is_file() else word


def joins_words(command: tuple[str, ...]) -> bool:
    """Whether a command hands its words, joined by blanks, to another shell, as `ssh` does."""
    return Path(command[0]).name == "ssh"


def fill(
    command: tuple[str, ...], values: Mapping[str, str], arguments: Iterable[str] = ()
) -> list[str]:
    """A command with its placeholders filled in, and further arguments.

    Values and arguments are quoted where another shell will read them; the user's own words
    never are.
    """
    quote = shlex.quote if joins_words(command) else str
    filled = (_PLACEHOLDER.sub(lambda match: quote(values[match[1]]), word) for word in command)
    return [*filled, *map(quote, arguments)]


@dataclass(frozen=True)
class StopCommand:
    """`CAFFE_STOP` for one process: it signals what the driver's own signals do not reach.

    Attributes:
        words: the command, with placeholders `{signal}`, `{name}`, `{run}` and `{solver}`.
        values: those of all but the signal.
    """

    words: tuple[str, ...]
    values: Mapping[str, str]

    def send(self, number: StopSignal, env: Mapping[str, str]) -> str:
        """Run the command; returns what went wrong in one line, empty if nothing did."""
        argv = fill(self.words, {**self.values, "signal": number})
        complaint = _run(argv, env)
        return f"CAFFE_STOP ({shlex.join(argv)}) {complaint}" if complaint else ""


def _run(argv: list[str], env: Mapping[str, str]) -> str:
    try:
        process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C is not for it
        )
    except OSError as error:
        return f"does not run: {error.strerror}"
    with process:
        try:
            said, _ = process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return f"did not end within {_STOP_SECONDS:g} s"
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode == 0:
        return ""
    lines = said.decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
    return f"failed (exit code {process.returncode}, said: {last})"
