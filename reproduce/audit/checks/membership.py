"""Whether published architectures are in the spaces that the paper states."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

from prototxt_gen.notation import Convolution, parse
from reproduce.audit.checks.registry import check
from reproduce.audit.findings import (
    Finding,
    UnfitInputError,
    Verdict,
    decided,
    listed,
    some,
)
from reproduce.results.intervals import wilson_interval
from reproduce.search.first_version import FirstVersionRules
from reproduce.search.space import NotInSpaceError, SearchSpace, SpaceCounts, SpaceRules

Rules = SpaceRules | FirstVersionRules


def rules_of(space: dict[str, Any]) -> Rules:
    """The rules that an input tells.

    Raises:
        UnfitInputError: if a number is not whole.
    """
    fields = {key: _tuples(value) for key, value in space.items() if key != "family"}
    if fractions := [key for key, value in fields.items() if isinstance(value, float)]:
        raise UnfitInputError(f"a space's {fractions[0]} is a whole number")
    return SpaceRules(**fields) if space["family"] == "table1" else FirstVersionRules(**fields)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


@lru_cache(maxsize=8)
def space_of(rules: Rules) -> SearchSpace:
    """The space of some rules."""
    return SearchSpace(rules)


@lru_cache(maxsize=64)
def counts_of(rules: Rules) -> SpaceCounts:
    """The sizes of the space of some rules."""
    return SearchSpace(rules).counts()


def broken(notation: str, space: SearchSpace) -> str:
    """The first rule that an architecture breaks; empty of a member."""
    try:
        space.walk(parse(notation))
    except NotInSpaceError as error:
        return str(error)
    return ""


@check
def nets_in_space(*, nets: list[dict[str, Any]], space: dict[str, Any]) -> Finding:
    """Every net of a table is a member of a space."""
    some(nets, "nets")
    of = space_of(rules_of(space))
    why = {net["id"]: broken(net["notation"], of) for net in nets}
    out = {id_: rule for id_, rule in why.items() if rule}
    said = f"{len(nets) - len(out)} of {len(nets)} nets are members"
    rest = "; ".join(f"{id_}: {rule}" for id_, rule in out.items())
    numbers = {"members": len(nets) - len(out), "nets": len(nets)}
    return decided(not out, f"{said}{f'. {rest}' if rest else ''}.", numbers)


@check
def nets_in_space_as_read(
    *, nets: list[dict[str, Any]], space: dict[str, Any], reading: dict[str, Any]
) -> Finding:
    """Every net of a table is a member of a space, as printed or with some rules read otherwise.

    Ambiguous where they are members by one of the two alone.
    """
    some(nets, "nets")
    said, members = [], []
    for name, rules in (("as printed", space), ("as the text has it", {**space, **reading})):
        inside = [net["id"] for net in nets if _member(net["notation"], rules_of(rules))]
        members.append(len(inside))
        which = f" ({listed(inside)})" if inside else ""
        said.append(f"{name} {len(inside)} of {len(nets)} nets are members{which}")
    numbers = {"as printed": members[0], "as read": members[1], "nets": len(nets)}
    verdict = Verdict.HOLDS if min(members) == len(nets) else Verdict.CONTRADICTED
    if max(members) == len(nets) != min(members):
        verdict = Verdict.AMBIGUOUS
    return Finding(verdict, f"{'; '.join(said)}.", numbers)


def _member(notation: str, rules: Rules) -> bool:
    """The same as `broken`, without a numbering of the whole space."""
    node = rules.start()
    for layer in parse(notation).without_dropout():
        if layer not in rules.actions(node.state):
            return False
        if rules.ends(layer):
            break
        node = rules.successor(node, layer)
    return True


@check
def example_in_space(*, example: dict[str, Any], space: dict[str, Any]) -> Finding:
    """An example of the text is a member of a space."""
    return nets_in_space(nets=[example], space=space)


@check
def files_in_space(*, files: list[dict[str, Any]], space: dict[str, Any]) -> Finding:
    """Every published prototxt's net is a member of a space."""
    nets = [{"id": file["name"], "notation": file["architecture"]} for file in files]
    return nets_in_space(nets=nets, space=space)


@check
def depth_limit_is_strict(*, nets: list[dict[str, Any]], space: dict[str, Any]) -> Finding:
    """The limit "layer depth < n" means at most n - 1 layers; `space` has the other reading, n."""
    some(nets, "nets")
    rules = rules_of(space)
    strict = dataclasses.replace(rules, depth=rules.depth - 1)
    lenient_out = [n["id"] for n in nets if broken(n["notation"], space_of(rules))]
    strict_out = [n["id"] for n in nets if broken(n["notation"], space_of(strict))]
    total = len(nets)
    said = (
        f"read as at most {strict.depth} layers {total - len(strict_out)} of {total} nets are "
        f"members, as at most {rules.depth} {total - len(lenient_out)}"
    )
    numbers = {"strict": total - len(strict_out), "lenient": total - len(lenient_out)}
    if not strict_out:
        return Finding(Verdict.HOLDS, f"{said}.", numbers)
    verdict = Verdict.CONTRADICTED if lenient_out else Verdict.AMBIGUOUS
    return Finding(verdict, f"{said}.", numbers)


@check
def first_layer_is_pointwise(*, nets: list[dict[str, Any]], sizes: list[float]) -> Finding:
    """1×1 convolutions come first more often than chance, one of the space's receptive fields.

    Underpowered while the 95 % interval of the share contains chance.
    """
    distinct = list(dict.fromkeys(net["notation"] for net in nets))
    some(distinct, "nets")
    first = [parse(notation).layers[0] for notation in distinct]
    hits = sum(isinstance(layer, Convolution) and layer.size == 1 for layer in first)
    low, high = wilson_interval(hits, len(distinct))
    chance = 1 / len(sizes)
    said = (
        f"{hits} of {len(distinct)} distinct top nets start with C(N,1,1): "
        f"{hits / len(distinct):.0%}, 95 % interval {low:.0%} to {high:.0%}; a random first "
        f"convolution would in {chance:.0%}."
    )
    numbers = {"share": hits / len(distinct), "low": low, "high": high, "chance": chance}
    if low <= chance <= high:
        return Finding(Verdict.UNDERPOWERED, said, numbers)
    return decided(low > chance, said, numbers)
