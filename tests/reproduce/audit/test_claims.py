"""The claims files: enough of them, of every place, and a wrong one is told in one line."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from reproduce.audit.audit import audited
from reproduce.audit.checks.registry import CHECKS, bind
from reproduce.audit.claims import (
    FOLDER,
    PLACES,
    ClaimError,
    all_claims,
    claim_named,
    read_claims,
)
from reproduce.audit.context import Context

CLAIMS = all_claims()
GOOD = """
[[claim]]
id = "table-3/one"
says = "One beats another."
place = "Table 3"
versions = ["first version"]
check = "lower_error"
inputs = { ours = "error:3/svhn/ensemble", theirs = "error:3/svhn/nin" }
"""


def test_at_least_eighty_claims_of_which_at_most_thirty_count_a_row() -> None:
    rows = [claim for claim in CLAIMS if claim.check == "parameter_count"]
    assert len(CLAIMS) >= 80
    assert len(rows) <= 30


def test_every_section_table_figure_and_appendix_has_a_claim() -> None:
    assert set(PLACES) - {claim.place for claim in CLAIMS} == set()


def test_at_least_sixty_claims_are_decided_without_the_authors_data() -> None:
    found = [audited(claim, Context()) for claim in CLAIMS]
    assert sum(one.finding.verdict.computed for one in found) >= 60


def test_every_claim_is_decided_or_says_what_would_decide_it(reference: Path) -> None:
    found = [audited(claim, Context(reference / "authors-runs")) for claim in CLAIMS]
    waiting = [one for one in found if not one.finding.verdict.computed]
    studies = {claim.check for claim in CLAIMS if claim.check.startswith("surrogate_")}
    assert {one.claim.check for one in waiting} == studies | {
        "measured_error",
        "measured_rise",
        "measured_best",
    }
    assert all(re.search(r"metaqnn|no command", one.finding.evidence) for one in waiting)


def test_every_check_is_used_and_takes_the_arguments_of_its_claims() -> None:
    for claim in CLAIMS:
        bind(claim)
    assert set(CHECKS) - {claim.check for claim in CLAIMS} == set()


def test_no_two_claims_ask_the_same() -> None:
    asked = Counter(
        (c.check, str(c.inputs), str(c.parameters), c.tolerance, c.place) for c in CLAIMS
    )
    assert [one for one, count in asked.items() if count > 1] == []


def test_each_sentence_stands_by_itself() -> None:
    starts = ("The same", "They ", "It ", "Its ")
    assert [claim.id for claim in CLAIMS if claim.says.startswith(starts)] == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id = "table-3/one"', 'id = "one"', "claim one: id"),
        ('id = "table-3/one"\n', "", "claim number 1: id: Field required"),
        ('place = "Table 3"', 'place = "Table 9"', "claim table-3/one: place"),
        ('["first version"]', '["draft"]', "claim table-3/one: versions.0"),
        ('["first version"]', "[]", "claim table-3/one: versions"),
        ('says = "One beats another."', 'says = ""', "claim table-3/one: says"),
        ("inputs = {", "tolerance = -1.0\ninputs = {", "claim table-3/one: tolerance"),
        ("inputs = {", "colour = 1\ninputs = {", "claim table-3/one: colour"),
        ('ours = "error:3/svhn/ensemble"', "ours = 3", "claim table-3/one: inputs.ours"),
        ("[[claim]]", "[[claim", "line 2"),
        (GOOD, "", "claim: Field required"),
        (GOOD, "claim = 3", "claim: Input should be a valid list"),
        ("[[claim]]", "[[claims]]", "claim"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    path = tmp_path / "wrong.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ClaimError) as raised:
        read_claims(path)
    assert str(path) in str(raised.value)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_claims_of_one_id_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(GOOD)
    (tmp_path / "b.toml").write_text(GOOD)
    with pytest.raises(ClaimError, match=r"b\.toml: claim table-3/one: another claim"):
        all_claims(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"check": "no_such_check"}, "no check 'no_such_check'"),
        ({"parameters": {"colour": 1}}, "unexpected keyword argument 'colour'"),
        ({"tolerance": 1.0}, "unexpected keyword argument 'tolerance'"),
        ({"inputs": {"ours": "error:3/svhn/nin"}}, "missing a required argument: 'theirs'"),
        ({"parameters": {"ours": 1}}, "ours is an input and a parameter"),
    ],
)
def test_a_claim_that_its_check_does_not_take_is_told(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = tmp_path / "good.toml"
    path.write_text(GOOD)
    (claim,) = read_claims(path)
    with pytest.raises(ClaimError, match=re.escape(said)):
        bind(claim.model_copy(update=change))


@pytest.mark.parametrize(
    "reference",
    [
        "nothing",
        "fact:nothing",
        "error:9/x",
        "errors:3",
        "errors:9/mnist",
        "net:x",
        "nets:x",
        "files:x",
        "preset:mnist/paper/nothing",
        "preset:mnist/nobody/data",
        "space:nowhere/paper",
        "figure:none/svhn",
        "authors:nothing",
        "run:nothing",
        "study:nothing",
    ],
)
def test_an_input_that_there_is_not_is_told(tmp_path: Path, reference: str) -> None:
    path = tmp_path / "good.toml"
    path.write_text(GOOD.replace("error:3/svhn/nin", reference))
    (claim,) = read_claims(path)
    with pytest.raises(ClaimError, match=re.escape(repr(reference))):
        audited(claim, Context())


def test_an_unknown_id_names_those_of_its_place() -> None:
    with pytest.raises(ClaimError, match="table-5/same-as-table-3"):
        claim_named("table-5/nothing")


def test_the_files_quote_no_published_error() -> None:
    """Numbers of the tables are named; those that only the text has are facts."""
    errors = {"6.92", "7.32", "2.28", "2.06", "27.14", "34.93"}
    for path in FOLDER.glob("*.toml"):
        lines = [x for x in path.read_text().splitlines() if not x.startswith(("says", "#"))]
        assert [line for line in lines if any(error in line for error in errors)] == []
