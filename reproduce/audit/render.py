"""An audit as a table for the terminal, as Markdown for the docs, and one claim in full."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reproduce.audit.audit import Audited
from reproduce.audit.checks.registry import CHECKS
from reproduce.audit.facts import places_of
from reproduce.audit.findings import Verdict
from reproduce.audit.own_data import HOW_TO_GET_IT

_STYLES = {
    Verdict.HOLDS: "green",
    Verdict.WITHIN: "green",
    Verdict.CONTRADICTED: "red",
    Verdict.AMBIGUOUS: "yellow",
    Verdict.UNDERPOWERED: "yellow",
    Verdict.NOT_RUN: "dim",
}
MEANINGS = {
    Verdict.HOLDS: "the computed numbers are the stated ones",
    Verdict.WITHIN: "they differ by less than the claim's tolerance",
    Verdict.CONTRADICTED: "by another part of the paper, its code, its files or its data",
    Verdict.AMBIGUOUS: "the statement has two readings, and only one of them holds",
    Verdict.UNDERPOWERED: "the interval of so few runs or images leaves it open",
    Verdict.NOT_RUN: "it waits for data or for a run",
}


def summary(found: Sequence[Audited]) -> str:
    """How many claims have which verdict, in one line."""
    counted = Counter(one.finding.verdict for one in found)
    parts = [f"{counted[verdict]} {verdict}" for verdict in Verdict if counted[verdict]]
    return f"{len(found)} claims: {', '.join(parts)}."


def lost(found: Sequence[Audited]) -> str:
    """Which claims lose their evidence without the authors' data; empty if none does."""
    ids = [one.claim.id for one in found if one.lost]
    if not ids:
        return ""
    return (
        f"{len(ids)} claims have no evidence here; each {HOW_TO_GET_IT}. They are: "
        f"{', '.join(ids)}."
    )


def terminal(found: Sequence[Audited], console: Console) -> None:
    """Print a table, the summary, and what is missing."""
    table = Table(show_lines=False, header_style="bold", expand=True)
    table.add_column("claim", overflow="fold", ratio=3)
    table.add_column("verdict", width=13)
    table.add_column("evidence", overflow="fold", ratio=5)
    for one in found:
        verdict = one.finding.verdict
        says = Text.assemble(
            (one.claim.id, "bold"), f"\n{one.claim.says} ", (f"({one.claim.source})", "dim")
        )
        table.add_row(says, Text(verdict, style=_STYLES[verdict]), Text(one.finding.evidence))
    console.print(table)
    for line in (summary(found), lost(found), "One in full: metaqnn audit explain CLAIM"):
        if line:
            console.print(Text(line))


def explanation(one: Audited) -> str:
    """One claim in full: what it says, how it is checked, on what, and what came out."""
    lines = [f"  {label:<9} {value}" for label, value in walk(one)]
    return "\n".join([one.claim.id, *lines]) + "\n"


def walk(one: Audited) -> list[tuple[str, str]]:
    """Labels and values of a claim's explanation, in its order."""
    claim, check = one.claim, CHECKS[one.claim.check]
    found = [
        ("says", claim.says),
        ("source", claim.source),
        ("verdict", str(one.finding.verdict)),
        ("evidence", one.finding.evidence),
        ("check", f"{claim.check}: {' '.join((check.__doc__ or '').split())}"),
    ]
    for name, reference in claim.inputs.items():
        value = f" = {_short(one.values[name])}" if name in one.values else ""
        found.append(("input", f"{name}: {reference}{value}"))
        if reference.startswith("fact:"):
            found += [("  said in", place) for place in places_of(reference[5:])]
    found += [("parameter", f"{name} = {_short(v)}") for name, v in claim.parameters.items()]
    if claim.tolerance is not None:
        found.append(("tolerance", f"{claim.tolerance:g}"))
    found += [("number", f"{name} = {_short(v)}") for name, v in one.finding.numbers.items()]
    return [*found, *(("stands in", link) for link in one.links)]


def _short(value: Any, most: int = 160) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def markdown(found: Sequence[Audited]) -> str:
    """The page of the documentation: every claim with its verdict and evidence, by place."""
    lines = [
        "# The audit",
        "",
        "What the paper states, and what became of each statement when it was computed again. This",
        "page is what `metaqnn audit --markdown` prints with the authors' own data and the study",
        "in `docs/rivals/` at hand; `make audit` shows it in a terminal, and",
        "`metaqnn audit explain CLAIM` goes through one claim. The claims are in",
        "`reproduce/audit/claims/`, what sources say in `reproduce/audit/facts/`.",
        "",
        summary(found),
        "",
        "| verdict | means |",
        "| --- | --- |",
        *(f"| {verdict} | {meaning} |" for verdict, meaning in MEANINGS.items()),
        "",
        "With `metaqnn audit --run RUN` what a run has measured decides what is not run; with",
        "`--authors-data DIR` the claims on the authors' own data have their evidence; with",
        "`--rivals DIR` those “by the surrogate” have it from a study of searches whose rewards",
        "are predicted: none of their nets was trained.",
    ]
    if missing := lost(found):
        lines += ["", _cell(missing)]
    for place, group in itertools.groupby(found, key=lambda one: one.claim.place):
        lines += [
            "",
            f"## {place}",
            "",
            "| claim | in | verdict | evidence | stands in |",
            "| --- | --- | --- | --- | --- |",
        ]
        for one in group:
            cells = (
                f"`{one.claim.id}`: {_cell(one.claim.says)}",
                ", ".join(one.claim.versions),
                f"**{one.finding.verdict}**",
                _cell(one.finding.evidence),
                "; ".join(_linked(link) for link in one.links),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text for a cell, in which nothing is taken for markup."""
    for character in "\\`*_[]<>|$":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _linked(link: str) -> str:
    path, _, line = link.partition(":")
    return f"`{path}`, line {line}" if line else f"`{path}`"
