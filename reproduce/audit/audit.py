"""Claims with their verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from reproduce.audit.checks.registry import arguments, bind
from reproduce.audit.claims import Claim
from reproduce.audit.context import Context, NoEvidenceError
from reproduce.audit.findings import Finding, UnfitInputError, Verdict
from reproduce.audit.inputs import resolve
from reproduce.audit.measured import read_all


@dataclass(frozen=True)
class Audited:
    """A claim, its verdict, and where the evidence stands.

    Attributes:
        context: what the audit was given.
        values: the inputs' data by name; empty where it is not here.
        lost: whether the authors' own data would decide it, and is not here.
    """

    claim: Claim
    finding: Finding
    links: tuple[str, ...]
    context: Context
    values: dict[str, Any]
    lost: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data: `id`, `verdict`, `source`, `evidence` and what they rest on."""
        return {
            "id": self.claim.id,
            "verdict": str(self.finding.verdict),
            "source": self.claim.source,
            "evidence": self.finding.evidence,
            "claim": self.claim.says,
            "numbers": dict(self.finding.numbers),
            "check": self.claim.check,
            "inputs": dict(self.claim.inputs),
            "links": list(self.links),
        }


def evaluate(claim: Claim, inputs: dict[str, Any]) -> Finding:
    """A claim's verdict on given inputs.

    Raises:
        UnfitInputError: if they cannot be computed with.
    """
    function = bind(claim)
    try:
        return function(**arguments(claim, inputs))
    except (KeyError, TypeError, ValueError, ArithmeticError, IndexError) as error:
        if isinstance(error, UnfitInputError):
            raise
        raise UnfitInputError(f"{claim.id}: {type(error).__name__}: {error}") from error


def audited(claim: Claim, context: Context) -> Audited:
    """One claim with its verdict."""
    bind(claim)
    try:
        found = {name: resolve(ref, context) for name, ref in claim.inputs.items()}
    except NoEvidenceError as missing:
        return Audited(claim, Finding(Verdict.NOT_RUN, str(missing)), (), context, {}, lost=True)
    values = {name: evidence.value for name, evidence in found.items()}
    links = dict.fromkeys(link for evidence in found.values() for link in evidence.links)
    return Audited(claim, evaluate(claim, values), tuple(links), context, values)


def audit(claims: Iterable[Claim], context: Context) -> Iterator[Audited]:
    """Every claim with its verdict, in order.

    Raises:
        ClaimError: if a claim names what there is not.
        RunError, ReplayMemoryError: if a run cannot be read.
    """
    read_all(context.runs)
    for claim in claims:
        yield audited(claim, context)
