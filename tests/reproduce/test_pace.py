"""How long training takes, by constants known to the test."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.pace import Pace, RunPace
from reproduce.search.replay_memory import Trial
from reproduce.training.outcome import Outcome, TrialResult

# `smoke`: 3 models, 2 epochs of 1,280 images each; then a final training and a published net.
SMOKE = load_experiment(experiment_path("mnist"), "smoke", 0)
SOFTMAX, MACS = "[SM(10)]", 28 * 28 * 10


@given(
    startup=st.floats(0, 60),
    speed=st.floats(1e6, 1e14),
    processes=st.integers(0, 10_000),
    seconds=st.floats(0, 1e8),
)
def test_what_was_measured_is_what_is_estimated(
    startup: float, speed: float, processes: int, seconds: float
) -> None:
    """Before anything is trained, starts and work take exactly what they took when measured."""
    pace = Pace()
    pace.calibrate(startup, speed)
    wanted = processes * startup + seconds
    assert pace.estimate(processes, seconds * speed) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("calibrated", [False, True])
def test_trainings_tell_more_than_what_was_assumed(calibrated: bool) -> None:
    """Trainings of minutes: 3 s to start a process, and a tenth of the measured speed."""
    pace = Pace()
    if calibrated:
        pace.calibrate(0.5, 1e10)
    for work in (1e11, 3e11, 5e11, 9e11) * 10:
        pace.add(2, work, 2 * 3.0 + work / 1e9)
    assert pace.estimate(2, 4e11) == pytest.approx(406, rel=0.02)
    assert pace.estimate(0, 4e11) == pytest.approx(400, rel=0.05)


def test_a_final_training_corrects_what_a_tiny_net_made_expect() -> None:
    """A net of ten times the speed that one iteration of the search's smallest had shown."""
    pace = RunPace(SMOKE)
    pace.calibrate(1.0, 4e9)
    macs, images = 17e6, 60_000
    before = pace.training_seconds(macs, 20, images)
    pace.final_trained(macs, 1, images, before / 20 / 10)
    assert pace.training_seconds(macs, 19, images) < before / 5


@given(
    st.lists(st.tuples(st.integers(2, 7), st.floats(1e6, 1e13), st.floats(0.01, 1e5)), max_size=6),
    st.booleans(),
)
def test_an_estimate_is_never_negative_however_trainings_scatter(
    trainings: list[tuple[int, float, float]], calibrated: bool
) -> None:
    pace = Pace()
    if calibrated:
        pace.calibrate(0.1, 1e9)
    for training in trainings:
        pace.add(*training)
    for processes, work in ((1, 0.0), (0, 1e9), (2, 1e12)):
        assert pace.estimate(processes, work) >= 0


def test_the_time_that_a_search_needs_by_hand() -> None:
    """Two processes a net; 6 FLOP for each multiply-accumulate of 2 × 1,280 images."""
    pace = RunPace(SMOKE)
    pace.calibrate(1.5, 1e6)
    assert pace.search_seconds(3) == 0.0  # no net is known yet
    pace.sampled(SOFTMAX)
    work = 6 * MACS * 2 * 1280 / 1e6
    assert pace.search_seconds(1) == pytest.approx(2 * 1.5 + work)
    assert pace.search_seconds(7) == pytest.approx(7 * (2 * 1.5 + work))
    pace.slots = 2
    assert pace.search_seconds(7) == pytest.approx(7 * (2 * 1.5 + work) / 2)
    assert pace.search_seconds(0) == 0.0


def test_nets_to_come_are_taken_for_the_average_of_those_sampled() -> None:
    pace = RunPace(SMOKE)
    pace.calibrate(0.0, 1e6)
    pace.sampled(SOFTMAX)
    one = pace.search_seconds(1)
    pace.sampled("[C(64,1,1), SM(10)]")  # 28² · 64 · (1 + 10) multiply-accumulates
    ratio = (MACS + 28 * 28 * 64 * 11) / 2 / MACS
    assert pace.search_seconds(1) == pytest.approx(one * ratio)


def test_final_trainings_are_counted_where_they_are_wanted() -> None:
    """The best two nets, `final_top`, once there are two, and the published one,
    [C(240,7,1), P(3,2), C(120,5,2), FC(50), SM(10)] with VALID padding, on all 60,000 images,
    an epoch and a process each."""
    pace = RunPace(SMOKE)
    pace.calibrate(1.0, 6e9)
    pace.sampled(SOFTMAX)
    published = (
        49 * 240 * 22 * 22  # 28 - 6 = 22; pooled: 11
        + 25 * 240 * 120 * 4 * 4  # (11 - 5) // 2 + 1 = 4
        + 120 * 16 * 50
        + 50 * 10
    )
    each, its = 1.0 + 60_000 * MACS / 1e9, 1.0 + 60_000 * published / 1e9
    assert pace.seconds_left(0, finals=False) == 0.0
    assert pace.seconds_left(0, finals=True) == pytest.approx(each + its)
    left = 2 * each + its + pace.search_seconds(3)
    assert pace.seconds_left(3, finals=True) == pytest.approx(left)


def test_final_trainings_on_svhn_count_its_extra_part() -> None:
    """73,257 + 531,131 = 604,388 images, 40 epochs, each of the five published nets."""
    svhn = load_experiment(experiment_path("svhn"), "top-models", 0)
    pace = RunPace(svhn)
    pace.calibrate(0.0, 6e12)
    macs = sum(pace.macs(net.net.notation, net.padding) for net in svhn.published)
    wanted = 604_388 * 40 * macs / 1e12
    assert pace.seconds_left(0, finals=True) == pytest.approx(wanted)


def test_starts_alone_are_learned_where_nets_are_tiny() -> None:
    """As on a cluster, where nothing was measured before: 30 s a process, next to no work."""
    pace = Pace()
    for _ in range(20):
        pace.add(2, 1e6, 60.0)
    assert pace.estimate(2, 1e6) == pytest.approx(60, rel=0.05)


def test_a_trained_net_teaches_its_processes_its_work_and_its_seconds() -> None:
    """Two restarts of an epoch each make four processes and four epochs of work."""
    pace = RunPace(SMOKE)
    pace.sampled(SOFTMAX)
    before = pace.search_seconds(1)
    trial = Trial(1, SOFTMAX, 1.0, None, None, None)
    pace.trained(trial)  # under way: teaches nothing
    assert pace.search_seconds(1) == before
    for restarts in (0, 2):
        result = TrialResult(
            Outcome.FINISHED, (0.5, 0.6), 0.001, restarts, 9, 300.0 * (2 + restarts), "caffe"
        )
        for number in range(50):
            pace.trained(Trial(number, SOFTMAX, 1.0, "finished", 0.6, result))
    assert pace.search_seconds(1) == pytest.approx(600, rel=0.02)


def test_an_imported_net_teaches_nothing() -> None:
    """The released files do not tell how long it trained."""
    pace = RunPace(SMOKE)
    pace.sampled(SOFTMAX)
    before = pace.search_seconds(1)
    result = TrialResult(Outcome.FINISHED, (0.5,), 0.001, 0, 9, 0.0, "imported")
    pace.trained(Trial(1, SOFTMAX, 1.0, "finished", 0.5, result))
    assert pace.search_seconds(1) == before
