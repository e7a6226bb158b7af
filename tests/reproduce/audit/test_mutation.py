"""No verdict is a constant: inputs decide it, and each named input takes part."""

from __future__ import annotations

from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from reproduce.audit.audit import Audited, audited, evaluate
from reproduce.audit.claims import Claim, all_claims, claim_named
from reproduce.audit.context import Context
from reproduce.audit.findings import Finding, UnfitInputError
from tests.reproduce.audit.perturb import changes, leaves, mutants
from tests.reproduce.audit.studies import write_study

CLAIMS = all_claims()
WITHOUT_RUNS = {"measured_error", "measured_rise", "measured_best"}
"""Checks that wait for runs: test_runs.py turns their verdicts."""

DECIDED = [claim for claim in CLAIMS if claim.check not in WITHOUT_RUNS]


@cache
def result(id_: str, context: Context) -> Audited:
    return audited(claim_named(id_), context)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with made-up numbers: the checks are tried, and not its findings."""
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def found(request: pytest.FixtureRequest, study: Path) -> Audited:
    claim: Claim = request.param
    needs = any(reference.startswith("authors:") for reference in claim.inputs.values())
    data = request.getfixturevalue("reference") / "authors-runs" if needs else None
    return result(claim.id, Context(data, rivals=study))


def on(claim: Claim, inputs: dict[str, object]) -> Finding | None:
    """A verdict on other inputs; None where they cannot be computed with."""
    try:
        return evaluate(claim, inputs)
    except UnfitInputError:
        return None


def others(found: Audited) -> list[dict[str, object]]:
    """The inputs of other claims by the same check."""
    same = [one for one in DECIDED if one.check == found.claim.check and one.id != found.claim.id]
    return [values for one in same if (values := result(one.id, found.context).values)]


@pytest.mark.parametrize("found", DECIDED, ids=lambda claim: claim.id, indirect=True)
def test_other_inputs_turn_the_verdict(found: Audited) -> None:
    """A claim whose verdict no input can turn fails."""
    assert found.finding.verdict.computed
    numbers = list(found.finding.numbers.values())
    tried = mutants(found.values, numbers, others(found))
    verdicts = (on(found.claim, inputs) for inputs in tried)
    assert any(one is not None and one.verdict is not found.finding.verdict for one in verdicts)


@pytest.mark.parametrize("found", DECIDED, ids=lambda claim: claim.id, indirect=True)
def test_every_named_input_takes_part(found: Audited) -> None:
    """Changed alone, each turns the finding: its verdict, evidence or numbers."""
    numbers = list(found.finding.numbers.values())
    pool = [*numbers, *(value for one in found.values.values() for _, value in leaves(one))]
    for name, value in found.values.items():
        exchanged = (one[name] for one in others(found) if name in one)
        findings = (
            on(found.claim, {**found.values, name: other})
            for other in chain(exchanged, changes(value, pool, numbers))
        )
        assert any(one is not None and one != found.finding for one in findings), name
