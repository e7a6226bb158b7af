"""The report's parts: files of trainings, packing, state, device-hours; a whole search's size."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prototxt_gen.net import DataSource, NetStyle, net_text
from prototxt_gen.notation import Architecture, Convolution, Pooling, Softmax
from reproduce.commands.arguments import DEFAULT_SEED
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.results.page.details import (
    CHUNK,
    LOG_LINES,
    Training,
    TrainingFile,
    log_excerpt,
    pack,
    training_files,
)
from reproduce.results.page.facts import (
    data_files,
    device_time,
    provenance_rows,
    stages_table,
    state_of,
)
from reproduce.results.report import write_report
from reproduce.search.replay_memory import ReplayMemory
from reproduce.training.outcome import Outcome, TrialResult

LOGS = Path(__file__).parents[1] / "training" / "logs"


@pytest.fixture
def experiment() -> Experiment:
    return load_experiment(experiment_path("mnist"), "quick", DEFAULT_SEED)


@pytest.fixture
def memory(tmp_path: Path) -> ReplayMemory:
    return ReplayMemory(tmp_path / "replay.sqlite")


def result(*accuracies: float, seconds: float = 3600.0, **more: object) -> TrialResult:
    fields = {"outcome": Outcome.FINISHED, "message": "", "trainer": "caffe 1.0.0"} | more
    return TrialResult(
        accuracies=accuracies, learning_rate=0.001, restarts=0, iterations=78, seconds=seconds,
        **fields,
    )  # fmt: skip


def add(memory: ReplayMemory, net: str, epsilon: float, done: TrialResult | None) -> None:
    sample = memory.add_sample(net, epsilon, {})
    if done is not None:
        memory.record_outcome(sample.trial, done, done.best_accuracy)
        memory.complete(sample.id)


# What is kept of a log


def test_an_excerpt_has_every_test_and_the_end_of_a_real_log() -> None:
    text = (
        (LOGS / "train_mnist_cpu.log").read_text()
        if (LOGS / "train_mnist_cpu.log").exists()
        else next(iter(sorted(LOGS.glob("train*.log")))).read_text()
    )
    kept, whole = log_excerpt(text)
    lines = kept.splitlines()
    assert not whole
    assert [x for x in text.splitlines() if "Test net output" in x] == [
        x for x in lines if "Test net output" in x
    ]
    assert lines[-12:] == text.splitlines()[-12:]


@given(
    st.lists(
        st.sampled_from(["Test net output #0: accuracy = 0.5", "noise", "Iteration 3, loss = 1"]),
        max_size=300,
    )
)
def test_an_excerpt_is_lines_of_the_log_in_their_order(kinds: list[str]) -> None:
    lines = [f"{i}] {kind}" for i, kind in enumerate(kinds)]
    kept, whole = log_excerpt("\n".join(lines))
    found = [line for line in kept.splitlines() if line != "…"]
    at = [lines.index(line) for line in found]
    assert at == sorted(at)
    assert len(found) <= LOG_LINES
    assert whole == (found == lines)
    assert found[-5:] == lines[-5:]
    gaps = sum(b != a + 1 for a, b in zip([-1, *at], at, strict=False))
    assert kept.splitlines().count("…") == gaps


def test_files_are_linked_from_the_page_and_prototxts_are_whole(tmp_path: Path) -> None:
    folder = tmp_path / "a run" / "trials" / "0001"
    folder.mkdir(parents=True)
    for name in ("net.prototxt", "solver_0.prototxt", "caffe_10_0.log", "caffe_2_0.log"):
        (folder / name).write_text(f"content of {name}\n")
    (folder / "model.caffemodel").write_bytes(b"\0")
    page = tmp_path / "elsewhere" / "report"
    files = training_files(folder, page)
    assert [file.name for file in files] == [
        "net.prototxt", "solver_0.prototxt", "caffe_2_0.log", "caffe_10_0.log",
    ]  # fmt: skip
    assert files[0] == TrainingFile(
        "net.prototxt",
        "../../a%20run/trials/0001/net.prototxt",
        "content of net.prototxt\n",
        True,
    )
    assert training_files(tmp_path / "none", page) == ()


@given(st.lists(st.text(), max_size=3 * CHUNK), st.text())
def test_what_is_packed_is_unpacked(titles: list[str], text: str) -> None:
    """By gzip and JSON alone, as the page does it; each is found under its key."""
    file = TrainingFile("net.prototxt", "../net.prototxt", text, True)
    trainings = [Training(str(i), t, "", (("a", t),), "", (file,)) for i, t in enumerate(titles)]
    found = {}
    for keys, packed in pack(trainings):
        chunk = json.loads(gzip.decompress(base64.b64decode(packed)))
        assert list(chunk) == keys.split(" ")
        assert re.fullmatch(r"[A-Za-z0-9+/=]*", packed)  # nothing that HTML would take for its own
        found |= chunk
    assert [found[str(i)]["title"] for i in range(len(titles))] == titles
    assert all(one["files"][0]["text"] == text for one in found.values())


# State and provenance


def test_the_state_counts_the_schedule_and_the_outcomes(
    experiment: Experiment, memory: ReplayMemory, tmp_path: Path
) -> None:
    """The quick schedule wants 4 models at ε = 1 and one at each of nine others."""
    for number in range(5):
        add(memory, f"[C({number + 1},3,1), SM(10)]", 1.0, result(0.9))
    lost = result(outcome=Outcome.DIVERGED, message="loss = nan")
    add(memory, "[FC(512), SM(10)]", 0.9, lost)
    add(memory, "[FC(256), SM(10)]", 0.9, None)
    state = state_of(tmp_path, experiment, memory, memory.trials())
    assert (state.word, state.driver) == ("stopped", None)
    # The fifth at ε = 1 is one more than wanted.
    assert (state.done.trained, state.done.wanted) == (4, 13)
    assert (state.done.finals, state.done.finals_wanted) == (0, 2)
    assert state.outcomes == (("finished", 5), ("diverged", 1))
    assert state.under_way == 1
    assert stages_table(experiment, memory, memory.trials())[:2] == [
        ("1", "5", "4", "5", "0.9000"),
        ("0.9", "0", "1", "2", ""),
    ]


def test_a_run_without_a_search_is_complete_with_its_published_nets(
    memory: ReplayMemory, tmp_path: Path
) -> None:
    experiment = load_experiment(experiment_path("mnist"), "top-models", DEFAULT_SEED)
    assert state_of(tmp_path, experiment, memory, []).word == "stopped"
    memory.record_final("mnist/v1-3", experiment.published[0].net.notation, result(0.99))
    state = state_of(tmp_path, experiment, memory, [])
    assert (state.word, state.done.finals, state.done.finals_wanted) == ("complete", 1, 1)


@pytest.mark.parametrize(
    ("options", "device", "hours", "kwh"),
    [
        ({"gpus": [], "cpu_slots": 1}, "CPU", 3.0, "0.3"),
        ({"gpus": [], "cpu_slots": 2}, "CPU", 1.5, "0.15"),
        ({"gpus": [0, 1], "slots_per_gpu": 2}, "GPU", 1.5, "0.45"),
        (
            {"executor": "ray", "gpus": [], "gpus_per_trial": 0.5, "cpus_per_trial": 1.0},
            *("GPU", 1.5, "0.45"),
        ),
        (
            {"executor": "ray", "gpus": [], "gpus_per_trial": 0.0, "cpus_per_trial": 2.0},
            *("CPU core", 6.0, "0.06"),
        ),
    ],
)
def test_device_hours_are_process_hours_shared_out(
    memory: ReplayMemory, tmp_path: Path, options: dict[str, object], device: str, hours: float,
    kwh: str,
) -> None:  # fmt: skip
    """Two hours of the search and one of a final training; watts as assumed in `WATTS`."""
    add(memory, "[SM(10)]", 1.0, result(0.9, seconds=7200.0))
    memory.record_final("top/1", "[SM(10)]", result(0.9, seconds=3600.0))
    memory.put(options=options)
    time = device_time(memory, memory.trials())
    assert (time.device, time.process_hours, time.hours) == (device, 3.0, hours)
    rows = dict(provenance_rows(tmp_path, memory, memory.trials(), None))
    assert rows["energy (an estimate)"].startswith(f"about {kwh} kWh, assuming ")
    own = dict(provenance_rows(tmp_path, memory, memory.trials(), 1000.0))
    assert own["energy (an estimate)"].startswith(f"about {hours:g} kWh, with 1000 W")


def test_each_file_of_the_data_stands_once_with_its_hash(memory: ReplayMemory) -> None:
    source = {"name": "a", "sha256": "12ab", "status": "verified", "origin": "the user"}
    other = source | {"name": "b", "status": "unverified"}
    memory.put(data={"sources": [source]}, final_data={"sources": [source, other]})
    assert data_files(memory) == [source, other]


def test_the_page_of_an_empty_run_says_that_nothing_was_run(
    experiment: Experiment, memory: ReplayMemory, tmp_path: Path
) -> None:
    text = write_report(experiment, memory, tmp_path / "report").read_text()
    assert text.count('class="none">not run<') == 3
    assert "nothing yet" in text
    assert 'id="trials"' not in text
    assert "0 of 13" in text


def test_texts_of_a_run_are_no_markup(
    experiment: Experiment, memory: ReplayMemory, tmp_path: Path
) -> None:
    """A trainer, an outcome's message and a log may hold anything."""
    evil = "</script><script>alert(1)</script>"
    memory.put(trainer=evil, device=evil)
    add(memory, "[SM(10)]", 1.0, result(outcome=Outcome.CRASHED, message=evil))
    folder = tmp_path / "trials" / "0001"
    folder.mkdir(parents=True)
    (folder / "caffe_0_0.log").write_text(evil)
    text = write_report(experiment, memory, tmp_path / "report").read_text()
    assert evil not in text
    assert "&lt;/script&gt;" in text


# Size


def _random_net(rng: np.random.Generator) -> Architecture:
    layers = [
        Convolution(int(rng.choice([64, 128, 256, 512])), int(rng.choice([1, 3, 5])), 1)
        if rng.random() < 0.7
        else Pooling(2, 1)
        for _ in range(int(rng.integers(6, 12)))
    ]
    return Architecture((*layers, Softmax(10)))


def _log(rng: np.random.Generator, epochs: int) -> str:
    """A log of the length that matters here: Caffe prints the net before the first iteration."""
    lines = [f"I1124 17:48:13.{i:06d} 10291 net.cpp:84] Creating Layer {i}" for i in range(300)]
    for epoch in range(epochs):
        a, b, c = rng.random(3)
        stamp = f"I1124 {rng.integers(24):02d}:{rng.integers(60):02d}:{rng.integers(60):02d}."
        head = f"{stamp}{rng.integers(1000000):06d} {rng.integers(9999, 99999)} solver.cpp"
        at = epoch * 351
        lines += [
            f"{head}:347] Iteration {at}, Testing net (#0)",
            f"{head}:414]     Test net output #0: accuracy = {a:.4f}",
            f"{head}:414]     Test net output #1: loss = {b:.6f} (* 1 = {b:.6f} loss)",
            f"{head}:239] Iteration {at} (5 iter/s, 9.9s/39 iters), loss = {c:.6f}",
        ]
    return "\n".join(lines)


@pytest.mark.slow
def test_a_search_of_2700_nets_makes_a_page_of_few_megabytes(
    memory: ReplayMemory, tmp_path: Path
) -> None:
    """With two logs, two solvers and the net of each trial at hand in it."""
    experiment = load_experiment(experiment_path("cifar10"), "paper", DEFAULT_SEED)
    rng = np.random.default_rng(0)
    solver = experiment_path("cifar10").read_text()[:400]
    nets: dict[str, Architecture] = {}
    while len(nets) < 2700:
        net = _random_net(rng)
        nets[str(net)] = net
    with memory.transaction():
        for number, (name, net) in enumerate(nets.items(), 1):
            add(memory, name, 1.0, result(*rng.random(20)))
            folder = tmp_path / "trials" / f"{number:04d}"
            folder.mkdir(parents=True)
            source = DataSource("../../data/train.lmdb", "../../data/val.lmdb", 128, 100)
            text = net_text(net, (3, 32, 32), source, NetStyle(), name)
            (folder / "net.prototxt").write_text(text)
            for which in ("solver_0_first", "solver_0"):
                (folder / f"{which}.prototxt").write_text(f"{solver}random_seed: {number}")
            (folder / "caffe_0_0.log").write_text(_log(rng, 1))
            (folder / "caffe_0_1.log").write_text(_log(rng, 20))
    page = write_report(experiment, memory, tmp_path / "report")
    assert page.stat().st_size < 15e6
    text = page.read_text()
    assert text.count('<tr id="trial-') == 2700
    assert text.count('href="../trials/') == 3 * 2700
