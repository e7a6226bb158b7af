"""Which checks there are."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from reproduce.audit.claims import Claim, ClaimError
from reproduce.audit.findings import Finding

Check = Callable[..., Finding]
_Function = TypeVar("_Function", bound=Check)

CHECKS: dict[str, Check] = {}


def check(function: _Function) -> _Function:
    """Register a check under its name."""
    CHECKS[function.__name__] = function
    return function


def bind(claim: Claim) -> Check:
    """A claim's check, once it is known to take the claim's arguments.

    Raises:
        ClaimError: if there is no such check, or it takes other arguments.
    """
    if claim.check not in CHECKS:
        raise ClaimError(f"claim {claim.id}: no check {claim.check!r}")
    signature = inspect.signature(CHECKS[claim.check])
    try:
        signature.bind(**arguments(claim, claim.inputs))
    except TypeError as error:
        raise ClaimError(f"claim {claim.id}: check {claim.check}: {error}") from None
    return CHECKS[claim.check]


def arguments(claim: Claim, inputs: dict[str, Any]) -> dict[str, Any]:
    """A check's keyword arguments."""
    tolerance = {} if claim.tolerance is None else {"tolerance": claim.tolerance}
    if clash := set(inputs) & set(claim.parameters):
        raise ClaimError(f"claim {claim.id}: {min(clash)} is an input and a parameter")
    return {**inputs, **claim.parameters, **tolerance}
