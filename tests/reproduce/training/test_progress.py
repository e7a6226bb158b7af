"""What an attempt's events say: rows, lineage, verdicts."""

import math

import pytest

from reproduce.training.log_parser import (
    Error,
    Event,
    Fatal,
    Finished,
    Resumed,
    TestOutput,
    TestStart,
    TrainLoss,
)
from reproduce.training.progress import Progress, TestRow, Verdict
from reproduce.training.recipe import Recipe

RECIPE = Recipe(epochs=3, iterations_per_epoch=10, test_iter=1, base_lr=0.1, chance_accuracy=0.1)


def a_test(iteration: int, accuracy: float, loss: float = 1.0, net: int = 0) -> list[Event]:
    return [
        TestStart(iteration, net),
        TestOutput(iteration, net, 0, "accuracy", accuracy, None),
        TestOutput(iteration, net, 1, "loss", loss, 1.0),
    ]


def after(*processes: list[Event]) -> Progress:
    progress = Progress()
    for events in processes:
        progress.replay(events)
    return progress


def test_a_resumed_process_drops_what_came_after_its_snapshot() -> None:
    """The snapshot at 20 was torn: the weights tested there are lost."""
    progress = after(
        a_test(10, 0.5) + a_test(20, 0.6),
        [Resumed(10, "x_iter_10.solverstate"), *a_test(10, 0.5), TrainLoss(15, 1.0, None)],
    )
    assert progress.accuracies(RECIPE) == (0.5,)


def test_a_process_from_scratch_drops_everything() -> None:
    progress = after(a_test(10, 0.5), [TrainLoss(0, 2.0, None)])
    assert progress.accuracies(RECIPE) == ()
    assert progress.verdict(RECIPE) is Verdict.TRAIN_FIRST


def test_a_process_that_died_before_training_changes_nothing() -> None:
    progress = after(a_test(10, 0.5), [Fatal("no GPU")])
    assert progress.accuracies(RECIPE) == (0.5,)
    assert progress.complaints == ["no GPU"]


def test_complaints_are_the_last_processs_fatal_first() -> None:
    progress = after([Error("old")], [Error("what"), Fatal("why")])
    assert progress.complaints == ["why", "what"]


def test_the_order_of_a_tests_outputs_does_not_matter() -> None:
    start, accuracy, loss = a_test(10, 0.5, 1.5)
    assert after([start, loss, accuracy]).rows == {10: TestRow(10, 0.5, 1.5)}


def test_a_test_counts_when_it_is_whole() -> None:
    start, accuracy, _ = a_test(10, 0.5)
    assert after([start, accuracy]).rows == {}
    assert after([start, accuracy, Finished()]).rows == {10: TestRow(10, 0.5, None)}
    assert after([start, accuracy, TrainLoss(10, 1.0, None)]).rows == {10: TestRow(10, 0.5, None)}
    assert after([start, accuracy], a_test(10, 0.7)).rows == {10: TestRow(10, 0.7, 1.0)}


def test_other_test_nets_are_left_out() -> None:
    progress = after(a_test(10, 0.5) + a_test(10, 0.9, net=1))
    assert progress.accuracies(RECIPE) == (0.5,)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_story(loss: float) -> None:
    progress = after(a_test(10, 0.5) + a_test(20, 1.0, loss) + a_test(30, 1.0))
    assert progress.accuracies(RECIPE) == (0.5,)
    assert progress.verdict(RECIPE) is Verdict.DIVERGED


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        ([], Verdict.TRAIN_FIRST),
        ([TrainLoss(0, math.nan, None)], Verdict.RESTART),
        (a_test(10, 1.0, math.nan), Verdict.RESTART),
        (a_test(10, 0.1), Verdict.RESTART),
        (a_test(10, 0.0), Verdict.RESTART),
        (a_test(10, 0.11), Verdict.TRAIN_REST),
        (a_test(10, 0.5) + a_test(20, 0.05), Verdict.TRAIN_REST),
        (a_test(10, 0.5) + a_test(20, 0.6) + a_test(30, 0.6), Verdict.FINISHED),
    ],
)
def test_verdicts(events: list[Event], verdict: Verdict) -> None:
    assert after(events).verdict(RECIPE) is verdict
