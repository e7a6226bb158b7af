"""The audit as the report's page has it: the same verdicts, a run's numbers, what can be opened."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from reproduce.audit import page_rows
from reproduce.audit.audit import audit
from reproduce.audit.claims import all_claims
from reproduce.audit.context import Context
from reproduce.audit.findings import Verdict
from reproduce.audit.page_rows import audit_of, excerpt
from reproduce.results.page.claims import Audit, ClaimRow, Plot
from reproduce.results.report import write_report
from tests.reproduce.results.measured_runs import MeasuredRun, measured_run

ROOT = Path(__file__).parents[3]
TOP = "table-3/measured-mnist-top-model-later"  # 0.44 %, of 10,000 images
LABELS = {
    *("source", "verdict", "evidence", "check", "input", "said in"),
    *("parameter", "tolerance", "number", "stands in"),
}


@pytest.fixture
def run(tmp_path: Path) -> MeasuredRun:
    return measured_run(tmp_path / "run", budget="paper")


def row(found: Audit, id_: str) -> ClaimRow:
    (one,) = [row for row in found.rows if row.id == id_]
    return one


def test_every_claim_has_the_verdict_that_the_command_gives_it(run: MeasuredRun) -> None:
    run.measure("top/1", 0.9955)
    found = audit_of(run.folder)
    expected = list(audit(all_claims(), Context(runs=(run.folder,))))
    assert [(one.id, one.verdict, one.evidence) for one in found.rows] == [
        (one.claim.id, one.finding.verdict, one.finding.evidence) for one in expected
    ]
    assert [one.id for one in found.waiting] == [one.claim.id for one in expected if one.lost]
    assert [(one.verdict, one.count) for one in found.counts] == [
        (verdict, sum(one.finding.verdict is verdict for one in expected)) for verdict in Verdict
    ]


def test_what_a_run_measures_while_it_is_watched_decides_at_once(run: MeasuredRun) -> None:
    """0.45 % of 10,000 images agrees with 0.44 %; nothing else is computed again for it."""
    before = audit_of(run.folder)
    assert row(before, TOP).verdict == Verdict.NOT_RUN
    assert before.measured == []
    run.measure("top/1", 0.9955)
    after = audit_of(run.folder)
    assert row(after, TOP).verdict == Verdict.HOLDS
    assert "measured 0.45 %" in row(after, TOP).evidence
    assert TOP in [one.id for one in after.measured]
    changed = {one.id for one in after.measured}
    assert [one for one in before.rows if one.id not in changed] == [
        one for one in after.rows if one.id not in changed
    ]


def test_what_no_run_decides_is_computed_once(
    run: MeasuredRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit_of(run.folder)
    computed: list[dict[str, str]] = []
    real = page_rows.audited

    def counted(claim: Any, context: Context) -> Any:
        computed.append(claim.inputs)
        return real(claim, context)

    monkeypatch.setattr(page_rows, "audited", counted)
    audit_of(run.folder)
    assert computed
    assert all(
        any(reference.startswith(("run:", "search:")) for reference in inputs.values())
        for inputs in computed
    )


def test_an_opened_claim_is_explained_to_its_last_number(run: MeasuredRun) -> None:
    by_id = {claim.id: claim for claim in all_claims()}
    for one in audit_of(run.folder).rows:
        claim, walk = by_id[one.id], one.walk
        assert {label for label, _ in walk} <= LABELS
        assert walk[:3] == (
            ("source", claim.source), ("verdict", one.verdict), ("evidence", one.evidence),
        )  # fmt: skip
        inputs = [value for label, value in walk if label == "input"]
        assert [re.split(" = ", value)[0] for value in inputs] == [
            f"{name}: {reference}" for name, reference in claim.inputs.items()
        ]


def test_links_to_lines_of_the_package_are_quoted(run: MeasuredRun) -> None:
    """To the letter: the excerpt is lines of the file, that line among its first two."""
    quoted = 0
    for one in audit_of(run.folder).rows:
        for found in one.excerpts:
            name, _, line = found.name.partition(", line ")
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
            text = found.text.splitlines()
            assert text
            assert set(text) <= {*lines, ""}
            if line:
                assert lines[int(line) - 1] in text[:2]
                quoted += 1
    assert quoted > 100


FACTS = """\
[one]
where = "here"
values = [
  1,
]

[two.first]
value = 1

[two.second]
value = 2

[three]
value = 3
"""


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (1, '[one]\nwhere = "here"\nvalues = [\n  1,\n]'),
        (2, 'where = "here"'),
        (3, "values = [\n  1,\n]"),
        (7, "[two.first]\nvalue = 1\n\n[two.second]\nvalue = 2"),
        (13, "[three]\nvalue = 3"),
    ],
)
def test_an_excerpt_is_a_whole_table_or_a_whole_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: int, text: str
) -> None:
    monkeypatch.setattr(page_rows, "ROOT", tmp_path)
    (tmp_path / "facts.toml").write_text(FACTS)
    found = excerpt(f"facts.toml:{line}")
    assert found is not None
    assert (found.name, found.text, found.whole) == (f"facts.toml, line {line}", text, True)


def test_excerpts_of_csv_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is shown with the header, a long file in part; what is no file is not shown."""
    monkeypatch.setattr(page_rows, "ROOT", tmp_path)
    lines = ["x,y", *(f"{i},{i}" for i in range(100))]
    (tmp_path / "long.csv").write_text("\n".join(lines))
    found = excerpt("long.csv:51")
    assert found is not None
    assert (found.text, found.whole) == ("x,y\n49,49", True)
    found = excerpt("long.csv")
    assert found is not None
    assert (found.text.splitlines(), found.whole) == (lines[: page_rows.EXCERPT_LINES], False)
    (tmp_path / "estimate.py").write_text("import this\n")
    assert excerpt("estimate.py") is None
    assert excerpt("none.csv:3") is None


def test_a_claim_on_a_figure_names_its_plot(run: MeasuredRun) -> None:
    found = audit_of(run.folder)
    assert row(found, "figure-3/rises-cifar10").plots == (Plot("figure-3", "CIFAR10"),)
    named = {plot.name for one in found.rows for plot in one.plots}
    assert named == {"figure-3", "figure-a2", "figure-a3", "figure-a4"}


def test_the_page_has_every_claim_and_grows_by_less_than_a_megabyte(
    run: MeasuredRun, tmp_path: Path
) -> None:
    bare = write_report(run.experiment, run.memory, tmp_path / "bare")
    found = audit_of(run.folder)
    page = write_report(run.experiment, run.memory, tmp_path / "audited", audit=found)
    assert page.stat().st_size - bare.stat().st_size < 1e6
    text = page.read_text()
    assert re.findall(r'<tr role="row" id="claim-([^"]+)"', text) == [
        claim.id for claim in all_claims()
    ]
    assert "claim-" not in bare.read_text()
    assert 'href="#audit"' not in bare.read_text()
