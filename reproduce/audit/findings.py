"""What a check says of a claim: a verdict, the numbers it rests on, and a sentence of evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Number = float | int | str
"""A value of a finding: what was computed, or the name of what was found."""


class Verdict(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    WITHIN = "holds within tolerance"
    CONTRADICTED = "contradicted"
    AMBIGUOUS = "ambiguous"
    UNDERPOWERED = "underpowered"
    NOT_RUN = "not run"

    @property
    def computed(self) -> bool:
        """Whether something was computed, rather than waiting for data or a run."""
        return self is not Verdict.NOT_RUN


@dataclass(frozen=True)
class Finding:
    """A check's answer.

    Attributes:
        verdict: what became of the claim.
        evidence: one or two sentences with the numbers; of a contradiction, by what; of what was
            not run, the command that would run it and what it costs.
        numbers: what was computed, by name.
    """

    verdict: Verdict
    evidence: str
    numbers: Mapping[str, Number] = field(default_factory=dict)


class UnfitInputError(ValueError):
    """A check cannot compute with its inputs: a row is missing, a text is no architecture."""


def decided(holds: bool, evidence: str, numbers: Mapping[str, Number] | None = None) -> Finding:
    """A claim that holds or is contradicted."""
    return Finding(Verdict.HOLDS if holds else Verdict.CONTRADICTED, evidence, numbers or {})


def compared(
    difference: float,
    exact: float,
    tolerance: float,
    evidence: str,
    numbers: Mapping[str, Number] | None = None,
) -> Finding:
    """A claim on a number, by how far the computed one is from it.

    Args:
        difference: computed minus stated.
        exact: what the printed digits leave open: half a unit of the last one.
        tolerance: the most that still counts as agreement.
        evidence, numbers: of the finding.
    """
    size = abs(difference) - 1e-9  # decimal digits are no binary ones
    if size <= exact:
        verdict = Verdict.HOLDS
    else:
        verdict = Verdict.WITHIN if size <= tolerance else Verdict.CONTRADICTED
    return Finding(verdict, evidence, numbers or {})


def some(rows: Iterable[object], what: str) -> None:
    """Raise where there is nothing to check.

    Raises:
        UnfitInputError: naming what is missing.
    """
    if not list(rows):
        raise UnfitInputError(f"there are no {what}")


def listed(names: Iterable[object]) -> str:
    """Names as `a, b and c`."""
    *head, last = [str(name) for name in names] or ["none"]
    return f"{', '.join(head)} and {last}" if head else last
