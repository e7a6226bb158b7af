"""Which `caffe` trains: the one seam between the experiment and the training program."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["embedded", "real"]

_GLOG = {"GLOG_logtostderr": "1", "GLOG_minloglevel": "0", "GLOG_log_prefix": "1"}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class CaffeError(RuntimeError):
    """The named `caffe` cannot be run; the message says which, why and what to do."""


@dataclass(frozen=True)
class Caffe:
    """A `caffe` command and where it shall run.

    Attributes:
        argv: the words of the command; those that name files are absolute.
        version: what it said to `--version`.
        kind: `embedded` for this project's own engine, `real` for any other.
        gpu: the GPU passed as `--gpu`; None passes none.
        threads: CPU threads of a process; None leaves the environment as it is.
    """

    argv: tuple[str, ...]
    version: str
    kind: Kind
    gpu: int | None = None
    threads: int | None = None

    def train_argv(self, solver: str, snapshot: str | None = None) -> list[str]:
        """The arguments that train a solver file, from a snapshot where one is given."""
        argv = [*self.argv, "train", f"--solver={solver}"]
        if snapshot is not None:
            argv.append(f"--snapshot={snapshot}")
        if self.gpu is not None:
            argv.append(f"--gpu={self.gpu}")
        return argv

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """A child's environment: `env`, its whole log sent to stderr, and the thread counts."""
        out = {**env, **_GLOG}
        if self.threads is not None:
            out |= dict.fromkeys(_THREAD_VARIABLES, str(self.threads))
        return out

    def __str__(self) -> str:
        return self.version


def find_caffe(env: Mapping[str, str]) -> Caffe:
    """The `caffe` to use: `$CAFFE` (words as in a shell), else on PATH, else the embedded one.

    Raises:
        CaffeError: if the chosen command does not run.
    """
    named = env.get("CAFFE", "").strip()
    if named:
        try:
            argv = _resolve(shlex.split(named), env)
        except ValueError as error:
            raise CaffeError(f"CAFFE={named!r} is not a command line: {error}") from error
        source = f"CAFFE={named!r}"
    elif found := shutil.which("caffe", path=env.get("PATH")):
        argv, source = (str(Path(found).absolute()),), f"`caffe` on PATH ({found})"
    else:
        argv, source = _embedded(), "the embedded caffe"
    version = _version(argv, source, env)
    kind: Kind = "embedded" if "caffe_torch" in version or "caffe-torch" in version else "real"
    return Caffe(argv, version, kind)


def _embedded() -> tuple[str, ...]:
    script = Path(sys.executable).with_name("caffe-torch")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "caffe_torch")


def _resolve(words: list[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """Make the words that name files absolute: the child runs in another folder."""
    program = shutil.which(words[0], path=env.get("PATH")) or words[0]
    files = [str(Path(w).absolute()) if "/" in w and Path(w).is_file() else w for w in words[1:]]
    return (str(Path(program).absolute()) if "/" in program else program, *files)


def _version(argv: tuple[str, ...], source: str, env: Mapping[str, str]) -> str:
    advice = "Set CAFFE to a caffe command that runs, or unset it to use the embedded one."
    try:
        done = subprocess.run(
            [*argv, "--version"],
            env={**env, **_GLOG},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CaffeError(f"{source} gave no answer to --version in 120 s. {advice}") from error
    except OSError as error:
        raise CaffeError(f"{source} does not run: {error.strerror}. {advice}") from error
    lines = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode != 0 or not lines:
        said = lines[-1] if lines else "nothing"
        raise CaffeError(
            f"{source} failed on --version (exit code {done.returncode}, said: {said}). {advice}"
        )
    return lines[0].strip()
