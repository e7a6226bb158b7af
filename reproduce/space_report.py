"""How large an experiment's state-action space is, and whether an architecture is in it."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from typing import Any

from prototxt_gen.notation import parse
from reproduce.experiments.schema import Experiment
from reproduce.search.cost_cap import Cost, CostCap
from reproduce.search.space import NotInSpaceError, SearchSpace, SpaceCounts, SpaceRules


@dataclass(frozen=True)
class Membership:
    """Whether an architecture is in the space; `broken_rule` says why not."""

    architecture: str
    member: bool
    broken_rule: str


@dataclass(frozen=True)
class Capped:
    """What a budget's cap on a net's cost keeps: from `low` to `high` architectures."""

    budget: str
    of: Cost
    at_most: int
    low: float
    high: float


@dataclass(frozen=True)
class SpaceReport:
    """The sizes of an experiment's space.

    Attributes:
        counts: as the experiment has it, whatever its budget.
        capped: below the cap asked about; None without one.
        relaxed: by name, the sizes with an open question answered the other way.
        unstated: the choices of the space that its source does not state, with their reasons.
        members: of the architectures asked about.
    """

    experiment: str
    preset: str
    family: str
    counts: SpaceCounts
    capped: Capped | None
    relaxed: dict[str, SpaceCounts]
    unstated: dict[str, str]
    members: tuple[Membership, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; counts are exact integers."""
        return asdict(self)


def space_report(
    experiment: Experiment, architectures: list[str], cap: CostCap | None = None
) -> SpaceReport:
    """Count a space, exactly, and look up architectures by their notation.

    With the cap of the experiment's budget, its members are those within it.

    Raises:
        NotationError: if a text is no architecture.
    """
    rules = experiment.space.rules(experiment.data)
    space = SearchSpace(rules)
    if isinstance(rules, SpaceRules):
        name = "with GAP after FC" if not rules.gap_after_fc else "without GAP after FC"
        other: Any = dataclasses.replace(rules, gap_after_fc=not rules.gap_after_fc)
    else:
        halving = 1 if rules.smallest_halving == 2 else 2
        name = f"receptive fields n/2^m from m = {halving} on"
        other = dataclasses.replace(rules, smallest_halving=halving)
    return SpaceReport(
        experiment=experiment.name,
        preset=experiment.preset,
        family=experiment.space.family,
        counts=space.counts(),
        capped=_capped(experiment.budget_name, cap) if cap else None,
        relaxed={name: SearchSpace(other).counts()},
        unstated={
            field: reason
            for field, reason in experiment.unstated.items()
            if field.startswith("space.")
        },
        members=tuple(_membership(space, cap, text) for text in architectures),
    )


def _capped(budget: str, cap: CostCap) -> Capped:
    low, high = cap.count()
    return Capped(budget, cap.of, cap.at_most, low, high)


def _membership(space: SearchSpace, cap: CostCap | None, text: str) -> Membership:
    architecture = parse(text)
    try:
        walk = space.walk(architecture)
    except NotInSpaceError as error:
        return Membership(str(architecture), False, str(error))
    if cap is not None:
        meter = cap.meter()
        for node, number in walk:
            meter.spend(node, number)
        if meter.spent > cap.at_most:
            rule = f"its {cap.of}, {meter.spent:,}, exceed the budget's cap of {cap.at_most:,}"
            return Membership(str(architecture), False, rule)
    return Membership(str(architecture), True, "")
