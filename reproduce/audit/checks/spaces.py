"""How large the spaces are, and what their rules let the agent do."""

from __future__ import annotations

from typing import Any

from prototxt_gen.notation import FullyConnected, GlobalAveragePooling, Pooling
from prototxt_gen.shapes import pooling_size
from reproduce.audit.checks.membership import counts_of, rules_of, space_of
from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, UnfitInputError, Verdict, decided, some
from reproduce.search.rules import size_bin


@check
def space_has(
    *, space: dict[str, Any], stated: dict[str, Any], what: str, image: float | None = None
) -> Finding:
    """A space has the stated number of states, pairs, or architectures.

    `what` is a field of `SpaceCounts`, or `table`: all pairs of a Q table, those that only
    replays update included. `image` has another size of the image, in pixels.
    """
    of = space_of(rules_of(space if image is None else {**space, "image": int(image)}))
    found = of.pairs if what == "table" else getattr(of.counts(), what)
    return decided(
        found == stated["count"],
        f"counted {found:,}; stated {stated['count']:,}.",
        {"counted": found, "stated": stated["count"]},
    )


@check
def space_is_finite_but_large(*, space: dict[str, Any], schedule: list[Any]) -> Finding:
    """A space is finite, and the search trains less than a millionth of it."""
    counts = counts_of(rules_of(space))
    models = sum(models for _, models in schedule)
    share = models / counts.architectures
    return decided(
        share < 1e-6,
        f"{counts.states:,} states, {counts.pairs:,} pairs of state and action, "
        f"{counts.architectures:.3g} architectures; {models:,} trained models are {share:.1g} "
        "of them.",
        {"states": counts.states, "pairs": counts.pairs, "share": share},
    )


_KINDS = {"pooling": Pooling, "fully connected": FullyConnected, "gap": GlobalAveragePooling}


@check
def space_offers(*, space: dict[str, Any], layer: str) -> Finding:
    """Some state that walks meet has an action of a type of layer."""
    of = space_of(rules_of(space))
    all_pairs = [action for state in sorted(set(of.state_of)) for action in of.actions[state]]
    pairs = [action for action in all_pairs if isinstance(action, _KINDS[layer])]
    return decided(
        bool(pairs),
        f"{len(pairs):,} of {len(all_pairs):,} pairs of state and action have {layer} for action.",
        {"pairs": len(all_pairs), f"with {layer}": len(pairs)},
    )


@check
def depth_grows_to(*, space: dict[str, Any], depth: float) -> Finding:
    """Each layer leads one deeper, without loops, and only terminations follow the stated depth."""
    of = space_of(rules_of(space))
    steps = [
        (of.nodes[node].state.depth, of.nodes[after].state.depth)
        for node, successors in enumerate(of.successors)
        for after in successors
        if after >= 0
    ]
    some(steps, "layers")
    wrong = sum(after != before + 1 for before, after in steps)
    deepest = max(after for _, after in steps)
    return decided(
        wrong == 0 and deepest == depth,
        f"{len(steps) - wrong:,} of {len(steps):,} steps lead one deeper, the deepest to "
        f"{deepest}; stated {depth:g}.",
        {"steps": len(steps), "one deeper": len(steps) - wrong, "deepest": deepest},
    )


@check
def fully_connected_are_limited(*, space: dict[str, Any], most: float, below: float) -> Finding:
    """At most so many FC in a row, none after one of fewer neurons, none on a bin above a limit."""
    of = space_of(rules_of(space))
    found = [
        (of.states[state], action.neurons)
        for state in sorted(set(of.state_of))
        for action in of.actions[state]
        if isinstance(action, FullyConnected)
    ]
    some(found, "fully-connected layers")
    after = [(state, neurons) for state, neurons in found if state.kind == "FC"]
    longest = 1 + max((state.numbers[0] for state, _ in after), default=0)
    growing = sum(neurons > state.numbers[-1] for state, neurons in after)
    widest = max((state.bin for state, _ in found if state.kind != "FC"), default=0)
    return decided(
        longest <= most and growing == 0 and widest <= below,
        f"of {len(found):,} pairs with a fully-connected action {len(after):,} follow another: up "
        f"to {longest} in a row, {growing} growing; the largest bin before one is {widest}.",
        {"in a row": longest, "growing": growing, "largest bin": widest},
    )


@check
def terminates_anywhere(*, space: dict[str, Any]) -> Finding:
    """Every state but GAP's own and FC's has both terminations, softmax and GAP among its actions.

    (Averaging over a vector is no layer, and softmax must follow GAP.)
    """
    of = space_of(rules_of(space))
    states = [
        (state, actions)
        for state, actions in zip(of.states, of.actions, strict=True)
        if state.kind not in ("FC", "GAP")
    ]
    without = [
        state
        for state, actions in states
        if not any(isinstance(action, GlobalAveragePooling) for action in actions)
    ]
    return decided(
        not without,
        f"{len(states) - len(without):,} of {len(states):,} states offer global average pooling"
        f"{f', not those at depth {without[0].depth}' if without else ''}.",
        {"states": len(states), "without": len(without)},
    )


@check
def fields_up_to_bin(*, space: dict[str, Any]) -> Finding:
    """Receptive fields up to the R-size are allowed: those equal to a bin's lower end too."""
    of = space_of(rules_of(space))
    sizes: dict[int, set[int]] = {}
    for state, actions in zip(of.states, of.actions, strict=True):
        fields = {getattr(action, "size", 0) for action in actions}
        if state.kind in ("C", "P") and state.depth < of.rules.depth:  # type: ignore[attr-defined]
            sizes.setdefault(state.bin, set()).update(fields - {0})
    said = "; ".join(f"bin {b}: {sorted(sizes[b]) or 'none'}" for b in sorted(sizes, reverse=True))
    if 1 not in sizes:
        raise UnfitInputError("no state has an R-size below 4")
    numbers = {f"bin {b}": len(fields) for b, fields in sizes.items()}
    return decided(1 in sizes[1], f"receptive fields {said}.", numbers)


@check
def pooling_reduces(*, pooling: dict[str, Any]) -> Finding:
    """So many pooling layers reduce an image as stated, rounding up as Caffe does and down."""
    sizes = [(int(pooling["image"]),) * 2]
    for _ in range(int(pooling["layers"])):
        up, down = sizes[-1]
        field, stride = int(pooling["field"]), int(pooling["stride"])
        if down < field:
            raise UnfitInputError(f"no window of {field} fits {down}")
        sizes.append((pooling_size(up, field, stride), (down - field) // stride + 1))
    ups, downs = zip(*sizes, strict=True)
    end = int(pooling["result"])
    said = f"{' → '.join(map(str, ups))}, and rounded down {' → '.join(map(str, downs))}"
    numbers = {"rounded up": ups[-1], "rounded down": downs[-1]}
    if ups[-1] == downs[-1]:
        return decided(ups[-1] == end, f"{said}; stated {end}.", numbers)
    either = end in (ups[-1], downs[-1])
    verdict = Verdict.AMBIGUOUS if either else Verdict.CONTRADICTED
    return Finding(verdict, f"{said}; stated {end}.", numbers)


@check
def pooling_changes_bin(*, pooling: dict[str, Any]) -> Finding:
    """One pooling layer from two sizes of one bin leads to two bins."""
    field, stride = int(pooling["field"]), int(pooling["stride"])
    before = [int(size) for size in pooling["from_sizes"]]
    after = [pooling_size(size, field, stride) for size in before]
    bins = [size_bin(size) for size in (*before, *after)]
    half = len(before)
    said = ", ".join(f"{a} → {b}" for a, b in zip(before, after, strict=True))
    holds = (
        after == [int(size) for size in pooling["to_sizes"]]
        and len(set(bins[:half])) == 1
        and len(set(bins[half:])) == half
    )
    return decided(
        holds,
        f"R-size {said}; bins {bins[:half]} → {bins[half:]}.",
        {f"from {a}": b for a, b in zip(before, after, strict=True)},
    )


@check
def binning_makes_transitions_stochastic(*, space: dict[str, Any]) -> Finding:
    """Some pairs of state and action lead to two states, by the hidden R-size."""
    counts = counts_of(rules_of(space))
    return decided(
        counts.stochastic_pairs > 0,
        f"{counts.stochastic_pairs:,} of {counts.pairs:,} pairs lead to more than one state.",
        {"pairs": counts.pairs, "stochastic": counts.stochastic_pairs},
    )


@check
def space_is_larger(*, ours: dict[str, Any], theirs: dict[str, Any]) -> Finding:
    """A space has more states, pairs and architectures than another."""
    mine, other = (counts_of(rules_of(space)) for space in (ours, theirs))
    return decided(
        mine.states > other.states
        and mine.pairs > other.pairs
        and mine.architectures > other.architectures,
        f"{mine.states:,} states, {mine.pairs:,} pairs and {mine.architectures:.3g} architectures "
        f"against {other.states:,}, {other.pairs:,} and {other.architectures:.3g}.",
        {"states": mine.states, "states of the other": other.states},
    )
