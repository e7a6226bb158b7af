"""Which `caffe` trains: the one seam between the experiment and the training program.

`CAFFE` may be a runner of containers or reach another host. Paths that it gets are relative to
the run's folder, its working directory here; placeholders tell it the rest:

    {run}       the run's folder, absolute
    {name}      a name that no other process has, such as metaqnn-3f0c…

So that it finds the data too, which the nets name as `../../data/…`, the folder above both must be
where it is here: mounted at its own path (a second `-v` for a data folder elsewhere), or on a disk
that the other host shares.

    CAFFE="docker run --rm --name {name} -v '$(pwd -P):$(pwd -P)' -w {run} bvlc/caffe:cpu caffe"
    CAFFE_STOP='docker kill --signal {signal} {name}'

    CAFFE='ssh host cd {run} && exec env METAQNN={name} caffe'
    CAFFE_STOP='ssh host kill -{signal} $(grep -ls {name} /proc/[0-9]*/environ | cut -d/ -f3)'

`CAFFE_STOP` ends what signals sent to the local process do not reach; `{signal}` is INT (write
a snapshot and end) or KILL, `{solver}` the path that `--solver` has, which other runs have too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reproduce.training.commands import StopCommand, fill, split_command

Kind = Literal["embedded", "real", "surrogate"]

_GLOG = {"GLOG_logtostderr": "1", "GLOG_minloglevel": "0", "GLOG_log_prefix": "1"}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class CaffeError(RuntimeError):
    """The named `caffe` cannot be run; the message says which, why and what to do."""


@dataclass(frozen=True)
class Launch:
    """One process of `caffe` to be: its arguments, and what ends it beside signals."""

    argv: list[str]
    stop: StopCommand | None


@dataclass(frozen=True)
class Caffe:
    """A `caffe` command and where it shall run.

    Attributes:
        argv: the words of the command, placeholders and all; those that name files are absolute.
        version: what it said to `--version`.
        kind: `embedded` for this project's own engine, `surrogate` for its program that predicts
            and trains nothing, `real` for any other.
        gpu: the GPU passed as `--gpu`; None passes none.
        threads: CPU threads of a process; None leaves the environment as it is.
        stop: the words of `CAFFE_STOP`, placeholders and all; empty without one.
    """

    argv: tuple[str, ...]
    version: str
    kind: Kind
    gpu: int | None = None
    threads: int | None = None
    stop: tuple[str, ...] = ()

    def train(
        self, run: Path, solver: str, snapshot: str | None = None, weights: str | None = None
    ) -> Launch:
        """A process that trains a solver file, from a snapshot or else from weights if given.

        `run` is the run's folder; paths of the other files are relative to it.
        """
        arguments = ["train", f"--solver={solver}"]
        if snapshot is not None:
            arguments.append(f"--snapshot={snapshot}")
        elif weights is not None:
            arguments.append(f"--weights={weights}")
        return self.launch(run, arguments, solver)

    def launch(self, run: Path, arguments: Sequence[str], solver: str = "") -> Launch:
        """A process with these arguments, and `--gpu` where this `caffe` has one."""
        if self.gpu is not None:
            arguments = [*arguments, f"--gpu={self.gpu}"]
        values = _values(run)
        argv = fill(self.argv, values, arguments)
        stop = StopCommand(self.stop, {**values, "solver": solver}) if self.stop else None
        return Launch(argv, stop)

    @property
    def warning(self) -> str | None:
        """What is to be told before anything runs, in one line: `CAFFE_STOP` is missing."""
        runner = Path(self.argv[0]).name
        if self.stop or runner not in _OUTLIVES:
            return None
        return (
            f"CAFFE runs through {runner}, so Caffe may go on when its local process is ended; "
            f"say how to end it, such as {_OUTLIVES[runner]}"
        )

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """A child's environment: `env`, its whole log sent to stderr, and the thread counts."""
        out = {**env, **_GLOG}
        if self.threads is not None:
            out |= dict.fromkeys(_THREAD_VARIABLES, str(self.threads))
        return out

    def __str__(self) -> str:
        return self.version


# Runners whose end does not end Caffe. docker and podman pass SIGINT on, but die of SIGKILL
# alone; ssh and kubectl pass nothing on; srun takes a first SIGINT for a question.
_BY_NAME = "CAFFE_STOP='{0} kill --signal {{signal}} {{name}}' with `{0} run --name {{name}}`"
_BY_VARIABLE = "kill -{signal} $(grep -ls {name} /proc/[0-9]*/environ | cut -d/ -f3)"
_OUTLIVES = {
    "docker": _BY_NAME.format("docker"),
    "podman": _BY_NAME.format("podman"),
    "ssh": f"CAFFE_STOP='ssh HOST {_BY_VARIABLE}' with `exec env METAQNN={{name}} caffe`",
    "kubectl": (
        f"CAFFE_STOP='kubectl exec POD -- sh -c \"{_BY_VARIABLE}\"' "
        "with `env METAQNN={name} caffe`"
    ),
    "srun": "CAFFE_STOP='scancel --signal={signal} --name={name}' with `srun --job-name={name}`",
}


def find_caffe(env: Mapping[str, str], run_folder: Path | None = None) -> Caffe:
    """The `caffe` to use: `$CAFFE` (words as in a shell), else on PATH, else the embedded one.

    `$CAFFE_STOP` goes with `$CAFFE`. `run_folder` stands for `{run}` while the command is asked
    for its version; without it, the working directory does.

    Raises:
        CaffeError: if the chosen command does not run, or either command cannot be understood.
    """
    stop: tuple[str, ...] = ()
    if env.get("CAFFE", "").strip():
        argv, source = _words("CAFFE", _PLACEHOLDERS, env)
        if env.get("CAFFE_STOP", "").strip():
            stop, stop_source = _words("CAFFE_STOP", (*_PLACEHOLDERS, "solver", "signal"), env)
            if shutil.which(stop[0]) is None:
                raise CaffeError(f"{stop_source} does not run: there is no program {stop[0]}")
    elif found := shutil.which("caffe", path=env.get("PATH")):
        argv, source = (str(Path(found).absolute()),), f"`caffe` on PATH ({found})"
    else:
        argv, source = _embedded(), "the embedded caffe"
    asked = fill(argv, _values(run_folder or Path.cwd()), ["--version"])
    version = _version(asked, source, env)
    return Caffe(argv, version, _kind(version), stop=stop)


def is_predicted(trainer: str | None) -> bool:
    """Whether a run's rewards are predicted, by how its record names its trainer and kind."""
    return trainer is not None and trainer.endswith(" (surrogate)")


def _kind(version: str) -> Kind:
    if version.startswith("surrogate of "):
        return "surrogate"
    return "embedded" if "caffe_torch" in version or "caffe-torch" in version else "real"


_PLACEHOLDERS = ("run", "name")


def _values(run: Path) -> dict[str, str]:
    """What the placeholders of one process stand for."""
    return {"run": str(run.absolute()), "name": f"metaqnn-{uuid.uuid4().hex}"}


def _words(
    variable: str, placeholders: Sequence[str], env: Mapping[str, str]
) -> tuple[tuple[str, ...], str]:
    """A command from a variable of the environment, and how messages name it."""
    text = env[variable].strip()
    source = f"{variable}={text!r}"
    try:
        return split_command(text, placeholders, env), source
    except ValueError as error:
        raise CaffeError(f"{source} is not a command line: {error}") from error


def _embedded() -> tuple[str, ...]:
    script = Path(sys.executable).with_name("caffe-torch")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "caffe_torch")


def _version(argv: list[str], source: str, env: Mapping[str, str]) -> str:
    advice = "Set CAFFE to a caffe command that runs, or unset it to use the embedded one."
    try:
        done = subprocess.run(
            argv,
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
