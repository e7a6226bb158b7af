"""The audit's section of the page: the paper's claims, their verdicts, and what those rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reproduce.results.page.details import TrainingFile
from reproduce.results.plots.curves import PaperData


@dataclass(frozen=True)
class VerdictCount:
    """How many claims have a verdict, and what it means."""

    verdict: str
    count: int
    meaning: str


@dataclass(frozen=True)
class Plot:
    """A figure of the paper: `figure-3`, as the run's figures are called, of a data set."""

    name: str
    data: PaperData | None


@dataclass(frozen=True)
class ClaimRow:
    """A claim.

    Attributes:
        id: place and name, `table-3/top-model-cifar10`.
        verdict: its verdict.
        says: the statement, paraphrased.
        place, versions: where it is made, and in which of the sources.
        evidence: what decided it.
        walk: labels and values: how it is checked, on what, and what came out.
        excerpts: lines of the package's files that the inputs stand in.
        plots: of the paper, that the inputs are read from.
        authors_data: whether it waits for the authors' own data.
        measured: whether the run's own numbers are compared with it.
    """

    id: str
    verdict: str
    says: str
    place: str
    versions: tuple[str, ...]
    evidence: str
    walk: tuple[tuple[str, str], ...] = ()
    excerpts: tuple[TrainingFile, ...] = ()
    plots: tuple[Plot, ...] = ()
    authors_data: bool = False
    measured: bool = False


@dataclass(frozen=True)
class Audit:
    """Every claim, in the order of the paper, and how many have which verdict."""

    counts: tuple[VerdictCount, ...]
    rows: tuple[ClaimRow, ...]

    @property
    def waiting(self) -> list[ClaimRow]:
        """The claims that lose their evidence without the authors' own data."""
        return [row for row in self.rows if row.authors_data]

    @property
    def measured(self) -> list[ClaimRow]:
        """The claims that this run's numbers are compared with."""
        return [row for row in self.rows if row.measured]

    @property
    def places(self) -> list[str]:
        """Where claims are made, in the paper's order."""
        return list(dict.fromkeys(row.place for row in self.rows))


@dataclass(frozen=True)
class ClaimDetails:
    """A claim, as the page shows it when it is opened.

    Attributes:
        key: what the page knows it by.
        links: titles of the page's figures, and their anchors.
    """

    key: str
    title: str
    says: str
    facts: tuple[tuple[str, str], ...]
    files: tuple[TrainingFile, ...]
    links: tuple[tuple[str, str], ...]


def claim_details(
    audit: Audit, paper: PaperData | None, figures: Sequence[tuple[str, str]]
) -> Iterator[ClaimDetails]:
    """What the page packs of each claim.

    Args:
        audit: the claims.
        paper: the data set of the paper that the run's figures are held against.
        figures: names of the page's figures, and what they are called.
    """
    titles = dict(figures)
    for row in audit.rows:
        links = tuple(
            (titles[plot.name], f"#plot-{plot.name}")
            for plot in row.plots
            if plot.name in titles and plot.data in (paper, None)
        )
        yield ClaimDetails(row.id, row.id, row.says, row.walk, row.excerpts, links)
