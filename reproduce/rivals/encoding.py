"""Two ways to tell the tree of architectures to a library that knows lists of parameters alone.

A walk from the image to a termination takes one decision a layer, and what is open depends on
those before. Optuna's parameters have a fixed set of choices each.

* `TreeEncoding`: a parameter for each pair of depth and set of open actions; a net has those that
  its walk meets. All values are meaningful, but samplers that model parameters jointly see only
  those that all nets have: the first decision.
* `FlatEncoding`: a parameter for each depth, over all actions of the space; all nets have all of
  them. A choice that is not open where the walk comes to it stands for the next open one in the
  space's order of actions, begun anew at its end; those after the termination mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from prototxt_gen.notation import Architecture, Layer
from reproduce.search.space import END, SearchSpace

Choose = Callable[[str, int], int]
"""Asks a parameter by its name and its number of choices; the answer is a choice's index."""


class Encoding(Protocol):
    """Makes an architecture of a library's answers."""

    def decode(self, choose: Choose) -> Architecture:
        """Walk through the space, asking at each decision."""
        ...


class TreeEncoding:
    """A parameter for each pair of depth and set of open actions."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._sets: dict[tuple[Layer, ...], int] = {}
        for actions in space.actions:
            self._sets.setdefault(tuple(actions), len(self._sets))

    def decode(self, choose: Choose) -> Architecture:
        """See `Encoding`; where one action alone is open, nothing is asked."""
        space, node, layers = self._space, 0, list[Layer]()
        while node != END:
            actions = space.actions[space.state_of[node]]
            number = 0
            if len(actions) > 1:
                name = f"layer {len(layers) + 1} of set {self._sets[tuple(actions)]}"
                number = choose(name, len(actions))
            layers.append(actions[number])
            node = space.successors[node][number]
        return space.architecture(layers)


class FlatEncoding:
    """A parameter for each depth, over all actions of the space."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self.actions = list(dict.fromkeys(a for actions in space.actions for a in actions))
        self.length = _longest_walk(space)

    def decode(self, choose: Choose) -> Architecture:
        """See `Encoding`; every parameter is asked, whatever the net's depth."""
        space, node, layers = self._space, 0, list[Layer]()
        chosen = [choose(f"layer {i + 1}", len(self.actions)) for i in range(self.length)]
        while node != END:
            actions = space.actions[space.state_of[node]]
            number = self._next_open(chosen[len(layers)], actions)
            layers.append(actions[number])
            node = space.successors[node][number]
        return space.architecture(layers)

    def _next_open(self, choice: int, open_actions: list[Layer] | tuple[Layer, ...]) -> int:
        wanted = self.actions[choice:] + self.actions[:choice]
        return next(open_actions.index(action) for action in wanted if action in open_actions)


def _longest_walk(space: SearchSpace) -> int:
    """Decisions of the longest walk; successors are numbered after their predecessors."""
    depth = [0] * len(space.nodes)
    longest = 0
    for node, successors in enumerate(space.successors):
        for successor in successors:
            if successor != END:
                depth[successor] = max(depth[successor], depth[node] + 1)
            longest = max(longest, depth[node] + 1)
    return longest
