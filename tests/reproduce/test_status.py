"""A run's status, from replay memories written by the test."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reproduce.commands.text import status_text
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.finals import final_folder
from reproduce.options import Options
from reproduce.pace import PREFLIGHT
from reproduce.results.page.facts import state_of
from reproduce.results.top_models import top_id
from reproduce.run import REPLAY_MEMORY, freeze
from reproduce.search.replay_memory import ReplayMemory
from reproduce.status import Status
from reproduce.status import status as status_of
from reproduce.trainer import trial_folder
from reproduce.training.outcome import Outcome, TrialResult

LOGS = Path(__file__).parent / "training" / "logs"
# `smoke`: two models at ε = 1, one at 0.1; then a final training and the published net.
SMOKE = load_experiment(experiment_path("mnist"), "smoke", 0)
NETS = ("[SM(10)]", "[GAP(10), SM(10)]", "[C(64,1,1), SM(10)]", "[C(64,3,1), SM(10)]")


class Written:
    """A run's folder and its replay memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        freeze(SMOKE, folder)
        self.memory = ReplayMemory(folder / REPLAY_MEMORY)

    def train(self, net: str, epsilon: float, reward: float | None = 0.5) -> None:
        sample = self.memory.add_sample(net, epsilon, None)
        outcome = Outcome.CRASHED if reward is None else Outcome.FINISHED
        accuracies = () if reward is None else (reward,)
        result = TrialResult(outcome, accuracies, 0.001, 0, 10, 30.0, "caffe")
        self.memory.record_outcome(sample.trial, result, reward)
        self.memory.complete(sample.id)
        if reward is not None:
            self.memory.record_replays([sample.id], [0.5], None)

    def train_all(self) -> None:
        for net, epsilon in zip(NETS, (1.0, 1.0, 0.1), strict=False):
            self.train(net, epsilon)

    def start(self, **options: Any) -> None:
        """Record what the run was started with."""
        self.memory.put(options=Options(self.folder, self.folder, **options).to_json())

    def status(self) -> Status:
        """What `metaqnn status` says; the report's page must say the same of the whole run."""
        found = status_of(self.folder)
        on_page = state_of(self.folder, SMOKE, self.memory, self.memory.trials())
        assert (on_page.word == "complete") == (found.state == "complete")
        assert (on_page.done.trained, on_page.done.wanted) == (found.trained, found.wanted)
        return found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Written]:
    written = Written(tmp_path / "run")
    yield written
    written.memory.close()


def test_a_run_before_its_first_net(run: Written) -> None:
    status = run.status()
    assert (status.state, status.trained, status.wanted, status.epsilon) == ("not running", 0, 3, 1)
    assert (status.trainer, status.best, status.seconds_left) == (None, None, None)
    assert [stage.mean_reward for stage in status.stages] == [None, None]


def test_nets_beyond_a_stages_number_do_not_stand_for_those_of_another(run: Written) -> None:
    """Two places at a time, or an import, train more than the two nets that ε = 1 wants."""
    for net in NETS[:3]:
        run.train(net, 1.0)
    status = run.status()
    assert (status.state, status.epsilon) == ("not running", 0.1)
    assert (status.trained, status.wanted) == (2, 3)
    assert [(stage.trained, stage.wanted) for stage in status.stages] == [(3, 2), (0, 1)]
    assert status.seconds_left is not None
    assert status.seconds_left > 0


def test_a_schedule_fulfilled_is_not_complete_while_a_net_is_left_in_training(
    run: Written,
) -> None:
    """Two places at a time: `resume` will end the net that was in training when it died."""
    run.start(finals=False)
    run.train_all()
    assert run.status().state == "complete"
    run.memory.add_sample(NETS[3], 0.1, None)
    status = run.status()
    assert status.state == "not running"
    assert [trial.architecture for trial in status.under_way] == [NETS[3]]


def test_a_run_is_not_complete_before_the_final_trainings_it_was_started_for(
    run: Written,
) -> None:
    run.train_all()
    result = TrialResult(Outcome.FINISHED, (0.9,), 0.001, 0, 10, 30.0, "caffe")
    run.start(finals=False)  # `search`
    assert run.status().state == "complete"
    run.start(finals=True)  # `reproduce`
    assert run.status().state == "not running"
    assert "3 of 3 models trained\n" in status_text(run.status())
    run.memory.record_final("mnist/v1-3", "[SM(10)]", result)
    assert run.status().state == "not running"
    for place in (1, 2):  # the budget's `final_top`
        assert run.status().state == "not running"
        run.memory.record_final(top_id(place), NETS[place - 1], result)
    assert run.status().state == "complete"
    assert run.status().finals == ("mnist/v1-3", top_id(1), top_id(2))


def test_a_run_that_no_driver_started_is_complete_with_all_of_its_experiment(run: Written) -> None:
    """An imported search: its experiment has final trainings, whoever will start them."""
    run.train_all()
    assert run.status().state == "not running"
    result = TrialResult(Outcome.FINISHED, (0.9,), 0.001, 0, 10, 30.0, "caffe")
    for id_ in ("mnist/v1-3", top_id(1), top_id(2)):
        run.memory.record_final(id_, NETS[0], result)
    assert run.status().state == "complete"


def test_a_run_is_not_complete_before_each_model_there_is_has_been_evaluated(
    run: Written,
) -> None:
    run.train_all()
    run.start(finals=True)
    result = TrialResult(Outcome.FINISHED, (0.9,), 0.001, 0, 10, 30.0, "caffe")
    for id_ in ("mnist/v1-3", top_id(1), top_id(2)):
        run.memory.record_final(id_, NETS[0], result)
        folder = final_folder(run.folder, id_)
        folder.mkdir(parents=True)
        (folder / "model.caffemodel").write_bytes(b"")
    assert run.status().state == "not running"
    scores = [{"what": top_id(place), "errors": 1, "total": 100} for place in (1, 2)]
    run.memory.put(evaluation={"members": scores[:1], "ensembles": []})
    assert run.status().state == "not running"
    run.memory.put(evaluation={"members": scores, "ensembles": []})
    assert run.status().state == "complete"


def test_a_search_without_a_finished_net_has_no_best_one_to_train(run: Written) -> None:
    for net, epsilon in zip(NETS, (1.0, 1.0, 0.1), strict=False):
        sample = run.memory.add_sample(net, epsilon, None)
        result = TrialResult(Outcome.CHANCE_LEVEL, (0.1,), 0.001, 5, 10, 30.0, "caffe")
        run.memory.record_outcome(sample.trial, result, 0.1)
        run.memory.complete(sample.id)
        run.memory.record_replays([sample.id], [], None)
    run.start(finals=True)
    result = TrialResult(Outcome.FINISHED, (0.9,), 0.001, 0, 10, 30.0, "caffe")
    run.memory.record_final("mnist/v1-3", "[SM(10)]", result)
    assert (run.status().state, run.status().best) == ("complete", None)


def test_a_net_that_gave_no_reward_is_an_outcome_and_no_trained_model(run: Written) -> None:
    run.train(NETS[0], 1.0, reward=None)
    run.train(NETS[1], 1.0, reward=0.4)
    status = run.status()
    assert status.trained == 1
    assert status.outcomes == {"crashed": 1, "finished": 1}
    assert (status.stages[0].samples, status.stages[0].mean_reward) == (2, 0.4)
    assert (status.best, status.best_reward) == (NETS[1], 0.4)


def test_the_time_left_is_told_by_what_was_measured_of_the_device(run: Written) -> None:
    """Three nets of two processes of 4 s each, and 6 · 7,840 FLOP of 2 · 1,280 images."""
    run.memory.put(**{PREFLIGHT: {"startup_seconds": 4.0, "flop_per_second": 1e6}})
    run.memory.add_sample("[SM(10)]", 1.0, None)
    wanted = 3 * (2 * 4.0 + 6 * 7840 * 2560 / 1e6)
    assert run.status().seconds_left == pytest.approx(wanted)
    run.memory.put(slots=2)
    assert run.status().seconds_left == pytest.approx(wanted / 2)


def test_a_trial_under_way_is_told_from_the_logs_of_its_last_attempt(run: Written) -> None:
    """A log of real Caffe, resumed at iteration 430 and ended with a snapshot at 560; the attempt
    before had a loss of nan."""
    sample = run.memory.add_sample(NETS[0], 1.0, None)
    run.memory.start_trial(sample.trial, "GPU 1")
    folder = trial_folder(run.folder, sample.trial)
    folder.mkdir(parents=True)
    for name, log in (
        ("caffe_0_0.log", "train_nan_adam1e30.log"),
        ("caffe_0_1.log", "train_normal.log"),
        ("caffe_1_0.log", "train_resumed.log"),
    ):
        (folder / name).write_bytes((LOGS / log).read_bytes())
    (trial,) = run.status().under_way
    assert (trial.place, trial.attempt) == ("GPU 1", 1)
    assert (trial.iteration, trial.loss, trial.accuracies) == (560, 0.0281531, (0.981,))


def test_a_trial_sampled_and_not_yet_started(run: Written) -> None:
    run.memory.add_sample(NETS[0], 1.0, None)
    (trial,) = run.status().under_way
    assert (trial.attempt, trial.iteration, trial.loss, trial.accuracies) == (0, 0, None, ())
    assert (trial.started_at, trial.place) == (None, None)


@pytest.mark.parametrize(
    "name",
    ["caffe_x_y.log", "caffe_1_1_copy.log", "caffe__.log", "caffe_9_-1.log", "caffe_1_1.log.log"],
)
def test_other_files_beside_a_trials_logs_are_passed_over(run: Written, name: str) -> None:
    sample = run.memory.add_sample(NETS[0], 1.0, None)
    folder = trial_folder(run.folder, sample.trial)
    folder.mkdir(parents=True)
    (folder / "caffe_1_0.log").write_bytes((LOGS / "train_resumed.log").read_bytes())
    (folder / name).write_bytes((LOGS / "train_normal.log").read_bytes())
    (trial,) = run.status().under_way
    assert (trial.attempt, trial.iteration, trial.accuracies) == (1, 560, (0.981,))
