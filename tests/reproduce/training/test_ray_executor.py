"""Trials on a real Ray cluster: nodes that die, nodes that share no files, parts of a GPU."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reproduce
from reproduce.search.agent import Agent, QLearning
from reproduce.search.loop import EpsilonStage, search
from reproduce.search.replay_memory import ReplayMemory, Trial
from reproduce.search.space import SearchSpace, SpaceRules
from reproduce.training import ray_files
from reproduce.training.caffe import Caffe, find_caffe
from reproduce.training.executors import Executor, Job, LocalExecutor, Slot
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.preflight import PreflightError
from reproduce.training.ray_executor import RayError, RayExecutor
from reproduce.training.ray_files import (
    KEEP_S,
    DataSet,
    locked,
    prune,
    remove_site,
    replace_folder,
    stage,
    trial_files,
)
from reproduce.training.ray_node import Order, caffe_here
from reproduce.training.recipe import Recipe
from reproduce.training.trial import TrialError
from reproduce.training.trial_events import (
    EpochFinished,
    PhaseStarted,
    Retried,
    TrainProgress,
    TrialEvent,
    TrialFinished,
)

RECIPE = Recipe(epochs=3, iterations_per_epoch=8, test_iter=1, base_lr=0.001, chance_accuracy=0.1)
STORE = 80 * 2**20  # bytes of a node's object store
NOTICE_DEATHS_SOON = {
    "_system_config": {
        "health_check_initial_delay_ms": 500,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 4,
    }
}


def job(run: Path, key: str, caffe: Caffe, recipe: Recipe = RECIPE) -> Job:
    return Job(key, run / "trials" / key, run, f'name: "{key}"\n', recipe, caffe)


def without_time(result: TrialResult) -> TrialResult:
    return replace(result, seconds=0)


# Files


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """A data set whose largest file takes several chunks; its folder is not where it says."""
    monkeypatch.setattr(ray_files, "CHUNK", 1000)
    folder = tmp_path / "data" / "set"
    (folder / "train_lmdb").mkdir(parents=True)
    bytes_ = np.random.default_rng(0).bytes
    (folder / "train_lmdb" / "data.mdb").write_bytes(bytes_(2500))
    (folder / "train_lmdb" / "lock.mdb").write_bytes(bytes_(10))
    (folder / "mean.binaryproto").write_bytes(bytes_(1000))
    (folder / "empty").write_bytes(b"")
    return DataSet.of(folder)


class Away:
    """A data set's folder on another machine, and what was read of it."""

    def __init__(self, data: DataSet, to: Path) -> None:
        data.folder.rename(to)
        self._moved = replace(data, folder=to)
        self.read_count = 0

    def read(self, name: str, offset: int) -> bytes:
        self.read_count += 1
        return self._moved.read(name, offset)


@pytest.fixture
def away(data: DataSet, tmp_path: Path) -> Away:
    return Away(data, tmp_path / "elsewhere")


def test_staged_files_are_the_drivers(data: DataSet, away: Away, tmp_path: Path) -> None:
    store = tmp_path / "store"
    place = stage(data, store, away.read)
    assert data.equals(place)
    assert away.read_count == 3 + 1
    assert {p.name for p in store.iterdir()} == {data.digest, f"{data.digest}.lock"}
    assert stage(data, store, away.read) == place
    assert away.read_count == 4


def test_what_is_seen_already_is_not_copied(data: DataSet, tmp_path: Path) -> None:
    def read(name: str, offset: int) -> bytes:
        raise AssertionError

    place = stage(data, tmp_path / "store", read)
    assert place.resolve() == data.folder.resolve()


def test_a_folder_of_that_name_with_another_content_is_not_used(
    data: DataSet, tmp_path: Path
) -> None:
    away = Away(data, tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", data.folder)
    stranger = data.folder / "mean.binaryproto"
    stranger.write_bytes(stranger.read_bytes()[::-1])
    place = stage(data, tmp_path / "store", away.read)
    assert data.equals(place)
    assert not data.equals(data.folder)


@pytest.mark.parametrize("reads", range(4))
def test_a_copy_that_broke_off_is_made_again(
    data: DataSet, away: Away, tmp_path: Path, reads: int
) -> None:
    def read(name: str, offset: int) -> bytes:
        if away.read_count == reads:
            os._exit(1)
        return away.read(name, offset)

    if (pid := os.fork()) == 0:
        stage(data, tmp_path / "store", read)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] != 0
    assert not (tmp_path / "store" / data.digest).exists()
    assert data.equals(stage(data, tmp_path / "store", away.read))
    assert len(list((tmp_path / "store").iterdir())) == 2


def test_a_copy_that_lost_bytes_is_made_again(data: DataSet, away: Away, tmp_path: Path) -> None:
    place = stage(data, tmp_path / "store", away.read)
    os.truncate(place / "mean.binaryproto", 10)
    assert data.equals(stage(data, tmp_path / "store", away.read))


def test_bytes_that_changed_on_the_way_are_refused(
    data: DataSet, away: Away, tmp_path: Path
) -> None:
    with pytest.raises(RayError, match=r"arrived on .* with another content"):
        stage(data, tmp_path / "store", lambda *where: away.read(*where)[::-1])
    assert [p.suffix for p in (tmp_path / "store").iterdir()] == [".lock"]


def test_trials_that_begin_together_stage_once(data: DataSet, away: Away, tmp_path: Path) -> None:
    def read(name: str, offset: int) -> bytes:
        time.sleep(0.02)
        return away.read(name, offset)

    with ThreadPoolExecutor(4) as pool:
        places = list(pool.map(lambda _: stage(data, tmp_path / "store", read), range(4)))
    assert len(set(places)) == 1
    assert away.read_count == 4


def test_only_files_of_the_data_set_can_be_read(data: DataSet) -> None:
    for name in ("../set/empty", "train_lmdb/lock.mdb", "/etc/passwd"):
        with pytest.raises(RayError, match="has no file"):
            data.read(name, 0)


def test_the_digest_tells_contents_and_names_apart(data: DataSet) -> None:
    digests = {data.digest}
    (data.folder / "train_lmdb" / "lock.mdb").write_bytes(b"of another process")
    assert DataSet.of(data.folder).digest == data.digest
    (data.folder / "empty").rename(data.folder / "nothing")
    digests.add(DataSet.of(data.folder).digest)
    (data.folder / "nothing").write_bytes(b".")
    digests.add(DataSet.of(data.folder).digest)
    assert len(digests) == 3


def test_an_empty_folder_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(RayError, match="holds no data set"):
        DataSet.of(tmp_path)


def test_a_folder_holds_what_came_back_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "trials" / "0001"
    files = {"caffe_0_0.log": b"a log\n\xff", "result.json": b"{}", "empty": b""}
    replace_folder(folder, files)
    assert trial_files(folder) == files
    (folder / "caffe.mark").write_bytes(b"of a process here")
    assert trial_files(folder) == files
    replace_folder(folder, {"net.prototxt": b""})
    assert [p.name for p in folder.iterdir()] == ["net.prototxt"]
    assert [p.name for p in folder.parent.iterdir()] == ["0001"]
    assert trial_files(tmp_path / "missing") == {}


@given(st.text() | st.sampled_from(["..", ".", "../result.json", "/etc/passwd", "a/b", ".bashrc"]))
def test_only_plain_names_come_back(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    base = tmp_path_factory.mktemp("names")
    folder = base / "deep" / "0001"
    folder.mkdir(parents=True)
    try:
        replace_folder(folder, {"a": b"", name: b"content"})
    except RayError:
        assert list(folder.iterdir()) == []
    else:
        assert (folder / name).read_bytes() == b"content"
    assert list(base.iterdir()) == [base / "deep"]
    assert list((base / "deep").iterdir()) == [folder]


def test_a_driver_killed_while_it_writes_leaves_old_or_new_or_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "0001"
    old, new = {"a": b"old", "b": b"old"}, {"a": b"new", "c": b"new"}

    def replace_until(step: int) -> None:
        """Die before the n-th step on the disk."""
        steps = iter(range(step))

        def count(event: str, _: object) -> None:
            on_disk = event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir")
            if on_disk and next(steps, None) is None:
                os._exit(1)

        sys.addaudithook(count)
        replace_folder(folder, new)

    left = []
    killed, step = True, 0
    while killed:
        replace_folder(folder, old)
        if (pid := os.fork()) == 0:
            replace_until(step)
            os._exit(0)
        killed, step = os.waitpid(pid, 0)[1] != 0, step + 1
        assert trial_files(folder) in (old, new, {})
        assert folder.exists() == bool(trial_files(folder))
        left.append(trial_files(folder))
    assert left[0] == old
    assert {} in left
    assert left[-1] == new
    assert [p.name for p in tmp_path.iterdir()] == ["0001"]


# What a node keeps


OLD, RECENT = time.time() - KEEP_S - 3600, time.time() - KEEP_S + 3600


def age(folder: Path, changed: float) -> None:
    """Make a folder, and all in it, look as if it had been changed then."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (changed, changed), follow_symlinks=False)


def add_site(scratch: Path, token: str, data: Path, changed: float) -> Path:
    """A trial's folder as a driver leaves it that is gone."""
    site = scratch / "trials" / token
    (site / "runs" / "r" / "trials" / "0001").mkdir(parents=True)
    (site / "runs" / "r" / "trials" / "0001" / "snapshot_0_iter_8.caffemodel").write_bytes(b"")
    (site / ".lock").touch()
    (site / "data").symlink_to(data)
    age(site, changed)
    return site


def test_a_node_removes_what_no_trial_has_used_for_long(data: DataSet, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    read = Away(data, tmp_path / "elsewhere").read
    place = stage(data, scratch / "data", read)
    recent = add_site(scratch, "recent", tmp_path, RECENT)
    left = add_site(scratch, "left", place, OLD)
    with locked(left / ".lock"):  # its trial takes longer than that
        age(scratch / "data", OLD)
        prune(scratch)
        assert {left, recent} == set((scratch / "trials").iterdir())
        assert data.equals(place)
    newer = left / "runs" / "r" / "trials" / "0001" / "caffe_0_0.log"
    newer.touch()
    prune(scratch)
    assert left.exists()
    age(left, OLD)
    (scratch / "trials" / ".removal that broke off").mkdir()
    prune(scratch)
    assert [recent] == list((scratch / "trials").iterdir())
    assert list((scratch / "data").iterdir()) == []
    assert data.equals(stage(data, scratch / "data", read))


def test_data_of_a_run_under_way_stays_between_two_trials(data: DataSet, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    away = Away(data, tmp_path / "elsewhere")
    place = stage(data, scratch / "data", away.read)
    age(scratch / "data", OLD)
    assert stage(data, scratch / "data", away.read) == place
    prune(scratch)
    assert data.equals(place)
    assert away.read_count == 4


def test_data_that_a_node_only_links_to_is_never_removed(data: DataSet, tmp_path: Path) -> None:
    """The link goes, the driver's folder stays."""
    scratch = tmp_path / "scratch"
    stage(data, scratch / "data", data.read)
    age(scratch / "data", OLD)
    prune(scratch)
    assert list((scratch / "data").iterdir()) == []
    assert data.equals(data.folder)


def test_nothing_to_prune(tmp_path: Path) -> None:
    prune(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_who_waits_for_a_folder_that_is_removed_has_the_next_one(tmp_path: Path) -> None:
    """No two hold a lock of one name, though its file goes with the folder each time."""
    site, inside, most = tmp_path / "site", [0], [0]

    def work(_: int) -> None:
        with locked(site / ".lock"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            (site / "file").write_bytes(b"")
            time.sleep(0.002)
            assert (site / "file").exists()
            inside[0] -= 1
            remove_site(site)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(40)))
    assert most == [1]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_another_holds(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        again = locked(tmp_path / "lock", wait=False)
        with pytest.raises(BlockingIOError):
            again.__enter__()
    with locked(tmp_path / "lock", wait=False):
        pass


# A node's caffe


@pytest.fixture(scope="module")
def embedded() -> Caffe:
    """The embedded `caffe` of a driver whose clone lies at a path that this machine lacks."""
    here = find_caffe({**os.environ, "CAFFE": f"{sys.executable} -m caffe_torch"})
    if here.kind != "embedded":
        pytest.skip("there is no embedded caffe")
    return replace(here, argv=("/elsewhere/.venv/bin/caffe-torch",), gpu=0, threads=2)


def test_the_embedded_caffe_is_that_of_the_nodes_own_clone(embedded: Caffe) -> None:
    found = caffe_here(embedded)
    assert found == replace(embedded, argv=(sys.executable, "-m", "caffe_torch"))


def test_an_embedded_caffe_of_another_version(embedded: Caffe) -> None:
    with pytest.raises(RayError, match=r"trains with .*caffe_torch.*, the driver with caffe 2: "):
        caffe_here(replace(embedded, version="caffe 2"))


def test_a_node_without_the_embedded_caffe(
    embedded: Caffe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python that cannot import it, as where PyTorch is missing."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho No module named torch >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    said = r"^\S+: the embedded caffe is missing, `make setup` .*: .*No module named torch"
    with pytest.raises(RayError, match=said):
        caffe_here(replace(embedded, threads=3))


def test_a_caffe_that_is_named_is_never_replaced() -> None:
    with pytest.raises(RayError, match=r"^\S+: CAFFE='/no/caffe' does not run"):
        caffe_here(Caffe(("/no/caffe",), "caffe version 1.0.0", "real"))


# Orders


NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4)


@given(run=NAMES, data=NAMES)
def test_a_nets_relative_paths_hold_on_a_node(run: list[str], data: list[str]) -> None:
    """The driver's `os.path.relpath` from run to data leads to the link of the mirrored folder."""
    run_folder, data_folder = Path("/w", *run), Path("/w", *data)
    caffe = Caffe(("caffe",), "1", "real")
    of = Job("k", run_folder / "trials" / "k", run_folder, "", RECIPE, caffe)
    try:
        order = Order.of(of, DataSet(data_folder, ()), caffe)
    except RayError:
        assert run_folder.is_relative_to(data_folder)
        return
    named = os.path.relpath(data_folder, run_folder)
    assert os.path.normpath(order.run / named) == str(order.data_at)
    assert order.folder == order.run / "trials" / "k"
    assert order.root / order.run == run_folder


def test_tokens_tell_trials_apart(tmp_path: Path) -> None:
    caffe = Caffe(("caffe",), "1", "real")
    one = job(tmp_path / "run", "a", caffe)
    others = [
        one,
        replace(one, folder=one.run_folder / "trials" / "b"),
        replace(one, net_text="another"),
        replace(one, recipe=replace(RECIPE, random_seed=1)),
        job(tmp_path / "another run", "a", caffe),
    ]
    assert len({Order.of(each, None, caffe).token for each in others}) == len(others)
    patient = replace(one, recipe=replace(RECIPE, timeout_s=1.0))
    assert Order.of(patient, None, caffe).token == Order.of(one, None, caffe).token


# Without a cluster


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayError, match=r"^Ray is not installed: .*pip install 'ray>=2\.40'$"):
        RayExecutor()


@pytest.mark.parametrize(("gpus", "cpus"), [(0, 0), (-1, 1), (2, 1), (0.5, -1)])
def test_resources_that_no_trial_takes(gpus: float, cpus: float) -> None:
    with pytest.raises(RayError, match="a trial takes up to one GPU, and CPUs"):
        RayExecutor(gpus=gpus, cpus=cpus)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("ray://127.0.0.1:10001", "an address is HOST:PORT"),
        ("127.0.0.1", "an address is HOST:PORT"),
        ("127.0.0.1:65536", "an address is HOST:PORT"),
    ],
)
@pytest.mark.parametrize("by_variable", [False, True])
def test_an_address_without_a_cluster(
    address: str, said: str, by_variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    if by_variable:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RayError, match=f"not joined a Ray cluster at {address} .*{said}"):
        RayExecutor(address=None if by_variable else address)


# Clusters


class Nodes:
    """A Ray cluster on this machine; each node has a temporary folder of its own."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder = folder
        self.cluster = Cluster()
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        address: str = self.cluster.address
        return address

    def add(self, name: str, **resources: float) -> Any:
        """A node with these resources; the first is the head."""
        (self.folder / name).mkdir()
        head = {} if self.cluster.head_node else {"include_dashboard": False, **NOTICE_DEATHS_SOON}
        return self.cluster.add_node(
            object_store_memory=STORE,
            env_vars={"TMPDIR": str(self.folder / name)},
            **head,
            **resources,
        )

    def add_behind_a_mount(self, name: str, hidden: Path, cpus: int) -> None:
        """A node in a mount namespace of its own, in which a folder is empty."""
        (self.folder / name).mkdir()
        ray = Path(sys.executable).with_name("ray")
        join = f"start --address={self.address} --block --num-cpus={cpus} --disable-usage-stats"
        join += f" --object-store-memory={STORE}"
        process = subprocess.Popen(
            [
                *("unshare", "--map-root-user", "--mount", "sh", "-c"),
                'mount -t tmpfs none "$1" && shift && exec "$@"',
                *("sh", hidden, ray, *join.split()),
            ],
            env={**os.environ, "TMPDIR": str(self.folder / name)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._started.append(process)
        count = len(self.cluster.list_all_nodes()) + len(self._started)
        until(lambda: len(self.cluster.global_state._live_node_ids()) == count)

    def close(self) -> None:
        for process in self._started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
        self.cluster.shutdown()


def can_mount() -> bool:
    """Whether this user can make a mount namespace."""
    unshare = shutil.which("unshare")
    return bool(unshare) and not subprocess.call([unshare, "--map-root-user", "--mount", "true"])


@pytest.fixture
def nodes(fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """An empty cluster; Ray's own files lie in a folder whose name is short enough for sockets."""
    pytest.importorskip("ray")
    short = Path("/tmp") / f"metaqnn-test-{os.getpid()}"  # noqa: S108
    short.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    nodes = Nodes(tmp_path)
    try:
        yield nodes
    finally:
        nodes.close()
        shutil.rmtree(short, ignore_errors=True)


class Story:
    """The events of many trials; safe to read while they come."""

    def __init__(self) -> None:
        self.events: list[tuple[str, TrialEvent]] = []

    def __call__(self, job: Job, event: TrialEvent) -> None:
        self.events.append((job.key, event))

    def keys(self, kind: type[TrialEvent]) -> list[str]:
        return [key for key, event in list(self.events) if isinstance(event, kind)]

    def at_iteration(self, iteration: int) -> set[str]:
        events = [(k, e) for k, e in list(self.events) if isinstance(e, TrainProgress)]
        return {key for key, event in events if event.iteration == iteration}


def caffes(fake: Any, below: Path = Path("/")) -> list[psutil.Process]:
    """Processes of the scripted `caffe` that train in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            trains = "train" in process.cmdline() and process.environ().get("FAKE_CAFFE")
            if trains == str(fake.path) and Path(process.cwd()).is_relative_to(below):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def locally(fake: Any, jobs: list[Job]) -> list[TrialResult]:
    """What the same trials give on this machine, in a run of its own."""
    run = fake.run_folder.parent / "local"
    with LocalExecutor([Slot(threads=1)]) as executor:
        futures = [
            executor.submit(replace(j, run_folder=run, folder=run / j.key, caffe=fake.caffe))
            for j in jobs
        ]
        return [without_time(future.result()) for future in futures]


@pytest.mark.slow
def test_trials_of_a_killed_node_are_trained_elsewhere(fake: Any, nodes: Nodes) -> None:
    fake.script(seconds=0.06)
    nodes.add("head", num_cpus=1)
    doomed = nodes.add("doomed", num_cpus=2)
    story = Story()
    jobs = [job(fake.run_folder, key, fake.caffe) for key in "abcdefgh"]
    with RayExecutor(address=nodes.address, on_event=story) as executor:
        interface: Executor = executor
        assert interface.slots == 3
        futures = [executor.submit(each) for each in jobs]
        until(lambda: len(caffes(fake, nodes.folder / "doomed")) == 2)
        orphans = caffes(fake, nodes.folder / "doomed")
        nodes.cluster.remove_node(doomed, allow_graceful=False)
        results = [without_time(future.result()) for future in futures]
        until(lambda: executor.slots == 1)
    assert not any(orphan.is_running() for orphan in orphans)
    assert {result.outcome for result in results} == {Outcome.FINISHED}
    retried = story.keys(Retried)
    assert len(retried) == len(set(retried)) == 2
    assert sorted(story.keys(TrialFinished)) == list("abcdefgh")
    assert {executor.place(key) for key in "abcdefgh"} == {socket.gethostname()}
    assert executor.place("i") is None
    for key in set("abcdefgh") - set(retried):
        assert story.keys(EpochFinished).count(key) == RECIPE.epochs
        assert story.keys(PhaseStarted).count(key) == 2
    fake.script()
    assert results == locally(fake, jobs)
    for each, result in zip(jobs, results, strict=True):
        stored = TrialResult.from_json((each.folder / "result.json").read_text())
        assert without_time(stored) == result
    assert caffes(fake) == []
    assert list((nodes.folder / "head").glob("metaqnn-*/trials/*")) == []


READER = """
import fcntl, hashlib, os, pathlib, re, runpy, sys
alone = open(os.environ["TMPDIR"] + "/alone", "a")
fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where two train on one node
for word in sys.argv:
    if word.startswith("--solver="):
        net = re.search(r'^net: "(.*)"', pathlib.Path(word[9:]).read_text(), re.M)[1]
        source = re.search(r'source: "(.*)"', pathlib.Path(net).read_text())[1]
        content = (pathlib.Path(source) / "data.mdb").read_bytes()
        with open(os.environ["READ"], "a") as file:
            print(os.environ["TMPDIR"], hashlib.sha256(content).hexdigest(), file=file)
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_nodes_that_share_no_files(
    fake: Any, nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither node sees the driver's folders; each gets the data and has room for one trial."""
    if not can_mount():
        pytest.skip("this user cannot make a mount namespace")
    run, data = tmp_path / "driver" / "runs" / "r", tmp_path / "driver" / "data" / "set"
    run.mkdir(parents=True)
    (data / "train_lmdb").mkdir(parents=True)
    content = np.random.default_rng(0).bytes(2 * ray_files.CHUNK + 12345)
    (data / "train_lmdb" / "data.mdb").write_bytes(content)
    reader, read = tmp_path / "reader.py", tmp_path / "read.txt"
    reader.write_text(READER)
    monkeypatch.setenv("READ", str(read))
    python, _, _, script = fake.caffe.argv
    caffe = replace(fake.caffe, argv=(python, "-I", "-S", str(reader), script))
    fake.script(seconds=0.05)
    nodes.add("head", num_cpus=0)
    for name in ("one", "two"):
        nodes.add_behind_a_mount(name, tmp_path / "driver", cpus=1)
    text = 'name: "{}"\nlayer {{ data_param {{ source: "../../data/set/train_lmdb" }} }}\n'
    jobs = [replace(job(run, key, caffe), net_text=text.format(key)) for key in "abcdef"]
    with RayExecutor(address=nodes.address, data=data) as executor:
        assert executor.slots == 2
        futures = [executor.submit(each) for each in jobs]
        results = [without_time(future.result()) for future in futures]
    assert results == locally(fake, jobs)
    lines = [line.split() for line in read.read_text().splitlines()]
    assert {line[0] for line in lines} == {str(tmp_path / "one"), str(tmp_path / "two")}
    assert {line[1] for line in lines} == {hashlib.sha256(content).hexdigest()}
    digest = DataSet.of(data).digest
    for name in ("one", "two"):
        (copy,) = (tmp_path / name).glob(f"metaqnn-*/data/{digest}/train_lmdb/data.mdb")
        assert copy.read_bytes() == content
        assert not copy.parent.parent.is_symlink()
    for each in jobs:
        local = fake.run_folder.parent / "local" / each.key
        assert trial_files(each.folder).keys() == trial_files(local).keys()
        assert (each.folder / "net.prototxt").read_text() == each.net_text
    assert not (tmp_path / "driver" / "runs" / "local").exists()


@pytest.mark.slow
def test_parts_of_a_gpu_and_stopping(fake: Any, nodes: Nodes) -> None:
    """Two trials share the GPU; stopped with a snapshot, they go on from it anywhere."""
    fake.script(hang_at=11)
    nodes.add("head", num_cpus=4, num_gpus=1)
    recipe = replace(RECIPE, display=1)
    jobs = [job(fake.run_folder, key, fake.caffe, recipe) for key in "abc"]
    story = Story()
    with RayExecutor(gpus=0.5, address=nodes.address, on_event=story) as executor:
        assert executor.slots == 2
        futures = [executor.submit(each) for each in jobs]
        until(lambda: len(story.at_iteration(10)) == 2)
        assert len(caffes(fake)) == 2
    assert [future.result().outcome for future in futures] == [Outcome.STOPPED] * 3
    assert caffes(fake) == []
    assert {process["gpu"] for process in fake.processes()} == {"0"}
    begun = {key for key in "abc" if (fake.run_folder / "trials" / key).exists()}
    assert len(begun) == 2
    for key in begun:
        # the stop may come before the iteration that hangs
        folder = fake.run_folder / "trials" / key
        assert list(folder.glob("snapshot_0_iter_1[01].solverstate"))
    fake.script()
    with RayExecutor(cpus=2, address=nodes.address) as executor:
        assert executor.slots == 2
        results = [without_time(executor.submit(each).result()) for each in jobs]
    assert results == locally(fake, jobs)
    went_on = fake.processes()[4:]
    assert sum("--snapshot" in " ".join(process["argv"]) for process in went_on) >= 2
    assert went_on[0]["gpu"] is None
    assert went_on[0]["threads"] == "2"


@pytest.mark.slow
def test_a_killed_worker_goes_on_and_dies_only_so_often(fake: Any, nodes: Nodes) -> None:
    fake.script(hang_at=11)
    nodes.add("head", num_cpus=1)

    def kill_worker(processes: int) -> None:
        """Wait until so many processes have begun, then kill the worker of the last."""
        until(lambda: len(fake.processes()) == processes)
        psutil.Process(fake.processes()[-1]["pid"]).parent().kill()

    with RayExecutor(address=nodes.address, retries=1) as executor:
        future = executor.submit(job(fake.run_folder, "a", fake.caffe))
        kill_worker(2)
        kill_worker(3)
        result = future.result()
        assert result.outcome is Outcome.CRASHED
        assert "died 2 times" in result.message
        assert "\n" not in result.message
        fake.script()
        again = executor.submit(job(fake.run_folder, "a", fake.caffe)).result()
    assert [without_time(again)] == locally(fake, [job(fake.run_folder, "a", fake.caffe)])
    snapshots = [" ".join(process["argv"]).count("--snapshot") for process in fake.processes()]
    assert snapshots[:4] == [0, 1, 1, 1]  # the first epoch; the rest; after each death


DRIVER = """
import sys
from pathlib import Path
from reproduce.training.caffe import Caffe
from reproduce.training.executors import Job
from reproduce.training.ray_executor import RayExecutor
from reproduce.training.recipe import Recipe
address, run, *argv = sys.argv[1:]
recipe = Recipe(epochs=3, iterations_per_epoch=8, test_iter=1, base_lr=0.001, chance_accuracy=0.1)
run = Path(run)
with RayExecutor(address=address) as executor:
    for key in "ab":
        caffe = Caffe(tuple(argv), "caffe version 1.0.0-fake", "real")
        job = Job(key, run / "trials" / key, run, f'name: "{key}"\\n', recipe, caffe)
        future = executor.submit(job)
    future.result()
"""


@pytest.mark.slow
def test_a_killed_driver_leaves_no_caffe_and_its_trials_go_on(fake: Any, nodes: Nodes) -> None:
    fake.script(hang_at=11)
    nodes.add("head", num_cpus=2)
    command = [sys.executable, "-c", DRIVER, nodes.address, str(fake.run_folder), *fake.caffe.argv]
    driver = subprocess.Popen(command)
    until(lambda: len(fake.processes()) == 4)
    driver.kill()
    driver.wait()
    until(lambda: not caffes(fake))
    fake.script()
    jobs = [job(fake.run_folder, key, fake.caffe) for key in "ab"]
    with RayExecutor(address=nodes.address) as executor:
        futures = [executor.submit(each) for each in jobs]
        results = [without_time(future.result()) for future in futures]
    assert results == locally(fake, jobs)
    assert all("--snapshot" in " ".join(p["argv"]) for p in fake.processes()[4:6])


@pytest.mark.slow
def test_the_check_runs_on_a_node_and_its_logs_come_back(fake: Any, nodes: Nodes) -> None:
    fake.script(seconds=0.05)
    nodes.add("head", num_cpus=2)
    to_check = replace(job(fake.run_folder, "p", fake.caffe), folder=fake.run_folder / "preflight")
    with RayExecutor(cpus=2, address=nodes.address) as executor:
        measured = executor.check(to_check)
        assert 0.05 <= measured.seconds_per_iteration < 0.5
        first, second = fake.processes()
        assert Path(first["cwd"]).is_relative_to(nodes.folder / "head")
        assert first["threads"] == "2"
        assert "--snapshot" in " ".join(second["argv"])
        assert set(trial_files(to_check.folder)) == {"train.log", "resume.log"}
        fake.script(fatal_at=[0, "no such layer"])
        with pytest.raises(PreflightError) as failed:
            executor.check(to_check)
        said = str(failed.value)
        assert "did not train" in said
        assert "no such layer" in said
        assert f"its log is {to_check.folder / 'train.log'} (on {socket.gethostname()})" in said
        assert "no such layer" in (to_check.folder / "train.log").read_text()
        with pytest.raises(RayError, match=r"CAFFE='/no/caffe' does not run"):
            executor.check(replace(to_check, caffe=replace(fake.caffe, argv=("/no/caffe",))))
        fake.script()
        assert executor.submit(job(fake.run_folder, "a", fake.caffe)).result().accuracies
    assert list((nodes.folder / "head").glob("metaqnn-*/trials/*")) == []


@pytest.mark.slow
def test_what_a_node_keeps_is_pruned_as_trials_begin(fake: Any, nodes: Nodes) -> None:
    nodes.add("head", num_cpus=1)
    scratch = nodes.folder / "head" / f"metaqnn-{os.getuid()}"
    scratch.mkdir(mode=0o700)
    add_site(scratch, "left", scratch, OLD)
    recent = add_site(scratch, "recent", scratch, RECENT)
    with RayExecutor(address=nodes.address) as executor:
        executor.submit(job(fake.run_folder, "a", fake.caffe)).result()
    assert list((scratch / "trials").iterdir()) == [recent]


@pytest.mark.slow
def test_sigterm_stays_the_drivers(
    nodes: Nodes, fake: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """`metaqnn stop` sends it, so that Caffe snapshots."""
    nodes.add("head", num_cpus=1)
    received: list[int] = []
    earlier = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with RayExecutor(address=nodes.address):
            os.kill(os.getpid(), signal.SIGTERM)
            until(lambda: received)
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert "SIGTERM" not in capfd.readouterr().err  # nor does Ray's library print where it was


@pytest.mark.slow
def test_a_cluster_that_is_gone_is_one_line(fake: Any, nodes: Nodes) -> None:
    fake.script(hang_at=11)
    nodes.add("head", num_cpus=1)
    with RayExecutor(address=nodes.address) as executor:
        future = executor.submit(job(fake.run_folder, "a", fake.caffe))
        until(lambda: len(fake.processes()) == 2)
        executor._ray.kill(executor._coordinator)
        with pytest.raises(RayError, match=r"^The actor"):
            future.result()


@pytest.mark.slow
def test_what_cannot_be_trained_is_one_line(fake: Any, nodes: Nodes) -> None:
    nodes.add("head", num_cpus=1)
    with pytest.raises(RayError, match=r"no node of the Ray cluster has the 0\.5 GPU and 1 CPUs"):
        RayExecutor(gpus=0.5, address=nodes.address)
    good = job(fake.run_folder, "a", fake.caffe)
    with RayExecutor(address=nodes.address) as executor:
        outside = executor.submit(replace(good, folder=fake.run_folder.parent / "b"))
        with pytest.raises(TrialError, match=r"b is not inside .*run"):
            outside.result()
        assert executor.submit(good).result().outcome is Outcome.FINISHED
        other_net = executor.submit(replace(good, net_text="another"))
        with pytest.raises(TrialError, match=f"{good.folder}/net.prototxt differs .*remove"):
            other_net.result()
        newer = executor.submit(replace(good, caffe=replace(fake.caffe, version="caffe 2")))
        with pytest.raises(RayError, match=r"trains with caffe version 1\.0\.0-fake, the driver"):
            newer.result()
        missing = executor.submit(replace(good, caffe=replace(fake.caffe, argv=("/no/caffe",))))
        with pytest.raises(RayError, match="CAFFE='/no/caffe' does not run"):
            missing.result()

    if can_mount():
        nodes.add_behind_a_mount("bare", Path(reproduce.__file__).parent, cpus=8)
        with RayExecutor(address=nodes.address, cpus=8) as executor:
            bare = executor.submit(good)
            with pytest.raises(RayError, match=r"^a node cannot train: .*reproduce"):
                bare.result()

    def fail(job: Job, event: TrialEvent) -> None:
        raise LookupError("of the display")

    with RayExecutor(address=nodes.address, on_event=fail) as executor:
        shown = executor.submit(job(fake.run_folder, "c", fake.caffe))
        with pytest.raises(LookupError, match="of the display"):
            shown.result()
    with pytest.raises(RuntimeError, match="is closed"):
        executor.submit(good)


# A search


class ClusterTrainer:
    """Trains each architecture as its notation says, and notes how often."""

    def __init__(self, executor: Executor, fake: Any) -> None:
        self._executor, self._fake = executor, fake
        self.submitted: list[str] = []

    @property
    def slots(self) -> int:
        return self._executor.slots

    def submit(self, trial: Trial) -> Future[TrialResult]:
        self.submitted.append(trial.architecture)
        to_do = job(self._fake.run_folder, f"{trial.id:04d}", self._fake.caffe)
        return self._executor.submit(replace(to_do, net_text=f'name: "{trial.architecture}"\n'))

    def place(self, trial: Trial) -> str | None:
        return None

    def reward(self, trial: Trial, result: TrialResult) -> float | None:
        return result.best_accuracy


@pytest.mark.slow
def test_a_search_counts_each_net_once_though_a_node_dies(fake: Any, nodes: Nodes) -> None:
    fake.script(seconds=0.05)
    nodes.add("head", num_cpus=1)
    doomed = nodes.add("doomed", num_cpus=1)
    story, schedule = Story(), (EpsilonStage(1.0, 6), EpsilonStage(0.5, 3))
    memory = ReplayMemory(fake.run_folder / "replay.sqlite")
    agent = Agent(SearchSpace(SpaceRules(depth=3, image=12)), QLearning())

    def kill() -> None:
        until(lambda: caffes(fake, nodes.folder / "doomed"))
        nodes.cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill)
    with RayExecutor(address=nodes.address, on_event=story) as executor:
        trainer = ClusterTrainer(executor, fake)
        killer.start()
        for _ in search(memory, agent, np.random.default_rng(0), schedule, 10, trainer):
            pass
        killer.join()
    assert len(story.keys(Retried)) == 1
    assert max(Counter(trainer.submitted).values()) == 1
    trials, samples = memory.trials(), memory.samples()
    assert memory.unique_per_epsilon() == {1.0: 6, 0.5: 3}
    assert {trial.outcome for trial in trials} == {"finished"}
    assert sorted(s.completed or 0 for s in samples) == list(range(1, len(samples) + 1))
    recorded = {json.dumps(trial.result.accuracies) for trial in trials if trial.result}
    assert len(recorded) == len(trials) == 9
    assert sorted(story.keys(TrialFinished)) == [f"{trial.id:04d}" for trial in trials]
