"""The page on the rivals: a slice of its numbers computed again, and its text is of its table."""

import csv
import re
from functools import cache
from pathlib import Path

import pytest
from scipy.stats import wilcoxon

from prototxt_gen.notation import parse
from reproduce.audit.authors_data.files import read_authors_data
from reproduce.driver import agent_of
from reproduce.rivals.plan import GROUNDS, PLANS, PRESET, experiment_of
from reproduce.rivals.race import Limit, Runner, run_all
from reproduce.rivals.race_text import TITLES
from reproduce.rivals.searchers import RIVALS, new_searcher
from reproduce.rivals.surrogate.data import training_data
from reproduce.rivals.surrogate.quality import measure
from reproduce.rivals.surrogate.surrogate import Surrogate
from reproduce.run import package_version

DOCS = Path(__file__).parents[2] / "docs"
MODELS = 60


@cache
def page() -> str:
    return (DOCS / "rivals.md").read_text(encoding="utf-8")


@cache
def rows() -> list[dict[str, str]]:
    with (DOCS / "rivals" / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module", params=["svhn", "cifar10", "cifar10-all-learn"])
def surrogate(reference: Path, request: pytest.FixtureRequest) -> tuple[str, Surrogate]:
    ground = GROUNDS[request.param]
    data = training_data(read_authors_data(reference / "authors-runs"), ground.data_set)
    return ground.name, Surrogate.fit(data, 0, ground.failure_share)


def tolerance() -> float:
    """Other versions of the learners may predict a little otherwise, and then all differs."""
    same = all(
        f"| {name} | {package_version(name)} |" in page()
        for name in ("numpy", "scipy", "scikit-learn", "optuna")
    )
    return 2e-6 if same else 0.05


@pytest.mark.parametrize("searcher", ["q-learning", "random"])
def test_races_of_the_table_run_again_find_the_same(
    searcher: str, surrogate: tuple[str, Surrogate]
) -> None:
    ground, fitted = surrogate
    experiment = experiment_of(fitted.data_set, PRESET)
    space = agent_of(experiment).space
    # A sampler that does not look at its budget has begun its longest race alike.
    runners = {
        seed: Runner(
            new_searcher(searcher, experiment, space, MODELS, seed),
            fitted,
            experiment,
            seed,
            Limit(models=MODELS),
        )
        for seed in range(3)
    }
    run_all(list(runners.values()), fitted)
    found = [
        row
        for row in rows()
        if (row["ground"], row["budget"], row["searcher"]) == (ground, str(MODELS), searcher)
    ]
    assert len(found) >= len(runners)
    for seed, runner in runners.items():
        best = runner.race.improvements[-1]
        assert float(found[seed]["reward"]) == pytest.approx(best.reward, abs=tolerance())
        assert float(found[seed]["expected"]) == pytest.approx(best.expected, abs=tolerance())
        if tolerance() < 1e-3:
            assert found[seed]["net"] == best.net
            assert int(found[seed]["epochs"]) == runner.race.epochs


@pytest.mark.parametrize("data_set", ["svhn", "cifar10"])
def test_a_depth_left_out_of_the_fit_is_predicted_as_the_page_says(
    data_set: str, reference: Path
) -> None:
    data = training_data(read_authors_data(reference / "authors-runs"), GROUNDS[data_set].data_set)
    (depth,) = measure(data, 0, folds=2, depths=(9,)).depths
    section = page().partition(f"### The surrogate of {'SVHN' if data_set == 'svhn' else 'CIFAR'}")
    shown = re.search(r"^\| 9 \| (\d+) \| ([\d.]+) \|", section[2], re.MULTILINE)
    assert shown is not None
    assert int(shown[1]) == depth.nets
    assert float(shown[2]) == pytest.approx(100 * depth.error, abs=0.0051 + 10 * tolerance())


def test_each_net_of_the_table_is_one_of_the_space_and_no_race_is_missing() -> None:
    plan = PLANS["full"]
    for name in ("svhn", "cifar10"):
        space = agent_of(experiment_of(name, PRESET)).space
        for row in rows():
            if row["ground"].startswith(name):
                space.walk(parse(row["net"]))
    for ground in plan.grounds():
        for searcher in plan.searchers_on(ground):
            for models in plan.budgets:
                of = [
                    row
                    for row in rows()
                    if (row["ground"], row["searcher"], row["budget"])
                    == (ground.name, searcher, str(models))
                ]
                reaches = models <= max(plan.models(searcher))
                assert len(of) == (plan.seeds_of(searcher) if reaches else 0)


def test_the_verdicts_follow_from_the_table() -> None:
    """Differences, Wilcoxon's p and Holm's correction of it, from the rows alone."""
    pattern = re.compile(
        r"\*\*([^*]+), ([\d,]+) models: Q-learning ([a-z ]+) random search\*\*, "
        r"by ([+-][\d.]+) points.*p = ([\de.-]+)\.$",
        re.MULTILINE,
    )
    grounds = {title: ground for ground, title in TITLES.items()}
    found = pattern.findall(page())
    assert len(found) == len(PLANS["full"].budgets) * len(grounds)
    for title, models, verdict, points, shown in found:
        expected: dict[str, dict[int, float]] = {}
        for row in rows():
            if (row["ground"], row["budget"]) == (grounds[title], models.replace(",", "")):
                expected.setdefault(row["searcher"], {})[int(row["seed"])] = float(row["expected"])
        ours = expected.pop("q-learning")
        differences = {
            other: [ours[seed] - theirs[seed] for seed in theirs]
            for other, theirs in expected.items()
            if not RIVALS[other].by_epochs
        }
        p = {other: float(wilcoxon(values).pvalue) for other, values in differences.items()}
        rising = sorted(p, key=lambda other: p[other])
        steps = [p[other] * (len(p) - place) for place, other in enumerate(rising)]
        corrected = min(1.0, max(steps[: rising.index("random") + 1]))
        mean = 100 * sum(differences["random"]) / len(differences["random"])
        assert len(differences["random"]) == PLANS["full"].seeds
        assert float(points) == pytest.approx(mean, abs=0.0051)
        assert float(shown) == pytest.approx(corrected, rel=0.5, abs=0.0006)
        told = "beats" if mean > 0 else "loses to"
        assert verdict == (told if corrected < 0.05 else "is not told apart from")


def test_the_page_says_that_nothing_was_trained_and_what_it_rests_on() -> None:
    assert "every accuracy of a search is the surrogate's prediction" in page().replace("\n", " ")
    assert len(re.findall(r"[0-9a-f]{64} \(verified\)", page())) == 4
    assert "scikit-learn" in page()
    assert "make rivals" in page()
