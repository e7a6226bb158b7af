"""How large an experiment's state-action space is, and whether an architecture is in it."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from typing import Any

from prototxt_gen.notation import parse
from reproduce.experiments.schema import Experiment
from reproduce.search.space import NotInSpaceError, SearchSpace, SpaceCounts, SpaceRules


@dataclass(frozen=True)
class Membership:
    """Whether an architecture is in the space; `broken_rule` says why not."""

    architecture: str
    member: bool
    broken_rule: str


@dataclass(frozen=True)
class SpaceReport:
    """The sizes of an experiment's space.

    Attributes:
        counts: as the experiment has it.
        relaxed: by name, the sizes with an open question answered the other way.
        unstated: the choices of the space that its source does not state, with their reasons.
        members: of the architectures asked about.
    """

    experiment: str
    preset: str
    family: str
    counts: SpaceCounts
    relaxed: dict[str, SpaceCounts]
    unstated: dict[str, str]
    members: tuple[Membership, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; counts are exact integers."""
        return asdict(self)


def space_report(experiment: Experiment, architectures: list[str]) -> SpaceReport:
    """Count a space, exactly, and look up architectures by their notation.

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
        relaxed={name: SearchSpace(other).counts()},
        unstated={
            field: reason
            for field, reason in experiment.unstated.items()
            if field.startswith("space.")
        },
        members=tuple(_membership(space, text) for text in architectures),
    )


def _membership(space: SearchSpace, text: str) -> Membership:
    architecture = parse(text)
    try:
        space.walk(architecture)
    except NotInSpaceError as error:
        return Membership(str(architecture), False, str(error))
    return Membership(str(architecture), True, "")
