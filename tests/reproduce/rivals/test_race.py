"""One account for all searchers: models, epochs and FLOP, by hand; and what counts as the best."""

from dataclasses import dataclass, field

import pytest

from prototxt_gen.notation import Architecture, parse
from reproduce.experiments.schema import Experiment
from reproduce.rivals.plan import experiment_of
from reproduce.rivals.race import EVERY, Limit, Runner, device_seconds, run_all
from reproduce.rivals.surrogate.surrogate import Curve, Surrogate

SMALL, LARGER = "[C(64,3,1), P(3,2), SM(10)]", "[C(128,3,1), P(2,2), C(64,1,1), SM(10)]"
DEEP = "[" + "C(64,1,1), " * 17 + "SM(10)]"  # deeper than any net of SVHN


@dataclass
class Scripted:
    """Proposes nets of a list, and wants the epochs that go with them."""

    nets: list[str]
    wants: list[int] = field(default_factory=list)
    told: list[Curve] = field(default_factory=list)

    def ask(self) -> Architecture | None:
        return parse(self.nets[len(self.told)]) if len(self.told) < len(self.nets) else None

    def tell(self, curve: Curve) -> int:
        self.told.append(curve)
        number = len(self.told) - 1
        return self.wants[number] if number < len(self.wants) else len(curve.accuracies)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return experiment_of("svhn", "authors")


@pytest.fixture(scope="module")
def learning(failing: Surrogate) -> Surrogate:
    """SVHN's, but that every net learns."""
    return Surrogate.fit(failing.data, seed=0, failure_share=0.0)


def run(
    surrogate: Surrogate, experiment: Experiment, searcher: Scripted, limit: Limit | None = None
) -> Runner:
    runner = Runner(searcher, surrogate, experiment, 3, limit or Limit())
    run_all([runner], surrogate)
    return runner


def test_a_model_costs_its_epochs_and_restarts_and_its_flop(
    learning: Surrogate, experiment: Experiment
) -> None:
    """MACs of the small net: 27·64·32² of the convolution, 64·16²·10 of the scores."""
    searcher = Scripted([SMALL])
    race = run(learning, experiment, searcher).race
    restarts = searcher.told[0].restarts
    macs = 27 * 64 * 32**2 + 64 * 16 * 16 * 10
    assert (race.models, race.epochs, race.proposals) == (1, 20 + restarts, 1)
    assert race.flop == pytest.approx(race.epochs * 6 * macs * experiment.train_images)
    assert device_seconds(race.flop) == race.flop / 1e13


def test_a_net_proposed_again_gives_the_same_curve_and_costs_nothing(
    learning: Surrogate, experiment: Experiment
) -> None:
    searcher = Scripted([SMALL, LARGER, SMALL, SMALL])
    race = run(learning, experiment, searcher).race
    assert searcher.told[0] == searcher.told[2] == searcher.told[3] != searcher.told[1]
    assert (race.models, race.proposals) == (2, 4)
    assert race.epochs == 40 + searcher.told[0].restarts + searcher.told[1].restarts


def test_a_training_stopped_early_costs_less_and_the_rest_if_it_goes_on(
    learning: Surrogate, experiment: Experiment
) -> None:
    searcher = Scripted([SMALL, LARGER, SMALL, SMALL], wants=[3, 20, 9, 3])
    runner = run(learning, experiment, searcher)
    restarts = searcher.told[0].restarts + searcher.told[1].restarts
    assert runner.race.epochs == 9 + 20 + restarts


def test_a_training_stopped_early_is_worth_what_was_seen_of_it(
    learning: Surrogate, experiment: Experiment
) -> None:
    searcher = Scripted([SMALL], wants=[2])
    best = run(learning, experiment, searcher).race.improvements[-1]
    assert best.reward == max(searcher.told[0].accuracies[:2])


def test_a_net_that_does_not_learn_costs_its_five_learning_rates(
    failing: Surrogate, experiment: Experiment
) -> None:
    lost = Surrogate.fit(failing.data, seed=0, failure_share=1.0)
    searcher = Scripted([SMALL])
    race = run(lost, experiment, searcher).race
    assert not searcher.told[0].learned
    assert race.epochs == 5
    assert race.improvements == []


def test_a_net_outside_the_range_is_paid_for_and_never_the_best(
    learning: Surrogate, experiment: Experiment
) -> None:
    race = run(learning, experiment, Scripted([DEEP])).race
    assert (race.models, race.outside, race.improvements) == (1, 1, [])
    assert race.epochs >= 20
    assert race.outside_reward > 0.1
    both = run(learning, experiment, Scripted([DEEP, SMALL])).race
    assert [one.net for one in both.improvements] == [SMALL]


def test_improvements_tell_what_had_been_spent(learning: Surrogate, experiment: Experiment) -> None:
    nets = [SMALL, LARGER, "[C(64,1,1), SM(10)]"]
    searcher = Scripted(nets)
    race = run(learning, experiment, searcher).race
    best = 0.0
    for number, curve in enumerate(searcher.told, start=1):
        now = [one for one in race.improvements if one.models == number]
        assert bool(now) == (curve.best > best)
        best = max(best, curve.best)
        for one in now:
            assert one.reward == curve.best
            assert one.expected == learning.predict(parse(one.net)).smooth.max()
    assert race.improvements[-1].reward == max(curve.best for curve in searcher.told)


@pytest.mark.parametrize(
    ("limit", "models"), [(Limit(models=2), 2), (Limit(epochs=1), 1), (Limit(), 3)]
)
def test_a_race_ends_at_its_limit(
    limit: Limit, models: int, learning: Surrogate, experiment: Experiment
) -> None:
    searcher = Scripted([SMALL, LARGER, "[C(64,1,1), SM(10)]"])
    assert run(learning, experiment, searcher, limit).race.models == models


def test_searchers_side_by_side_do_as_each_alone(
    learning: Surrogate, experiment: Experiment
) -> None:
    nets = [[SMALL, LARGER], [LARGER], [SMALL, SMALL, LARGER]]
    together = [Runner(Scripted(n), learning, experiment, 3, Limit()) for n in nets]
    run_all(together, learning)
    for runner, own in zip(together, nets, strict=True):
        assert runner.race == run(learning, experiment, Scripted(own)).race


def test_with_another_seed_a_net_has_another_curve(
    learning: Surrogate, experiment: Experiment
) -> None:
    curves = []
    for seed in (1, 2):
        searcher = Scripted([SMALL])
        run_all([Runner(searcher, learning, experiment, seed, Limit())], learning)
        curves.append(searcher.told[0].accuracies)
    assert curves[0] != curves[1]


def test_a_checkpoint_follows_every_ten_models(learning: Surrogate, experiment: Experiment) -> None:
    filters = (64, 128, 256, 512)
    nets = [f"[C({a},3,1), C({b},1,1), SM(10)]" for a in filters for b in filters]
    searcher = Scripted(nets)
    race = run(learning, experiment, searcher).race
    assert race.models == 16
    (one,) = race.checkpoints
    assert one.models == EVERY == 10
    first = searcher.told[:10]
    assert one.mean_reward == pytest.approx(sum(c.best for c in first) / 10, abs=1e-6)
    assert one.epochs == sum(c.epochs for c in first)
