"""Runs the embedded command, quickly, and real Caffe's; and reads what they said."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GLOG_logtostderr": "1"}
SECONDS = 120  # no command of a test runs longer unless it hangs
_PREFIX = r"\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] "

# One process imports PyTorch, and each command is a fork of it: seconds less for every run.
_SERVER = """
import json, os, signal, sys
from caffe_torch import cli, solver
for line in sys.stdin:
    arguments, folder, out, err, seconds = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(folder)
        for descriptor, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
        signal.alarm(seconds)
        sys.argv[1:] = arguments
        cli.main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Run:
    """A finished command: its exit status, its log, the folder that it ran in, its stdout."""

    status: int
    log: str
    folder: Path
    stdout: str = ""

    def said(self, pattern: str, levels: str = "IWEF") -> list[str]:
        """What the pattern's group is in each line of these levels that it matches wholly."""
        return re.findall(rf"^[{levels}]{_PREFIX}{pattern} *$", self.log, re.M)

    @property
    def accuracies(self) -> list[float]:
        """The accuracies of the tests, in order."""
        return [float(x) for x in self.said(r" +Test net output #\d+: accuracy = (\S+)")]


Command = Callable[..., Run]
Both = Callable[..., tuple[Run, Run]]


class Embedded:
    """The embedded command: called with its arguments and a working folder."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, cwd: Path) -> Run:
        """Run one command to its end."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        out, err = self._logs / "stdout", self._logs / "stderr"
        for path in (out, err):
            path.unlink(missing_ok=True)
        job = [arguments, str(cwd), str(out), str(err), SECONDS]
        print(json.dumps(job), file=self._server.stdin, flush=True)
        status = int(self._server.stdout.readline())
        return Run(status, err.read_text(errors="replace"), cwd, out.read_text(errors="replace"))

    def close(self) -> None:
        """End the process that the commands are forks of."""
        self._server.kill()
        self._server.wait()


def run_real(caffe: Path, *arguments: str, cwd: Path) -> Run:
    """Run real Caffe's command to its end."""
    done = subprocess.run(
        [str(caffe), *arguments],
        env=ENVIRONMENT,
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=SECONDS,
    )
    return Run(done.returncode, done.stderr, cwd, done.stdout)
