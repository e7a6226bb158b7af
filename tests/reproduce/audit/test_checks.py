"""Checks against oracles of another making: independent counts, closed forms, other files."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from prototxt_gen.notation import parse
from prototxt_gen.shapes import Padding
from reproduce.audit.audit import audited
from reproduce.audit.checks import statistics
from reproduce.audit.checks.figures import chance_share, heights_are_percent, rolling_window_is
from reproduce.audit.checks.parameters import CAFFE, counts, parameter_count
from reproduce.audit.checks.solvers import phase_epochs, phase_rate
from reproduce.audit.claims import all_claims, claim_named
from reproduce.audit.context import Context
from reproduce.audit.facts import fact, web_page
from reproduce.audit.findings import Verdict, compared, listed
from reproduce.audit.inputs import resolve
from reproduce.paper import NETS

ROUNDINGS = {"floor+1": "⌊(n-f)/s⌋+1", "ceil+1": "⌈(n-f)/s⌉+1", "ceil((n-f)/s)": "⌈(n-f)/s⌉"}
COUNTED = {
    "weights incl SM": "weights, with the softmax layer",
    "weights excl SM": "weights, without the softmax layer",
    "+bias incl SM": "weights and biases, with the softmax layer",
    "+bias excl SM": "weights and biases, without the softmax layer",
}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_parameters_under_each_rule_are_those_counted_by_others(reference: Path) -> None:
    """Every rule that the reference counted for a row, for all rows of SAME convolutions."""
    rows = [r for r in table(reference / "paper" / "table_params.tsv") if r["source"] != "v1"]
    rows += [
        r
        for r in table(reference / "paper" / "table_params.tsv")
        if r["source"] == "v1" and r["dataset"] != "mnist"
    ]
    compared_ = 0
    for row in rows:
        image = (1, 28, 28) if row["dataset"] == "mnist" else (3, 32, 32)
        found = counts(parse(row["arch"]), image, Padding.SAME)
        if "GAP" not in row["arch"]:  # there the reference counts the released code's layers
            assert found[CAFFE] == int(row["exact_caffe_total(weights+bias,ceil)"])
        for rule in row["matching_rules"].split("; "):
            match = re.fullmatch(r"(\S+) (.*)=(\d+)", rule)
            if match and match[1] in ROUNDINGS and "GAP" not in row["arch"]:
                assert found[f"{COUNTED[match[2]]}, pooling {ROUNDINGS[match[1]]}"] == int(match[3])
                compared_ += 1
    assert compared_ > 60


@pytest.mark.parametrize(
    ("id_", "rounded_up", "rounded_down"),
    [
        ("mnist/v1-1", 491_120, 491_120),
        ("mnist/v1-2", 1_219_280, 799_280),
        ("mnist/v1-3", 828_680, 786_680),
        ("mnist/v1-4", 929_880, 659_880),
        ("mnist/v1-5", 472_790, 472_790),
    ],
)
def test_the_first_versions_mnist_rows_by_hand(
    id_: str, rounded_up: int, rounded_down: int
) -> None:
    net = next(net for net in NETS if net.id == id_)
    found = counts(parse(net.notation), (1, 28, 28), Padding.VALID)
    both = "weights and biases, with the softmax layer, pooling"
    assert found[f"{both} ⌈(n-f)/s⌉+1"] == rounded_up
    assert found[f"{both} ⌊(n-f)/s⌋+1"] == rounded_down


@pytest.mark.parametrize(
    ("stated", "verdict"),
    [
        (0.0025, Verdict.HOLDS),  # 100 × 25 weights; its biases are below the printed digits
        (9.99, Verdict.CONTRADICTED),
    ],
)
def test_a_count_is_held_against_the_printed_digits(stated: float, verdict: Verdict) -> None:
    net = {"id": "x", "notation": "[FC(100), SM(10)]", "parameters": stated}
    assert parameter_count(net=net, image=[1, 5, 5]).verdict is verdict


def test_the_web_page_is_that_of_the_reference(reference: Path) -> None:
    """Errors of all entries, and the architecture of those that show another file's net."""
    rows = {r["file"]: r for r in table(reference / "paper" / "published_nets.tsv")}
    page = {row["file"]: row for row in web_page().value}
    stated = {f: r["index_html_error"].rstrip("%") for f, r in rows.items()}
    assert {f: float(error) for f, error in stated.items() if error != "n/a"} == {
        f: row["error"] for f, row in page.items()
    }
    for name, row in page.items():
        other = re.search(
            r"shows a DIFFERENT architecture for this file: (\[.*?\])", rows[name]["mismatches"]
        )
        assert row["architecture"] == (other[1] if other else rows[name]["arch"])


def test_facts_of_the_shipped_data_are_those_of_the_files(reference: Path) -> None:
    lines = (reference / "authors-runs" / "q_values.csv").read_text().splitlines()
    assert fact("q_table_rows").value["count"] == len(lines) - 1
    assert sum(fact("svhn_classes").value) == fact("svhn_parts").value[0] == 73_257


def test_the_share_at_chance_level_is_that_of_the_reference(reference: Path) -> None:
    with (reference / "paper" / "figures" / "fig_failure_share.csv").open() as file:
        for row in csv.DictReader(file):
            if row["ds"] == "SVHN":
                bars = resolve("figure:distribution/svhn", Context()).value
                found = chance_share(bars, float(row["eps"]), 0.1)
                assert found == pytest.approx(float(row["share_at_0.10"]), abs=2e-3)


@pytest.mark.parametrize("runs", [5, 10, 20, 30, 100])
def test_the_quantiles_are_those_of_scipy(runs: int) -> None:
    low, high = statistics._CHI_SQUARED[runs - 1]
    assert stats.chi2.ppf([0.025, 0.975], runs - 1) == pytest.approx([low, high], abs=1e-3)
    assert stats.t.ppf(0.975, runs - 1) == pytest.approx(statistics._STUDENT[runs - 1], abs=1e-3)


def solver(**changes: Any) -> dict[str, Any]:
    fields = {"base_lr": 0.1, "gamma": 0.5, "stepvalues": [100, 300, 301], "max_iter": 400}
    return {"name": "x", "batch": 10, "solver": {**fields, **changes}}


def test_neighbouring_steps_are_one_change_of_rate() -> None:
    """400 iterations of 10 images, 100 images an epoch: 10, 20 and 10 epochs at 1, 1/2 and 1/8."""
    stated = [[10, 0.1], [20, 0.05], [10, 0.0125]]
    assert phase_epochs(files=[solver()], stated=stated, images=100).verdict is Verdict.HOLDS
    for phase in (1, 2, 3):
        found = phase_rate(files=[solver()], stated=stated, phase=phase, tolerance=0.01)
        assert found.verdict is Verdict.HOLDS
    wrong = [[10, 0.1], [20, 0.05], [10, 0.025]]
    found = phase_rate(files=[solver()], stated=wrong, phase=3, tolerance=0.01)
    assert found.verdict is Verdict.CONTRADICTED


def test_a_rolling_mean_of_any_window_is_told_from_its_line() -> None:
    """Of alternating accuracies 0 and 0.9; the step over w of them is at most 0.9/w."""
    for window in (5, 50):
        values = [0.9 * (i // 70 % 2) for i in range(400)]
        line = [[i, sum(values[i - window + 1 : i + 1]) / window] for i in range(window - 1, 400)]
        assert rolling_window_is(line=line, stated={"count": window}).verdict is Verdict.HOLDS
        other = rolling_window_is(line=line, stated={"count": window + 1})
        assert other.verdict is Verdict.CONTRADICTED


def test_heights_that_add_up_to_a_hundred_are_percent() -> None:
    bars = [{"epsilon": 1.0, "low": i / 10, "high": (i + 1) / 10, "height": 25.0} for i in range(4)]
    assert heights_are_percent(distribution=bars, tolerance=0.1).verdict is Verdict.HOLDS
    density = [{**bar, "height": 2.5} for bar in bars]
    found = heights_are_percent(distribution=density, tolerance=0.1)
    assert found.verdict is Verdict.CONTRADICTED
    assert "densities" in found.evidence


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(0.0, Verdict.HOLDS), (0.05, Verdict.WITHIN), (-0.2, Verdict.CONTRADICTED)],
)
def test_the_difference_decides(difference: float, verdict: Verdict) -> None:
    assert compared(difference, 0.005, 0.1, "evidence").verdict is verdict


def test_names_are_listed_as_in_a_sentence() -> None:
    assert (listed([]), listed(["a"]), listed("abc")) == ("none", "a", "a, b and c")


EXPECTED = {
    "section-6/gaps-first": "contradicted",  # 1.86, 1.96, 2.32, 2.56
    "section-6/ensemble-beats-cifar10": "contradicted",  # 7.32 > 7.25
    "section-6/mean-at-first": "contradicted",  # two bars swapped
    "figure-3/window-cifar10": "contradicted",  # 30
    "figure-3/window-svhn": "holds",
    "figure-a2/percent-svhn": "contradicted",  # densities
    "table-a2/one-rule": "holds",
    "table-a3/recounted-thesis": "contradicted",
    "table-a4/enough-for-convolutions": "contradicted",  # 731,760 > 0.66 million
    "appendix-e/files-cifar10": "contradicted",  # none of the 6.92 % net
    "appendix-c/dropout-ramp": "holds",
    "section-5/final-epochs-svhn": "contradicted",  # 50
    "thesis/deep-net": "contradicted",  # 94.7 + 4.7
    "table-5/state-of-the-art-cifar100": "contradicted",  # 22.71 in the thesis' Table 4
    "released-code/q-table": "holds",
}
"""What the reference found, each by a way of its own."""


@pytest.mark.parametrize("id_", EXPECTED)
def test_known_findings_come_out(id_: str) -> None:
    assert audited(claim_named(id_), Context()).finding.verdict == EXPECTED[id_]


def test_the_verdicts_do_not_depend_on_the_order_of_claims() -> None:
    """Checks keep nothing between claims but what they compute from the same inputs."""
    some = [claim for claim in all_claims() if claim.place in ("Table 1", "Section 6")]
    forward = {claim.id: audited(claim, Context()).finding for claim in some}
    backward = {claim.id: audited(claim, Context()).finding for claim in reversed(some)}
    assert forward == backward
