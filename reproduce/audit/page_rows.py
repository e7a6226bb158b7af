"""The audit as the report's page shows it: what one run measured decides claims, as in `--run`."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path

from reproduce.audit import measured
from reproduce.audit.audit import Audited, audited
from reproduce.audit.claims import Claim, all_claims
from reproduce.audit.context import ROOT, Context
from reproduce.audit.findings import Verdict
from reproduce.audit.render import MEANINGS, walk
from reproduce.results.page.claims import Audit, ClaimRow, Plot, VerdictCount
from reproduce.results.page.details import TrainingFile
from reproduce.results.plots.curves import PaperData

EXCERPT_LINES = 30
"""What the page holds of a file at most: a table of `facts/*.toml`, a figure's bars."""

_DATA: dict[str, PaperData] = {"svhn": "SVHN", "cifar10": "CIFAR10"}
_PLOTS = {
    "bars": "figure-3",
    "rolling": "figure-3",
    "distribution": "figure-a2",
    "q-by-type": "figure-a3",
    "q-by-field": "figure-a4",
}


def audit_of(run: Path, authors_data: Path | None = None, rivals: Path | None = None) -> Audit:
    """Every claim, with what a run has measured until now.

    In one process, what no run decides is computed once.

    Args:
        run: the run's folder.
        authors_data: a folder with the authors' own data; what it lacks is fetched into it.
        rivals: the folder of a study of searches on the surrogate.

    Raises:
        RunError, ReplayMemoryError: if the run cannot be read.
        DataError, ReleasedFileError: if the authors' data cannot be fetched or read.
    """
    measured.read_run.cache_clear()  # the run may have gone on
    context = Context(authors_data, (run,), rivals)
    standing = _standing(Context(authors_data, rivals=rivals))
    rows = tuple(
        _row(audited(claim, context), of_run=True) if _is_of_runs(claim) else standing[claim.id]
        for claim in all_claims()
    )
    counted = Counter(row.verdict for row in rows)
    counts = [VerdictCount(str(one), counted[one], MEANINGS[one]) for one in Verdict]
    return Audit(tuple(counts), rows)


def _is_of_runs(claim: Claim) -> bool:
    return any(_kind(reference) in ("run", "search") for reference in claim.inputs.values())


def _kind(reference: str) -> str:
    return reference.partition(":")[0]


@lru_cache
def _standing(context: Context) -> dict[str, ClaimRow]:
    """The claims that are decided without a run, by id."""
    return {
        claim.id: _row(audited(claim, context)) for claim in all_claims() if not _is_of_runs(claim)
    }


def _row(one: Audited, *, of_run: bool = False) -> ClaimRow:
    claim, verdict = one.claim, one.finding.verdict
    counts = of_run and verdict.computed
    return ClaimRow(
        id=claim.id,
        verdict=str(verdict),
        says=claim.says,
        place=claim.place,
        versions=tuple(claim.versions),
        evidence=one.finding.evidence,
        walk=tuple((label.strip(), value) for label, value in walk(one)[1:]),
        excerpts=tuple(found for link in one.links if (found := excerpt(link))),
        plots=_plots(claim, searched=counts),
        authors_data=one.lost,
        measured=counts,
    )


def excerpt(link: str) -> TrainingFile | None:
    """What a link of the evidence leads to, as text; None of what is no file of the package.

    Of a CSV file a row with the header, or all; else a table or a setting that begins at the line.
    """
    name, _, line = link.partition(":")
    path = ROOT / name
    if not path.is_file() or not (line or path.suffix == ".csv"):
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    at = int(line or 1) - 1
    if path.suffix == ".csv":
        block = [lines[0], lines[at]] if line else lines
    else:
        block = lines[at : at + 1] + list(
            itertools.takewhile(lambda text: not _ends(text, lines[at]), lines[at + 1 :])
        )
    text = "\n".join(block[:EXCERPT_LINES]).rstrip()
    title = f"{name}, line {line}" if line else name
    return TrainingFile(title, "", text, len(block) <= EXCERPT_LINES)


def _ends(text: str, first: str) -> bool:
    """Whether a line of a TOML or Python file is no part of what began at another."""
    if table := re.match(r"\[([\w-]+)", first):  # its sub-tables are parts of it
        return text.startswith("[") and not re.match(rf"\[{table[1]}\.", text)
    return not text or re.match(r"[\w\[]", text) is not None


def _plots(claim: Claim, *, searched: bool) -> tuple[Plot, ...]:
    found = []
    for reference in claim.inputs.values():
        kind, _, name = reference.partition(":")
        what, _, data = name.partition("/")
        if kind == "figure" and what in _PLOTS:
            found.append(Plot(_PLOTS[what], _DATA[data]))
        if kind == "search" and searched:
            found.append(Plot("figure-3", None))
    return tuple(dict.fromkeys(found))
