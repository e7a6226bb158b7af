"""Searches on the surrogate decide claims of their own, and say that nothing was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from typer.testing import CliRunner

from reproduce import cli
from reproduce.audit.audit import audited
from reproduce.audit.checks.surrogate import (
    chi_squared,
    surrogate_beats_random,
    surrogate_is_flat,
    surrogate_is_stable,
    surrogate_picks_better_nets,
    surrogate_reaches,
    surrogate_rises,
)
from reproduce.audit.claims import Claim, ClaimError, all_claims, claim_named
from reproduce.audit.context import Context
from reproduce.audit.findings import UnfitInputError, Verdict
from reproduce.audit.page_rows import audit_of
from reproduce.rivals.figure_3_runs import LearningRun
from tests.reproduce.audit.studies import learning_run, race, rising_runs, write_study
from tests.reproduce.results.measured_runs import measured_run

OF_STUDIES = [
    claim
    for claim in all_claims()
    if any(reference.startswith("study:") for reference in claim.inputs.values())
]
RACE = "section-7/surrogate-beats-random-svhn"
RISES = "figure-3/surrogate-rises-svhn-authors"


def learning(*rows: list[tuple[float, float]], **changes: Any) -> dict[str, Any]:
    """The input of a check: of each seed the mean and the share of failures by ε."""
    stages = [
        [
            {"epsilon": 1.0 - i / 10, "mean": mean, "failed": failed, "samples": 100}
            for i, (mean, failed) in enumerate(row)
        ]
        for row in rows
    ]
    return {
        "command": "make …",
        "runs": [
            {"seed": seed, "best": 0.95, "rolling": [], "stages": one, **changes}
            for seed, one in enumerate(stages)
        ],
    }


def means(*rows: list[float]) -> dict[str, Any]:
    return learning(*[[(mean, 0.0) for mean in row] for row in rows])


@pytest.mark.parametrize("claim", OF_STUDIES, ids=lambda claim: claim.id)
def test_without_a_study_it_says_the_command(claim: Claim) -> None:
    found = audited(claim, Context()).finding
    assert found.verdict is Verdict.NOT_RUN
    assert "make rivals AUTHORS_DATA=DIR" in found.evidence
    assert "metaqnn audit --rivals" in found.evidence


@pytest.mark.parametrize("claim", OF_STUDIES, ids=lambda claim: claim.id)
def test_what_a_study_decides_is_said_to_be_predicted(claim: Claim, tmp_path: Path) -> None:
    one = audited(claim, Context(rivals=write_study(tmp_path)))
    assert one.finding.verdict.computed
    assert "n = 10 seeds, predicted by the surrogate and not trained" in one.finding.evidence
    assert "by the surrogate" in claim.says
    file = "race.json" if claim.check == "surrogate_beats_random" else "figure-3.json"
    assert one.links[0] == str(tmp_path / file)


def test_a_study_decides_nothing_that_is_measured(tmp_path: Path) -> None:
    context = Context(rivals=write_study(tmp_path))
    measured = [claim for claim in all_claims() if claim.check.startswith("measured_")]
    assert {audited(claim, context).finding.verdict for claim in measured} == {Verdict.NOT_RUN}


RISING = [0.5, 0.6, 0.7]


@pytest.mark.parametrize(
    ("study", "verdict"),
    [
        (means(), Verdict.NOT_RUN),
        (means(RISING, RISING), Verdict.UNDERPOWERED),
        (means(RISING, RISING, RISING), Verdict.HOLDS),
        (means(*[[0.5, 0.6, 0.55]] * 3), Verdict.CONTRADICTED),
        (means([0.5, 0.6, 0.7], [0.5, 0.6, 0.7], [0.5, 0.6, 0.5]), Verdict.UNDERPOWERED),
        (means(*[[0.5, 0.6, 0.6]] * 3), Verdict.UNDERPOWERED),  # no step up, and none down
    ],
)
def test_the_mean_has_to_rise_at_every_step(study: dict[str, Any], verdict: Verdict) -> None:
    assert surrogate_rises(learning=study).verdict is verdict


def test_it_counts_the_seeds_that_rise_and_names_the_steps_that_fall() -> None:
    found = surrogate_rises(learning=means([0.5, 0.6, 0.5], [0.5, 0.6, 0.58], RISING))
    assert found.numbers["seeds that rise at every step"] == 1
    assert "left open at ε 0.8" in found.evidence
    found = surrogate_rises(learning=means(*[[0.5, 0.4, 0.6]] * 3))
    assert "it falls at ε 0.9" in found.evidence


STATED = {"first": 50.0, "last": 90.0}


@pytest.mark.parametrize(
    ("study", "verdict"),
    [
        (means(), Verdict.NOT_RUN),
        (means([0.49, 0.89], [0.51, 0.91], [0.51, 0.89]), Verdict.HOLDS),
        (means([0.51, 0.89], [0.52, 0.91], [0.52, 0.89]), Verdict.WITHIN),  # 51 to 52, not 50
        (means(*[[0.49, 0.80]] * 3), Verdict.UNDERPOWERED),
        (means(*[[0.49, 0.80]] * 9), Verdict.UNDERPOWERED),
        (means(*[[0.49, 0.80]] * 10), Verdict.CONTRADICTED),
        (means(*[[0.60, 0.90]] * 10), Verdict.CONTRADICTED),
    ],
)
def test_the_papers_run_could_be_one_more_seed(study: dict[str, Any], verdict: Verdict) -> None:
    assert surrogate_reaches(learning=study, stated=STATED, tolerance=3.0).verdict is verdict


def flat(*changes: float) -> dict[str, Any]:
    """Seeds that rise by 0.4 in all, and during ε = 1 by the given changes, at sample 50."""
    study = means(*[[0.5, 0.9]] * len(changes))
    for row, change in zip(study["runs"], changes, strict=True):
        row["rolling"] = [[place, 0.5 + change * (place >= 50)] for place in range(10, 101, 10)]
    return study


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ((), Verdict.NOT_RUN),
        ((0.0, 0.01, -0.01), Verdict.HOLDS),
        ((0.05, 0.06, 0.07), Verdict.CONTRADICTED),
        ((-0.05, -0.06, -0.07), Verdict.CONTRADICTED),
        ((-0.08, 0.0, 0.08), Verdict.UNDERPOWERED),
    ],
)
def test_flat_is_within_a_tenth_of_the_rise(changes: tuple[float, ...], verdict: Verdict) -> None:
    found = surrogate_is_flat(learning=flat(*changes), stated={"share": 0.1})
    assert found.verdict is verdict
    if changes:
        assert found.numbers["change"] == pytest.approx(sum(changes) / len(changes))


def test_a_rolling_mean_without_points_is_unfit() -> None:
    with pytest.raises(UnfitInputError, match="no points"):
        surrogate_is_flat(learning=means(*[[0.5, 0.9]] * 3), stated={"share": 0.1})


@pytest.mark.parametrize(
    ("study", "verdict", "share"),
    [
        # Half at chance, the others at 0.9; then all at 0.9: nothing but fewer failures.
        (learning(*[[(0.5, 0.5), (0.9, 0.0)]] * 3), Verdict.AMBIGUOUS, 1.0),
        # As many at chance; the others from 0.5 to 0.9.
        (learning(*[[(0.3, 0.5), (0.5, 0.5)]] * 3), Verdict.HOLDS, 0.0),
        (learning(*[[(0.5, 0.5), (0.4, 0.5)]] * 3), Verdict.CONTRADICTED, None),
        (
            learning([(0.5, 0.5), (0.9, 0.0)], [(0.3, 0.5), (0.5, 0.5)], [(0.3, 0.5), (0.5, 0.5)]),
            Verdict.UNDERPOWERED,
            0.5,
        ),
    ],
)
def test_what_the_rise_is_made_of(
    study: dict[str, Any], verdict: Verdict, share: float | None
) -> None:
    found = surrogate_picks_better_nets(learning=study, chance=0.1)
    assert found.verdict is verdict
    assert found.numbers.get("share of fewer failures") == (
        None if share is None else pytest.approx(share)
    )


def bests(*values: float) -> dict[str, Any]:
    study = means(*[[0.5, 0.9]] * len(values))
    for row, best in zip(study["runs"], values, strict=True):
        row["best"] = best
    return study


@pytest.mark.parametrize(
    ("study", "verdict"),
    [
        (bests(0.95, 0.951, 0.949, 0.95, 0.951), Verdict.HOLDS),
        (bests(0.95, 0.90, 0.85, 0.80, 0.75), Verdict.CONTRADICTED),
        (bests(0.95, 0.957, 0.943, 0.95, 0.957), Verdict.UNDERPOWERED),
    ],
)
def test_stable_is_a_small_deviation_of_the_best(study: dict[str, Any], verdict: Verdict) -> None:
    found = surrogate_is_stable(learning=study, stated={"deviation": 0.01})
    assert found.verdict is verdict


@pytest.mark.parametrize("degrees", [9, 19, 49, 99])
@pytest.mark.parametrize("quantile", [0.025, 0.975])
def test_quantiles_of_chi_squared_are_scipys(quantile: float, degrees: int) -> None:
    expected = float(stats.chi2.ppf(quantile, degrees))
    assert chi_squared(quantile, degrees) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("degrees", range(2, 9))
def test_of_few_seeds_the_interval_of_a_deviation_is_rather_too_wide(degrees: int) -> None:
    assert chi_squared(0.025, degrees) < float(stats.chi2.ppf(0.025, degrees))


def pairs(*differences: float) -> dict[str, Any]:
    rows = [{"seed": i, "ours": 0.9 + x, "theirs": 0.9} for i, x in enumerate(differences)]
    return {"pairs": rows, "models": 500, "command": "make …"}


@pytest.mark.parametrize(
    ("study", "verdict"),
    [
        (pairs(), Verdict.NOT_RUN),
        (pairs(0.01, 0.02), Verdict.UNDERPOWERED),
        (pairs(0.01, 0.02, 0.03), Verdict.HOLDS),
        (pairs(-0.01, -0.02, -0.03), Verdict.CONTRADICTED),
        (pairs(-0.01, 0.02, 0.03), Verdict.UNDERPOWERED),
    ],
)
def test_the_agent_against_random_search(study: dict[str, Any], verdict: Verdict) -> None:
    assert surrogate_beats_random(race=study).verdict is verdict


def test_races_are_paired_by_seed_at_the_largest_budget_of_both(tmp_path: Path) -> None:
    """Predictions are compared and not rewards; a seed that one searcher lacks is left out."""
    races = [
        *(race("svhn", "q-learning", seed, 0.95 + seed / 100) for seed in range(4)),
        *(race("svhn", "random", seed, 0.94) for seed in (2, 1, 0)),
        *(race("svhn", "q-learning", seed, 0.5, models=60) for seed in range(4)),
        *(race("svhn", "random", seed, 0.6, models=60) for seed in range(4)),
        *(race("svhn", "q-learning", seed, 0.5, models=900) for seed in range(4)),
        *(race("svhn", "tpe", seed, 0.99) for seed in range(4)),
        *(race("cifar10", "random", seed, 0.99) for seed in range(4)),
    ]
    one = audited(claim_named(RACE), Context(rivals=write_study(tmp_path, [], races)))
    assert one.values["race"]["models"] == 500
    found = [(x["seed"], x["ours"], x["theirs"]) for x in one.values["race"]["pairs"]]
    assert found == [(0, 0.95, 0.94), (1, 0.96, 0.94), (2, 0.97, 0.94)]
    assert one.finding.numbers["difference"] == pytest.approx(2.0)


def test_searches_without_failures_do_not_count(tmp_path: Path) -> None:
    runs = rising_runs(3, "cifar10", "authors")
    without = [
        LearningRun.from_json({**run.to_json(), "failure_share": 0.0, "best": 0.1}) for run in runs
    ]
    claim = claim_named("figure-3/surrogate-rises-cifar10-authors")
    one = audited(claim, Context(rivals=write_study(tmp_path, [*without, *runs], [])))
    assert [run["best"] for run in one.values["learning"]["runs"]] == [run.best for run in runs]


def test_only_the_rolling_mean_of_the_first_stage_is_an_input(tmp_path: Path) -> None:
    runs = [learning_run(seed, [0.5, 0.9], [0.2, 0.1]) for seed in range(3)]
    one = audited(claim_named(RISES), Context(rivals=write_study(tmp_path, runs, [])))
    assert one.values["learning"]["runs"][0]["rolling"] == [[10, 0.5], [35, 0.5], [60, 0.5]]


def test_a_study_without_races_decides_only_the_rest(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    (folder / "race.json").unlink()
    context = Context(rivals=folder)
    assert audited(claim_named(RACE), context).finding.verdict is Verdict.NOT_RUN
    assert audited(claim_named(RISES), context).finding.verdict.computed


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("figure-3.json", "{", "no study's file"),
        ("figure-3.json", "[]", "no study's file"),
        ("figure-3.json", '{"runs": 3}', "runs: it is no list"),
        ("figure-3.json", '{"runs": [{}]}', r"runs\.0: data_set"),
        ("race.json", '{"races": [3]}', r"races\.0"),
        ("race.json", '{"races": [{"seed": 1}]}', r"races\.0\.data_set"),
        ("race.json", "\xff", "no study's file"),
    ],
)
def test_a_file_that_is_wrong_is_told_in_one_line(
    tmp_path: Path, file: str, content: str, said: str
) -> None:
    (write_study(tmp_path) / file).write_bytes(content.encode("latin-1"))
    claim = claim_named(RACE if file == "race.json" else RISES)
    with pytest.raises(ClaimError, match=said) as raised:
        audited(claim, Context(rivals=tmp_path))
    assert str(tmp_path / file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_there_twice_is_told(tmp_path: Path) -> None:
    run = rising_runs(1, "svhn", "authors")[0]
    one = race("svhn", "random", 0, 0.9)
    folder = write_study(tmp_path, [run, run], [one, one])
    for id_, said in ((RISES, "a run is there twice"), (RACE, "a race is there twice")):
        with pytest.raises(ClaimError, match=said):
            audited(claim_named(id_), Context(rivals=folder))


def test_seeds_of_other_stages_are_unfit() -> None:
    with pytest.raises(UnfitInputError, match="same two ε"):
        surrogate_rises(learning=means([0.5, 0.6], [0.5, 0.6], [0.5]))


@pytest.mark.parametrize("reference", ["study:learning/svhn", "study:race", "study:none/svhn"])
def test_a_study_has_no_other_inputs(reference: str) -> None:
    claim = claim_named(RACE).model_copy(update={"inputs": {"race": reference}})
    with pytest.raises(ClaimError, match=reference):
        audited(claim, Context())


def test_the_command_reads_a_study(tmp_path: Path) -> None:
    folder = str(write_study(tmp_path / "study"))
    for words in (["--rivals", folder, "explain", RACE], ["explain", RACE, "--rivals", folder]):
        found = CliRunner().invoke(cli.app, ["audit", *words, "--json"], catch_exceptions=False)
        assert json.loads(found.stdout)["verdict"] == "holds"


def test_the_reports_audit_reads_a_study(tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run").folder
    folder = write_study(tmp_path / "study")
    verdicts = {row.id: row.verdict for row in audit_of(run, rivals=folder).rows}
    assert verdicts[RACE] == Verdict.HOLDS
    verdicts = {row.id: row.verdict for row in audit_of(run).rows}
    assert verdicts[RACE] == Verdict.NOT_RUN


def test_the_report_reads_a_study(tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run").folder
    folder = write_study(tmp_path / "study")
    words = ["report", str(run), "--rivals", str(folder)]
    found = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    page = Path(found.stdout.strip()).read_text(encoding="utf-8")
    assert "n = 10 seeds, predicted by the surrogate and not trained" in page
