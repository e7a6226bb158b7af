"""Checks of the released code's rules, against simulation, closed forms and the files."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prototxt_gen.notation import FullyConnected
from reproduce.audit.audit import audited
from reproduce.audit.authors_data.files import authors_space
from reproduce.audit.checks.formulas import (
    adam_step_is_the_cited,
    local_contrast_is_a_deviation,
    standardized_alike,
)
from reproduce.audit.checks.released_server import (
    epochs_are_whole,
    models_trained,
    repeats_stay_below_limit,
    saved_q_values_are_kept,
)
from reproduce.audit.checks.released_space import agent_sees_caffes_size, pooling_actions_are_found
from reproduce.audit.claims import claim_named
from reproduce.audit.context import Context
from reproduce.audit.facts import fact
from reproduce.audit.findings import UnfitInputError, Verdict
from reproduce.audit.inputs import resolve
from reproduce.results.intervals import wilson_interval
from reproduce.search.agent import Agent, QLearning


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.integers(1, 12),
)
def test_each_stage_has_what_was_in_training_when_it_was_full(
    models: list[int], clients: int
) -> None:
    """One in place of each client but the one that filled it."""
    schedule = [[1 - i / 10, n] for i, n in enumerate(models)]
    found = models_trained(schedule, clients)
    assert found == {epsilon: n + clients - 1 for epsilon, n in schedule}


def test_a_server_without_clients_is_refused() -> None:
    with pytest.raises(UnfitInputError, match="no client"):
        models_trained([[1.0, 5]], 0)


@pytest.mark.parametrize("data_set", ["svhn", "cifar10"])
def test_fc_visits_are_as_sampling_finds_them(data_set: str) -> None:
    """Of walks at ε = 1, whose R-size before their first FC is 4 or more: no replay updates it."""
    space = authors_space(data_set)
    agent, rng = Agent(space, QLearning()), np.random.default_rng(3)
    visits = lost = 0
    for _ in range(6_000):
        node = 0
        for layer in agent.sample(rng, 1.0).architecture.without_dropout().layers[:-1]:
            actions = space.actions[space.state_of[node]]
            node = space.successors[node][actions.index(layer)]
            if isinstance(layer, FullyConnected):
                visits += 1
                lost += space.nodes[node].size >= 4
    claim = claim_named(f"released-code/fc-in-replays-{data_set}")
    share = audited(claim, Context()).finding.numbers["share never updated"]
    low, high = wilson_interval(lost, visits)
    assert visits > 100
    assert low - 0.02 < float(share) < high + 0.02


def test_the_agents_size_is_caffes_where_the_window_fits_evenly() -> None:
    sizes = [n for n in range(2, 33) if math.ceil((n - 2) / 2) == (n - 2) // 2]
    found = agent_sees_caffes_size(pools=[[2, 2]], image=32)
    assert found.numbers == {"sizes": 31, "same": len(sizes)}
    assert agent_sees_caffes_size(pools=[[3, 1]], image=32).verdict is Verdict.HOLDS


def test_pooling_that_keeps_its_bin_is_found_by_replays() -> None:
    """A window of 1 with stride 1 changes nothing; one of 2 with stride 2 halves the bin."""
    assert pooling_actions_are_found(pools=[[1, 1]], bins=[8, 4]).verdict is Verdict.HOLDS
    assert pooling_actions_are_found(pools=[[2, 2]], bins=[8]).verdict is Verdict.CONTRADICTED


@pytest.mark.parametrize(("digits", "kept"), [(17, True), (12, False)])
def test_q_values_need_seventeen_digits(digits: int, kept: bool) -> None:
    """After n updates towards r: r + (q - r)(1 - α)ⁿ, whatever is written."""
    given_: dict[str, Any] = {"alpha": 0.01, "initial": 0.5, "reward": {"percent": 88.02}}
    found = saved_q_values_are_kept(written={"digits": digits}, **given_)
    assert (found.verdict is Verdict.HOLDS) == kept
    exact = [0.8802 - 0.3802 * 0.99**n for n in range(1, 1001)]
    most = max(abs(float(f"{x:.{digits}g}") - x) for x in exact)
    assert float(found.numbers["most"]) == pytest.approx(most, rel=0.05, abs=1e-15)


def test_repeats_are_as_a_geometric_series_has_them() -> None:
    """Half of the samples repeated, limit 10: 100 × 2⁻¹⁰ expected, which is too many."""
    bars = [{"epsilon": 0.5, "samples": 200, "mean": 0.5}]
    found = repeats_stay_below_limit(schedule=[[0.5, 100]], bars=bars, limit=10)
    assert found.numbers["expected"] == pytest.approx(100 / 1024)
    assert found.verdict is Verdict.CONTRADICTED


@pytest.mark.parametrize(("images", "verdict"), [(1280, Verdict.HOLDS), (1400, "contradicted")])
def test_whole_batches(images: int, verdict: str) -> None:
    found = epochs_are_whole(images=images, validation=0, batch=128, epochs=20, tolerance=0.005)
    assert found.verdict == verdict
    assert found.numbers["iterations"] == 200


def adam(gradient: float, beta1: float, beta2: float, delta: float, *, hat: bool) -> float:
    """One step of Kingma and Ba's algorithm 1, or of the order that their section 2 calls ε̂."""
    m, v = (1 - beta1) * gradient, (1 - beta2) * gradient**2
    if hat:
        return math.sqrt(1 - beta2) / (1 - beta1) * m / (math.sqrt(v) + delta)
    return m / (1 - beta1) / (math.sqrt(v / (1 - beta2)) + delta)


@given(st.floats(1e-8, 10), st.floats(0.5, 0.9999), st.floats(1e-10, 1e-3))
def test_first_steps_of_adam(gradient: float, beta: float, delta: float) -> None:
    found = adam_step_is_the_cited(
        gradient={"size": gradient}, delta=delta, beta=beta, tolerance=0.01
    )
    assert found.numbers["Caffe"] == pytest.approx(adam(gradient, 0.9, beta, delta, hat=True))
    assert found.numbers["cited"] == pytest.approx(adam(gradient, 0.9, beta, delta, hat=False))


def test_images_of_one_pattern_are_standardized_alike() -> None:
    """An image and its negative have deviations of the same kind across pixels and images."""
    assert standardized_alike(images=[[1, -1], [-1, 1]]).verdict is Verdict.HOLDS
    assert standardized_alike(images=[[1, -1], [1, -1]]).verdict is Verdict.CONTRADICTED


def test_the_root_mean_square_is_a_deviation_about_zero_alone() -> None:
    assert local_contrast_is_a_deviation(window=[-1, 1]).verdict is Verdict.HOLDS
    assert local_contrast_is_a_deviation(window=[0, 2]).verdict is Verdict.CONTRADICTED


def test_caffes_constants_are_the_schemas() -> None:
    solver = caffe_pb2.SolverParameter()
    constants = fact("caffe_adam_constants").value
    assert constants[1:] == [pytest.approx(solver.momentum2), pytest.approx(solver.delta)]


def test_solvers_name_the_nets_that_the_facts_tell(reference: Path) -> None:
    rows = {}
    for path in (reference / "published" / "solver").iterdir():
        (net,) = re.findall(r'^net: "(.*)"', path.read_text(encoding="utf-8"), re.MULTILINE)
        rows[path.name.partition("_solver")[0]] = net
    assert {row["solver"]: row["net"] for row in fact("solver_names").value} == rows


def test_the_space_on_28_pixels_has_ten_pairs_more(reference: Path) -> None:
    """4,171 of the repaired enumerator on 28 × 28, 4,161 on 32 × 32: code_vs_paper, number 8."""
    text = (reference / "paper" / "code_vs_paper.md").read_text(encoding="utf-8")
    finding = audited(claim_named("released-code/q-table-repaired-28"), Context()).finding
    assert f"the enumerator gives {finding.numbers['counted']:,} rows" in text
    assert resolve("fact:q_table_rows", Context()).value["count"] == 4161


EXPECTED = {
    "released-code/pooling-settings": "contradicted",  # 2
    "released-code/pooling-strides": "contradicted",  # 2
    "released-code/pooling-in-replays": "contradicted",  # 3
    "released-code/pooling-size": "contradicted",  # 6
    "table-1/bins": "holds",  # 7
    "released-code/gap-on-svhn": "contradicted",  # 8
    "released-code/gap-after-pooling": "contradicted",  # 9
    "section-4/fc-limits": "holds",  # 13
    "released-code/valid-padding": "contradicted",  # 14
    "section-4/uniform-walk-cifar10": "holds",  # 15
    "released-code/rounds-of-replays": "contradicted",  # 17
    "section-4/replay-dictionary": "ambiguous",  # 18
    "released-code/exact-counts": "contradicted",  # 26
    "released-code/greedy-run": "contradicted",  # 28
    "released-code/saved-q-values": "contradicted",  # 29
    "section-5/whole-epochs-svhn": "holds within tolerance",  # 35
    "section-5/global-contrast": "contradicted",  # 38
    "section-5/local-contrast": "contradicted",  # 39
    "released-code/gcn-flag": "contradicted",  # 42
    "released-code/solver-settings": "contradicted",  # 47
    "web-page/solver-names": "contradicted",  # 48
    "released-code/removed-net": "contradicted",  # 49
    "released-code/dead-caffe": "contradicted",  # 50
    "released-code/second-client": "contradicted",  # 51
    "released-code/packets": "contradicted",  # 51
    "released-code/modules": "contradicted",  # 52
}
"""The verdicts that follow from the reference's comparison of code and paper, by its numbers."""


@pytest.mark.parametrize("id_", EXPECTED)
def test_findings_on_the_released_code_come_out(id_: str) -> None:
    assert audited(claim_named(id_), Context()).finding.verdict == EXPECTED[id_]
