"""The surrogate behind Caffe's command line: its log, its files, and a search that runs by it."""

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prototxt_gen.net import DataSource, NetStyle, net_text
from prototxt_gen.notation import parse
from prototxt_gen.solver import solver_text
from reproduce.rivals.surrogate.command import main
from reproduce.rivals.surrogate.surrogate import Surrogate
from reproduce.search.replay_memory import read_replay_memory
from reproduce.training.caffe import Caffe, find_caffe, is_predicted
from reproduce.training.log_parser import Error, Fatal, Finished, TestOutput, parse_events
from reproduce.training.outcome import Outcome
from reproduce.training.recipe import Recipe
from reproduce.training.snapshots import Snapshots, is_whole
from reproduce.training.trial import run_trial
from tests.reproduce.whole_run import REPOSITORY, Run

NET = "[C(128,3,1), C(64,5,1), D(1,2), P(2,2), C(256,3,1), D(2,2), SM(10)]"
RECIPE = Recipe(
    epochs=20,
    iterations_per_epoch=10,
    test_iter=1,
    base_lr=0.001,
    lr_policy="step",
    gamma=0.2,
    step_epochs=5,
    chance_accuracy=0.15,
    display=5,
)

RunCommand = Callable[..., tuple[int, Path]]


def text_of(net: str) -> str:
    source = DataSource(train="train", test="val", train_batch=8, test_batch=8)
    return net_text(parse(net), (3, 32, 32), source, NetStyle(), "net")


@pytest.fixture
def words(slice_folder: Path) -> list[str]:
    """The command of the CIFAR-10 slice's surrogate, without failures."""
    command = [sys.executable, "-m", "reproduce.rivals.surrogate.command"]
    return [*command, "--authors-data", str(slice_folder), "--data-set", "cifar10",
            "--seed", "0", "--failure-share", "0"]  # fmt: skip


@pytest.fixture
def caffe(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Caffe:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return find_caffe({"CAFFE": shlex.join(words), "PYTHONPATH": str(REPOSITORY)})


@pytest.fixture
def run(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[RunCommand]:
    """Runs the command within this process; gives its exit code and log."""
    interrupt = signal.getsignal(signal.SIGINT)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, Path]:
        code = 0
        try:
            main([*words[3:], *arguments])
        except SystemExit as end:
            code = 0 if end.code is None else 1
            if isinstance(end.code, str):  # as the interpreter prints it
                print(end.code, file=sys.stderr)
        log = tmp_path / "caffe.log"
        log.write_text(capfd.readouterr().err)
        return code, log

    yield run
    signal.signal(signal.SIGINT, interrupt)


def write(folder: Path, net: str, base_lr: float = 0.001, max_iter: int = 200) -> None:
    scheme = RECIPE.scheme(0, max_iter)
    text = solver_text(scheme, net="net.prototxt", snapshot_prefix="snapshot")
    (folder / "solver.prototxt").write_text(text.replace("base_lr: 0.001", f"base_lr: {base_lr}"))
    (folder / "net.prototxt").write_text(net)


def accuracies(log: Path) -> list[float]:
    events = parse_events(log)
    return [x.value for x in events if isinstance(x, TestOutput) and x.name == "accuracy"]


def test_its_log_tells_the_curve_of_the_net_and_its_snapshots_are_whole(
    run: RunCommand, surrogate: Surrogate, tmp_path: Path
) -> None:
    curve = surrogate.curve(parse(NET))
    write(tmp_path, text_of(NET), base_lr=curve.learning_rate)
    code, log = run("train", "--solver=solver.prototxt")
    assert code == 0
    assert accuracies(log) == pytest.approx(curve.accuracies, rel=1e-5)
    assert any(isinstance(x, Finished) for x in parse_events(log))
    snapshots = Snapshots(tmp_path, "snapshot")
    assert all(is_whole(snapshots.at(10 * epoch)) for epoch in range(1, 21))


def test_it_goes_on_from_its_own_snapshot(
    run: RunCommand, surrogate: Surrogate, tmp_path: Path
) -> None:
    curve = surrogate.curve(parse(NET))
    write(tmp_path, text_of(NET), base_lr=curve.learning_rate, max_iter=10)
    _, log = run("train", "--solver=solver.prototxt")
    assert accuracies(log) == pytest.approx(curve.accuracies[:1], rel=1e-5)
    write(tmp_path, text_of(NET), base_lr=curve.learning_rate)
    resumed = "--snapshot=snapshot_iter_10.solverstate"
    _, log = run("train", "--solver=solver.prototxt", resumed)
    assert accuracies(log)[-19:] == pytest.approx(curve.accuracies[1:], rel=1e-5)


def test_a_learning_rate_above_the_one_it_learns_at_leaves_it_at_chance(
    run: RunCommand, surrogate: Surrogate, tmp_path: Path
) -> None:
    write(tmp_path, text_of(NET), base_lr=2 * surrogate.curve(parse(NET)).learning_rate)
    _, log = run("train", "--solver=solver.prototxt")
    assert accuracies(log) == [0.1] * 20


def test_a_net_out_of_range_is_flagged_in_the_log(run: RunCommand, tmp_path: Path) -> None:
    write(tmp_path, text_of("[C(64,3,1), C(100,3,1), SM(10)]"))
    code, log = run("train", "--solver=solver.prototxt")
    assert code == 0
    (line,) = (x for x in log.read_text().splitlines() if x.startswith("W"))
    assert "Out of the surrogate's range" in line
    assert "C(100,3,1)" in line
    assert not [x for x in parse_events(log) if isinstance(x, Error | Fatal)]


@pytest.mark.parametrize(
    ("net", "complaint"),
    [
        ("layer { name: 'x' type: 'LRN' }", "layer x: type LRN has no notation"),
        ("layers }", "no net prototxt"),
        (None, "cannot read net.prototxt: No such file"),
    ],
)
def test_a_net_that_it_cannot_read_is_one_fatal_line(
    run: RunCommand, tmp_path: Path, net: str | None, complaint: str
) -> None:
    write(tmp_path, net or "")
    if net is None:
        (tmp_path / "net.prototxt").unlink()
    code, log = run("train", "--solver=solver.prototxt")
    assert code == 1
    (event,) = parse_events(log)
    assert isinstance(event, Fatal)
    assert complaint in event.message


def test_it_is_a_caffe_of_a_kind_of_its_own(caffe: Caffe) -> None:
    assert caffe.kind == "surrogate"
    assert is_predicted(f"{caffe} ({caffe.kind})")
    assert not is_predicted(f"{caffe} (real)")


def test_without_scikit_learn_it_says_what_to_install(
    run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    code, log = run("--version")
    assert code == 1
    assert log.read_text().startswith("ERROR: scikit-learn is not installed: ")


def test_it_says_that_it_cannot_test(run: RunCommand) -> None:
    code, log = run("test", "--weights=x")
    assert code == 1
    assert log.read_text().startswith("ERROR: a surrogate can only")


def test_a_trial_restarts_and_ends_as_the_curve_says(
    caffe: Caffe, surrogate: Surrogate, tmp_path: Path
) -> None:
    nets = [f"[C(64,{f},1), C(512,5,1){', C(256,3,1)' * n}, SM(10)]" for n in (1, 3, 6, 9)
            for f in (1, 3, 5)]  # fmt: skip
    net = next(x for x in nets if surrogate.curve(parse(x)).restarts)
    curve = surrogate.curve(parse(net))
    result = run_trial(tmp_path / "trials" / "0", tmp_path, text_of(net), RECIPE, caffe)
    assert result.outcome is Outcome.FINISHED, result.message
    assert result.restarts == curve.restarts
    assert result.accuracies == pytest.approx(curve.accuracies, rel=1e-5)
    assert result.iterations == 10 * curve.epochs


@pytest.mark.slow
def test_a_whole_search_runs_by_it(
    words: list[str], surrogate: Surrogate, tmp_path: Path, experiment: Path, digits: Path
) -> None:
    """Of small MNIST images, since what they are is not looked at."""
    searching = Run(tmp_path / "searching", experiment, digits, shlex.join(words))
    searching.command[searching.command.index("reproduce")] = "search"
    searching.finish()
    with read_replay_memory(searching.folder / "run" / "replay.sqlite") as memory:
        trials = list(memory.trials())
        trainer = str(memory.get("trainer"))
    assert trainer.startswith("surrogate of cifar10, seed 0")
    assert is_predicted(trainer)
    assert len(trials) == 6
    for trial in trials:
        assert trial.result is not None
        curve = surrogate.curve(parse(trial.architecture))
        epochs = len(trial.result.accuracies)
        assert trial.result.accuracies == pytest.approx(curve.accuracies[:epochs], rel=1e-5)
        assert trial.reward == max(trial.result.accuracies)
