"""Caffe on another host or in a container, by the very commands that are documented.

The other host is this machine: an `ssh` that starts a session of its own in another folder with a
clean environment, and leaves it behind when it ends. So no signal to the local process and no token
reaches Caffe; only `CAFFE_STOP` does. The container is a `docker` that hides all of the folder
`the host` but what `-v` names.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prototxt_gen.solver import solver_text
from reproduce.training import caffe, process
from reproduce.training.caffe import find_caffe
from reproduce.training.outcome import Outcome
from reproduce.training.recipe import Recipe
from reproduce.training.trial import run_trial
from reproduce.training.trial_events import TrainProgress

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="setsid and /proc are Linux's")

FAKE = Path(__file__).parents[2] / "fake_caffe.py"
RECIPE = Recipe(
    epochs=2, iterations_per_epoch=10, test_iter=1, base_lr=0.001, chance_accuracy=0.1, display=1
)
SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
shift # the host
cd /
exec setsid -w env -i PATH="$PATH" FAKE_CAFFE="$FAKE_CAFFE" sh -c "$*"
"""
DOCKER = f"""#!{sys.executable}
import os, signal, sys
from pathlib import Path

command, *words = sys.argv[1:]
here, options = Path(__file__).parent, {{}}
while words[0].startswith("-"):
    option = words.pop(0)
    options[option] = "" if option == "--rm" else words.pop(0)
if command == "kill":
    number = getattr(signal, "SIG" + options["--signal"])
    sys.exit(os.kill(int((here / words[0]).read_text()), number))
source, target = options["-v"].split(":")
(here / options["--name"]).write_text(str(os.getpid()))
script = '''
    mount --bind "$1" /mnt
    mount -t tmpfs none "$HOST"
    mkdir -p "$2"
    mount --bind /mnt "$2"
    cd "$3"
    shift 3
    exec "$@"
'''
env = {{name: os.environ[name] for name in ("PATH", "HOST", "FAKE_CAFFE")}}
shell = ["unshare", "-rm", "sh", "-ec", script, "sh", source, target, options["-w"]]
os.execvpe(shell[0], [*shell, *words[1:]], env)
"""
CAFFE_THAT_NEEDS_ITS_DATA = f"""#!/bin/sh
for word; do
    case $word in --solver=*)
        net=$(sed -n 's/^net: "\\(.*\\)"/\\1/p' "${{word#*=}}")
        cat "$(sed -n 's/^source: "\\(.*\\)"/\\1/p' "$net")" || exit 1
    esac
done
exec {sys.executable} -I -S {FAKE} "$@"
"""


def documented(runner: str, caffe_there: str, here: Path) -> dict[str, str]:
    """CAFFE and CAFFE_STOP as a shell in a folder reads them from the module's docstring."""
    assert caffe.__doc__ is not None
    lines = re.findall(rf"^ +(CAFFE\w*=.{runner} .*)$", caffe.__doc__, re.MULTILINE)
    assert len(lines) == 2
    script = "\n".join([*lines, 'printf "%s\\n" "$CAFFE" "$CAFFE_STOP"'])
    shell = ["sh", "-ec", script]
    done = subprocess.run(shell, cwd=here, capture_output=True, text=True, check=True)
    words, stop = done.stdout.splitlines()
    assert words.endswith(" caffe")
    return {**os.environ, "CAFFE": words.removesuffix("caffe") + caffe_there, "CAFFE_STOP": stop}


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def remote(fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fake `caffe` on another host, in a folder whose name any shell would trip over."""
    host = tmp_path / "host"
    host.mkdir()
    program(host / "ssh", SSH)
    monkeypatch.setenv("PATH", f"{host}:{os.environ['PATH']}")
    fake.run_folder = fake.run_folder.rename(fake.run_folder.with_name('it\'s a $(run) "folder"'))
    fake.folder = fake.run_folder / "trials" / 'the "first" o\'ne; #1'
    env = documented("ssh", f"{sys.executable} -I -S {FAKE}", host)
    fake.use = lambda stop: find_caffe({**env, "CAFFE_STOP": stop}, fake.run_folder)
    fake.caffe = fake.use(env["CAFFE_STOP"])
    yield fake
    for pid in fake.alive():
        os.kill(pid, signal.SIGKILL)


def wait_until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_trial_on_another_host(remote: Any) -> None:
    result = remote.run(RECIPE)
    assert (result.outcome, result.message) == (Outcome.FINISHED, "")
    first, rest = remote.processes()
    assert first["cwd"] == rest["cwd"] == str(remote.run_folder)
    name = f"trials/{remote.folder.name}"
    assert first["argv"] == ["train", f"--solver={name}/solver_0_first.prototxt"]
    assert rest["argv"][2] == f"--snapshot={name}/snapshot_0_iter_10.solverstate"


def test_a_gpu_is_passed_on(remote: Any) -> None:
    remote.caffe = replace(remote.caffe, gpu=2)
    assert remote.run(RECIPE).outcome is Outcome.FINISHED
    assert [each["gpu"] for each in remote.processes()] == ["2", "2"]


def test_without_a_stop_command_caffe_stays_behind(remote: Any) -> None:
    """So it does behind the real ssh; this is what `Caffe.warning` is about."""
    remote.caffe = remote.use("")
    assert remote.caffe.warning is not None
    remote.script(hang_at=5)
    stop = threading.Event()
    remote.on_event = lambda event: stop.set() if isinstance(event, TrainProgress) else None
    assert remote.run(RECIPE, stop=stop).outcome is Outcome.STOPPED
    (left,) = remote.processes()
    assert left["pid"] in remote.alive()


def test_stopping_lets_it_write_its_snapshot(remote: Any) -> None:
    remote.script(processes={"1": {"hang_at": 15}})
    stop = threading.Event()

    def stop_at_14(event: object) -> None:
        if isinstance(event, TrainProgress) and event.iteration == 14:
            stop.set()

    remote.on_event = stop_at_14
    assert remote.run(RECIPE, stop=stop).outcome is Outcome.STOPPED
    assert remote.alive() == []
    result = remote.run(RECIPE)
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, 2)
    assert remote.processes()[2]["argv"][2].endswith("snapshot_0_iter_15.solverstate")


def test_what_ignores_sigint_is_killed_there_too(
    remote: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(process.CaffeProcess.__init__.__kwdefaults__, "grace_s", 0.3)
    remote.script(hang_at=5, ignore_sigint=True)
    result = remote.run(replace(RECIPE, timeout_s=1.0, retries=0))
    assert result.outcome is Outcome.TIMEOUT
    assert remote.alive() == []


def test_a_broken_connection_leaves_nothing_behind(remote: Any) -> None:
    """The local client dies while Caffe trains on."""
    remote.script(processes={"0": {"hang_at": 5}})

    def cut(event: object) -> None:
        if isinstance(event, TrainProgress) and event.iteration == 4 and not cuts:
            (client,) = filter(is_local, remote.alive())
            os.kill(client, signal.SIGKILL)
            cuts.append(client)

    def is_local(pid: int) -> bool:
        return b"METAQNN_PROCESS=" in Path(f"/proc/{pid}/environ").read_bytes()

    cuts: list[int] = []
    remote.on_event = cut
    result = remote.run(RECIPE)
    assert cuts
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, 2)
    assert len(remote.processes()) == 3
    assert remote.alive() == []


def test_a_dead_drivers_caffe_is_ended_there_before_its_folder_is_used(remote: Any) -> None:
    remote.script(hang_at=15)
    driver = os.fork()
    if driver == 0:
        try:
            remote.run(RECIPE)
        finally:
            os._exit(0)
    wait_until(lambda: len(remote.processes()) == 2)
    os.kill(driver, signal.SIGKILL)
    os.waitpid(driver, 0)
    orphan = remote.processes()[1]["pid"]
    assert orphan in remote.alive()
    remote.script()
    result = remote.run(RECIPE)
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, 2)
    assert remote.alive() == []


def test_another_run_on_that_host_goes_on(remote: Any, tmp_path: Path) -> None:
    """Though its trial has the same name, and so its solver file the same path."""
    remote.script(hang_at=5)
    text = solver_text(RECIPE.scheme(0, 20), net="net.prototxt", snapshot_prefix="snapshot")
    launches, clients = [], []
    for run in (tmp_path / "one", tmp_path / "other"):
        run.mkdir()
        (run / "solver.prototxt").write_text(text)
        (run / "net.prototxt").write_text("")
        launches.append(remote.caffe.train(run, "solver.prototxt"))
        with (run / "log").open("w") as log:
            clients.append(subprocess.Popen(launches[-1].argv, stderr=log))
        wait_until(lambda: len(remote.processes()) == len(clients))
    one, other = (each["pid"] for each in remote.processes())
    assert launches[0].stop.send("INT", os.environ) == ""
    wait_until(lambda: one not in remote.alive())
    assert other in remote.alive()
    assert launches[1].stop.send("KILL", os.environ) == ""
    wait_until(lambda: other not in remote.alive())
    for client in clients:
        client.wait(10)


def test_a_container_sees_the_data_and_is_stopped_by_its_name(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unshare = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(unshare, check=False).returncode != 0:
        pytest.skip("nothing can be mounted")
    host, docker = tmp_path / "the host", tmp_path / "docker"
    docker.mkdir()
    program(docker / "docker", DOCKER)
    needs_data = program(docker / "caffe", CAFFE_THAT_NEEDS_ITS_DATA)
    monkeypatch.setenv("PATH", f"{docker}:{os.environ['PATH']}")
    monkeypatch.setenv("HOST", str(host))
    (host / "data" / "mnist-1").mkdir(parents=True)
    (host / "data" / "mnist-1" / "train").touch()
    run = host / "runs" / "mine"
    run.mkdir(parents=True)
    found = find_caffe(documented("docker", str(needs_data), host), run)
    stop = threading.Event()

    def stop_at_14(event: object) -> None:
        if isinstance(event, TrainProgress) and event.iteration == 14:
            stop.set()

    net = 'name: "net"\nsource: "../../data/mnist-1/train"\n'
    fake.script(processes={"1": {"hang_at": 15}})
    arguments = (run / "trials" / "1", run, net, RECIPE, found)
    assert run_trial(*arguments, stop_at_14, stop=stop).outcome is Outcome.STOPPED
    assert fake.alive() == []
    result = run_trial(*arguments, lambda event: None)
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, 2)
    assert fake.processes()[2]["argv"][2].endswith("snapshot_0_iter_15.solverstate")


def test_a_stop_command_that_fails_is_told_in_the_log(remote: Any) -> None:
    remote.caffe = remote.use(f"{shlex.quote(sys.executable)} -c 'raise SystemExit(\"no route\")'")
    remote.script(hang_at=5)
    stop = threading.Event()
    remote.on_event = lambda event: stop.set() if isinstance(event, TrainProgress) else None
    assert remote.run(RECIPE, stop=stop).outcome is Outcome.STOPPED
    log = (remote.folder / "caffe_0_0.log").read_text()
    assert "ERROR: CAFFE_STOP (" in log
    assert "failed (exit code 1, said: no route)" in log
