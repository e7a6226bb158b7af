"""`metaqnn audit`: table, JSON, Markdown, one claim in full, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter
from typer.testing import CliRunner

from reproduce import cli
from reproduce.audit.claims import all_claims
from reproduce.audit.findings import Verdict

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "audit.md"
STUDY = ROOT / "docs" / "rivals"
NEEDS_DATA = {
    claim.id
    for claim in all_claims()
    if any(reference.startswith("authors:") for reference in claim.inputs.values())
}


class Entry(BaseModel):
    """What a program may rely on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    verdict: str
    source: str
    evidence: str
    claim: str
    numbers: dict[str, float | int | str | None]
    check: str
    inputs: dict[str, str]
    links: list[str]


def run(*words: str) -> str:
    found = CliRunner().invoke(cli.app, ["audit", *words], catch_exceptions=False)
    assert found.exit_code == 0
    return found.stdout


def expected(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> str:
    """What the program says, on failing, on standard error."""
    monkeypatch.setattr("sys.argv", ["metaqnn", "audit", *words])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    return str(raised.value)


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return TypeAdapter(list[Entry]).validate_json(run("--json"))


def test_json_is_a_list_of_objects_with_every_claim_once(entries: list[Entry]) -> None:
    assert [entry.id for entry in entries] == [claim.id for claim in all_claims()]
    assert {entry.verdict for entry in entries} <= set(Verdict)
    assert all(entry.evidence and entry.source for entry in entries)


def test_each_link_leads_to_a_line_of_a_file(entries: list[Entry]) -> None:
    for link in (link for entry in entries for link in entry.links):
        path, _, line = link.partition(":")
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        assert not line or 1 <= int(line) <= len(lines)


def test_a_setting_links_to_the_line_that_sets_it(entries: list[Entry]) -> None:
    """Of a preset's own value the preset's line, of a shared one the shared line."""
    (entry,) = [entry for entry in entries if entry.id == "section-5/restarts"]
    texts = []
    for link in entry.links:
        path, _, line = link.partition(":")
        texts.append((ROOT / path).read_text(encoding="utf-8").splitlines()[int(line) - 1])
    assert texts == ["most = 5", texts[1]]
    assert texts[1].startswith("most = 4 ")


def test_without_the_authors_data_it_says_what_is_lost_and_how_to_get_it() -> None:
    text = " ".join(run().split())
    assert f"{len(NEEDS_DATA)} claims have no evidence here" in text
    assert "metaqnn audit --authors-data DIR" in text


def test_with_it_nothing_is_lost(reference: Path) -> None:
    text = run("--authors-data", str(reference / "authors-runs"), "--json")
    entries = TypeAdapter(list[Entry]).validate_json(text)
    assert {e.id for e in entries if e.id in NEEDS_DATA and e.verdict == "not run"} == set()


def test_explain_goes_through_one_claim() -> None:
    text = run("explain", "section-6/ensemble-beats-cifar10")
    for said in ("contradicted", "errors:3/cifar10", "beats_all", "VGGnet (7.25 %)", "7.32"):
        assert said in text
    assert "said in appendix D.1, first version" in run("explain", "appendix-a/initial-q")
    assert json.loads(run("explain", "section-6/gaps-first", "--json"))["verdict"] == "contradicted"


def test_the_page_of_the_documentation_is_fresh(reference: Path) -> None:
    """`metaqnn audit --authors-data DIR --rivals docs/rivals --markdown` makes it again."""
    given = ("--authors-data", str(reference / "authors-runs"), "--rivals", str(STUDY))
    made = run(*given, "--markdown")
    assert PAGE.read_text(encoding="utf-8") == made


def test_its_claims_that_need_no_data_are_fresh_anywhere() -> None:
    page = set(PAGE.read_text(encoding="utf-8").splitlines())
    made = run("--rivals", str(STUDY), "--markdown")
    rows = [line for line in made.splitlines() if line.startswith("| `")]
    told = [row for row in rows if row.split("`")[1] not in NEEDS_DATA]
    assert len(told) > 150
    assert [row for row in told if row not in page] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explain", "no-such/claim"], "no claim 'no-such/claim'"),
        (["--json", "--markdown"], "choose one"),
        (["--run", "no-such-run"], "no-such-run"),
        (["--authors-data", "Makefile"], "it is no folder"),
        (["--rivals", "no-such-study"], "--rivals no-such-study: it is no folder"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    message = expected(words, capsys, monkeypatch)
    assert message.startswith("metaqnn: ")
    assert said in message
    assert "\n" not in message
