"""Final trainings: what is asked before them, and what is evaluated after some have failed."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from data_prep.errors import DataError
from prototxt_gen.dropout import DropoutRule
from reproduce import finals as module
from reproduce.before_finals import check_before_finals, check_cost
from reproduce.display import Display
from reproduce.driver import Driver
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment, TopModels, Tuning
from reproduce.finals import evaluate_models, final_folder, train_finals
from reproduce.options import Options
from reproduce.results.predictions import PredictionError
from reproduce.results.summary import RunResults
from reproduce.results.top_models import top_id
from reproduce.run import RunError
from reproduce.search.replay_memory import ReplayMemory
from reproduce.training.caffe import Caffe
from reproduce.training.outcome import Outcome, TrialResult

NETS = ("[SM(10)]", "[GAP(10), SM(10)]", "[C(64,1,1), SM(10)]", "[C(64,3,1), SM(10)]")
Made = Callable[..., Driver]


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Made]:
    """Makes the driver of an experiment whose agent and data are not asked for."""
    memory = ReplayMemory(tmp_path / "replay.sqlite")

    def make(experiment: Experiment, **options: Any) -> Driver:
        agent: Any = SimpleNamespace(space=None)
        caffe = Caffe(("caffe",), "caffe version 1.0.0", "real")
        chosen = Options(tmp_path, tmp_path, **options)
        display = Display(Console(file=io.StringIO()))
        made = Driver(experiment, tmp_path, memory, caffe, chosen, display, agent)
        made.data = SimpleNamespace(path=lambda name: name)  # type: ignore[assignment]
        return made

    yield make
    memory.close()


def test_files_that_the_final_trainings_alone_need_are_missed_before_the_search(
    driver: Made, tmp_path: Path
) -> None:
    """The search on SVHN reads its train part, the final trainings its extra part as well."""
    for part in ("train", "test"):
        (tmp_path / f"{part}_32x32.mat").write_bytes(b"")
    svhn = driver(load_experiment(experiment_path("svhn"), "paper", 0))
    svhn.user_files = tmp_path
    with pytest.raises(DataError, match=r"has no extra_32x32\.mat"):
        check_before_finals(svhn)


def test_more_than_a_month_of_final_trainings_starts_only_where_the_user_says_so(
    driver: Made,
) -> None:
    experiment = load_experiment(experiment_path("mnist"), "top-models", 0)
    month = 30 * 86400.0
    check_cost(driver(experiment), month)
    with pytest.raises(RunError, match=r"would take about .* YES=1 \(--yes\)"):
        check_cost(driver(experiment), 1.01 * month)
    check_cost(driver(experiment, yes=True), 100 * month)


@pytest.fixture
def four_trained(driver: Made, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Four nets of a search, best first; all but the fourth have had their final training."""
    smoke = load_experiment(experiment_path("mnist"), "smoke", 0)
    assert smoke.final is not None
    final: TopModels = smoke.final.model_copy(update={"top": 4, "ensembles": (2, 3)})
    made = driver(smoke.model_copy(update={"final": final}))
    for place, net in enumerate(NETS, 1):
        result = TrialResult(Outcome.FINISHED, (1 - place / 10,), 0.001, 0, 10, 30.0, "caffe")
        sample = made.memory.add_sample(net, 1.0, None)
        made.memory.record_outcome(sample.trial, result, 1 - place / 10)
        if place < 4:
            made.memory.record_final(top_id(place), net, result)
            folder = final_folder(made.folder, top_id(place))
            folder.mkdir(parents=True)
            (folder / "model.caffemodel").write_bytes(b"")
            (folder / "net.prototxt").write_text("")
    return made


def predicting(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    """Every net is right of each of ten images, but the second's predictions fail."""

    def predict(target: Path, *_: object, **__: object) -> SimpleNamespace:
        if target.parent.name == "top-2":
            raise PredictionError("caffe test failed", outcome)
        return SimpleNamespace(probabilities=np.eye(10, dtype=np.float32), labels=np.arange(10))

    monkeypatch.setattr(module, "predict", predict)


def test_what_is_there_is_evaluated_whatever_else_has_failed(
    four_trained: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicting(monkeypatch, Outcome.CRASHED)
    failures = evaluate_models(four_trained)
    assert failures == ["predictions of top/2 failed: caffe test failed"]
    evaluation = four_trained.memory.get("evaluation")
    assert [score["what"] for score in evaluation["members"]] == ["top/1", "top/3"]
    assert {tuple(one["members"]) for one in evaluation["ensembles"]} == {("top/1", "top/3")}


def test_predictions_that_were_stopped_end_the_run(
    four_trained: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicting(monkeypatch, Outcome.STOPPED)
    with pytest.raises(RunError, match="the same command goes on from here"):
        evaluate_models(four_trained)
    assert four_trained.memory.get("evaluation") is None


def test_a_net_waits_for_points_of_its_grid_that_could_not_be_tried(four_trained: Driver) -> None:
    """A training that crashed is tried again by the same command, and may be the best."""
    made = four_trained
    grid = Tuning(epochs=1, weight_decay=(0.0, 0.5), dropout=(DropoutRule.NONE,))
    budget = made.experiment.budget.model_copy(update={"tune": True})
    made.experiment = made.experiment.model_copy(
        update={"tuning": grid, "budget": budget, "published": ()}
    )

    def result(accuracy: float) -> TrialResult:
        return TrialResult(Outcome.FINISHED, (accuracy,), 0.001, 0, 10, 30.0, "caffe")

    made.memory.record_final("tuning/4/1", NETS[3], result(0.7))
    assert module._waiting(made, tuned=True) == []
    assert [final.id for final in module._waiting(made, tuned=False)] == [top_id(4)]
    made.memory.record_final("tuning/4/2", NETS[3], result(0.8))
    (final,) = module._waiting(made, tuned=True)
    assert (final.id, final.section.weight_decay) == (top_id(4), 0.5)


def test_without_a_search_the_published_nets_are_ensembled(
    driver: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best published error first: their validation accuracies are not published."""
    experiment = load_experiment(experiment_path("cifar10"), "top-models", 0)
    made = driver(experiment)
    monkeypatch.setattr(Driver, "data_of", lambda self, _: self.data)
    for net in experiment.published:
        result = TrialResult(Outcome.FINISHED, (0.9,), 0.001, 0, 10, 30.0, "caffe")
        made.memory.record_final(net.id, net.net.notation, result)
        folder = final_folder(made.folder, net.id)
        folder.mkdir(parents=True)
        (folder / "model.caffemodel").write_bytes(b"")
        (folder / "net.prototxt").write_text("")
    predicting(monkeypatch, Outcome.CRASHED)
    assert evaluate_models(made) == []
    evaluation = made.memory.get("evaluation")
    errors = {net.id: net.net.error or 0.0 for net in experiment.published}
    ranked = sorted(errors, key=lambda id_: errors[id_])
    assert [score["what"] for score in evaluation["members"]] == ranked
    assert {(one["size"], tuple(one["members"])) for one in evaluation["ensembles"]} == {
        (5, tuple(ranked))
    }
    table = [row for row in RunResults(made.experiment, made.memory).rows() if row.measured == 0]
    ensemble = next(row for row in table if "ensemble" in row.what)
    assert ensemble.mark.startswith("top-models")
    assert ranked[0] in ensemble.status


def test_that_there_is_no_net_to_train_is_said_once(
    driver: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a grid or without: nothing is tuned then either."""
    smoke = load_experiment(experiment_path("mnist"), "smoke", 0)
    made = driver(smoke.model_copy(update={"published": ()}))
    said: list[str] = []
    monkeypatch.setattr(made.display, "line", said.append)
    assert train_finals(made) == []
    assert said == ["Final training: no net of the search finished, none to train"]
