"""The released code's space, by the few lines of it that each check names and repeats.

The code, bowenbaker/metaqnn at a25847f, runs under Python 2 alone.
"""

from __future__ import annotations

from typing import Any

from prototxt_gen.shapes import Padding, convolution_size, pooling_size
from reproduce.audit.checks.membership import rules_of, space_of
from reproduce.audit.checks.registry import check
from reproduce.audit.findings import (
    Finding,
    UnfitInputError,
    decided,
    listed,
    some,
)
from reproduce.search.rules import size_bin


def _floor(size: int, field: int, stride: int) -> int:
    """state_enumerator.py:207-210, ceil((n - f + 1) / s)."""
    return -((field - size - 1) // stride)


@check
def pooling_actions_are_found(*, pools: list[Any], bins: list[float]) -> Finding:
    """The pooling actions that the enumerator offers are those that a replay looks up.

    The enumerator's action (state_enumerator.py:135-140, 171) has the bin after pooling, computed
    from the bin before; a replay's (175-179) has the bin before. Pools are legal below the bin.
    """
    offered = [
        (int(size), int(field), size_bin(_floor(int(size), int(field), int(stride))))
        for size in bins
        for field, stride in pools
        if field < size
    ]
    some(offered, "pooling actions")
    lost = [one for one in offered if one[2] != one[0]]
    kinds = ", ".join(f"bin {size} → {after}" for size, _, after in lost)
    return decided(
        not lost,
        f"{len(offered) - len(lost)} of {len(offered)} kinds of pooling action are found"
        f"{f'; offered with {kinds}' if lost else ''}.",
        {"offered": len(offered), "found": len(offered) - len(lost)},
    )


@check
def lists_make_the_pairs(*, pools: list[Any]) -> Finding:
    """A list of sizes and one of strides, strides up to the size, make the stated pairs.

    So state_enumerator.py:133-134, 218-219 read them.
    """
    some(pools, "pools")
    stated = {(int(field), int(stride)) for field, stride in pools}
    strides = {stride for _, stride in stated}
    made = {(field, s) for field, _ in stated for s in strides if s <= field}
    more = ", ".join(f"P({field},{stride})" for field, stride in sorted(made - stated))
    return decided(
        made == stated,
        f"{len(stated)} pairs are stated, the lists make {len(made)}"
        f"{f', also {more}' if more else ''}.",
        {"stated": len(stated), "made": len(made)},
    )


@check
def fc_visits_are_replayed(*, space: dict[str, Any]) -> Finding:
    """The FC states that walks at ε = 1 meet are those that replays update, in proportion.

    The walks' probabilities are exact: each action of a state is equally likely.
    """
    of = space_of(rules_of(space))
    reached = [1.0, *([0.0] * (len(of.nodes) - 1))]
    for node, after in enumerate(of.successors):
        for successor in after:
            if successor >= 0:
                reached[successor] += reached[node] / len(after)
    visits = [
        (chance, of.replayed[state] == state)
        for chance, state in zip(reached, of.state_of, strict=True)
        if of.states[state].kind == "FC"
    ]
    total = sum(chance for chance, _ in visits)
    if not total:
        raise UnfitInputError("no walk meets FC")
    lost = sum(chance for chance, replayed in visits if not replayed) / total
    return decided(
        lost == 0,
        f"{lost:.1%} of the visits to fully-connected states at ε = 1 are to states that no replay "
        "updates.",
        {"share never updated": lost},
    )


@check
def agent_sees_caffes_size(*, pools: list[Any], image: int) -> Finding:
    """After pooling the agent's R-size, rounded down, is that of Caffe's blob, rounded up."""
    cases = [(n, int(f), int(s)) for f, s in pools for n in range(int(f), int(image) + 1)]
    some(cases, "sizes")
    off = [(n, f, s) for n, f, s in cases if _floor(n, f, s) != pooling_size(n, f, s)]
    some_off = ", ".join(
        f"{n} by P({f},{s}): {_floor(n, f, s)} and {pooling_size(n, f, s)}" for n, f, s in off[-3:]
    )
    return decided(
        not off,
        f"{len(cases) - len(off)} of {len(cases)} sizes after pooling are the same"
        f"{f'; {some_off}' if off else ''}.",
        {"sizes": len(cases), "same": len(cases) - len(off)},
    )


@check
def bins_are_the_papers(*, stated: list[float], code: dict[str, Any], image: int) -> Finding:
    """The released code's bins (state_space_parameters.py:43-49) are the stated ones.

    `stated` has the lower ends of the half-open bins, `code` the sizes that each must exceed.
    """
    pairs = [
        (
            max((low for low in stated if low <= size), default=0),
            next((b for above, b in code["above"] if size > above), code["otherwise"]),
        )
        for size in range(1, int(image) + 1)
    ]
    off = [size for size, (a, b) in enumerate(pairs, 1) if a != b]
    return decided(
        not off,
        f"{len(pairs) - len(off)} of {len(pairs)} sizes are in the same bin"
        f"{f', not {listed(off)}' if off else ''}.",
        {"sizes": len(pairs), "same": len(pairs) - len(off)},
    )


@check
def gap_is_global(*, gap: dict[str, Any]) -> Finding:
    """The average over the agent's size (string_to_model.py:160-169, stride 1) is one number."""
    side = int(gap["blob"]) - int(gap["agent"]) + 1
    if side < 1:
        raise UnfitInputError(f"no window of {gap['agent']} fits {gap['blob']}")
    return decided(
        side == 1,
        f"a window of {gap['agent']:g} over {gap['blob']:g} pixels gives {side}×{side} averages of "
        f"each of {gap['classes']:g} channels: {side**2 * int(gap['classes'])} inputs of softmax’s "
        "layer.",
        {"side": side, "inputs": side**2 * int(gap["classes"])},
    )


@check
def replay_sees_the_walk(*, convolution: dict[str, Any]) -> Finding:
    """A replay has the size that the walk had after a convolution (state_string_utils.py:83-91)."""
    size, field, padding = (convolution[name] for name in ("image", "field", "padding"))
    walked = size
    if padding == Padding.VALID.value:
        walked = convolution_size(size, field, 1)
    return decided(
        walked == size,
        f"with {padding} a {field}×{field} convolution takes the walk from {size} to {walked}, the "
        f"replay to {size}.",
        {"walk": walked, "replay": size},
    )
