"""The agent's state-action space (paper, section 4): what its rules let walks reach, numbered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prototxt_gen.notation import Architecture, GlobalAveragePooling, Layer, Softmax
from reproduce.search.rules import Node, Rules, SpaceRules, State

__all__ = [
    "END",
    "Node",
    "NotInSpaceError",
    "Rules",
    "SearchSpace",
    "SpaceCounts",
    "SpaceRules",
    "State",
]


class NotInSpaceError(ValueError):
    """An architecture breaks a rule of the space; the message names the layer and the rule."""


@dataclass(frozen=True)
class SpaceCounts:
    """Sizes of a space: reachable non-terminal states, legal pairs of state and action, pairs
    whose next state depends on the hidden R-size, and architectures."""

    states: int
    pairs: int
    stochastic_pairs: int
    architectures: int


END = -1
"""Stands for a successor in `SearchSpace.successors` where an action ends the architecture."""


class SearchSpace:
    """The reachable nodes and their states and actions, numbered.

    A Q-value's index is `offsets[s] + a` for action a of state s. The numbering is a
    breadth-first search from the start and depends on the rules alone.

    Attributes:
        nodes: the reachable nodes; 0 is the start.
        successors: for each node the nodes that its state's actions lead to, or `END`.
        state_of: for each node the number of its state.
        states: the states; those that only replays see come last.
        actions: the actions of each state.
        offsets: the index of each state's first pair, and the number of pairs.
        replayed: for each state met in walks the number of the one that replays update.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.nodes = [rules.start()]
        self.successors: list[tuple[int, ...]] = []
        self.state_of: list[int] = []
        self.states: list[State] = []
        self.actions: list[tuple[Layer, ...]] = []
        self.offsets: list[int] = [0]
        self._index: dict[State, int] = {}
        self._explore()
        self.replayed = [self._number(rules.replayed(state)) for state in tuple(self.states)]

    def _explore(self) -> None:
        numbers = {self.nodes[0]: 0}
        for node in self.nodes:  # grows while it is walked
            state = self._number(node.state)
            self.state_of.append(state)
            found = []
            for action in self.actions[state]:
                if self.rules.ends(action):
                    found.append(END)
                    continue
                successor = self.rules.successor(node, action)
                if successor not in numbers:
                    numbers[successor] = len(self.nodes)
                    self.nodes.append(successor)
                found.append(numbers[successor])
            self.successors.append(tuple(found))

    def _number(self, state: State) -> int:
        if state not in self._index:
            self._index[state] = len(self.states)
            self.states.append(state)
            self.actions.append(self.rules.actions(state))
            self.offsets.append(self.offsets[-1] + len(self.actions[-1]))
        return self._index[state]

    @property
    def pairs(self) -> int:
        """Pairs of a numbered state and a legal action: the length of a Q table."""
        return self.offsets[-1]

    @property
    def aliased(self) -> bool:
        """Whether replays update other states than those met in walks."""
        return self.replayed != list(range(len(self.replayed)))

    def index(self, state: State) -> int:
        """The number of a state.

        Raises:
            KeyError: if the state is not reachable.
        """
        return self._index[state]

    def architecture(self, layers: Sequence[Layer]) -> Architecture:
        """The architecture of a walk's layers; a terminating GAP is followed by its SM."""
        if isinstance(layers[-1], GlobalAveragePooling):
            return Architecture((*layers, Softmax(self.rules.classes)))
        return Architecture(tuple(layers))

    def walk(self, architecture: Architecture) -> list[tuple[int, int]]:
        """The numbers of the nodes and of their actions that lead to an architecture.

        Dropout layers are passed over: they are a function of the others.

        Raises:
            NotInSpaceError: naming the first layer that the space does not allow, and why.
        """
        layers = architecture.without_dropout().layers
        node, steps = 0, []
        for position, layer in enumerate(layers, start=1):
            if node == END:  # the SM that belongs to a terminating GAP
                if layer != Softmax(self.rules.classes):
                    classes = f"the data set has {self.rules.classes} classes"
                    raise NotInSpaceError(f"layer {position}, {layer}: {classes}")
                break
            actions = self.actions[self.state_of[node]]
            if layer not in actions:
                why = self.rules.why_not(self.nodes[node], layer)
                raise NotInSpaceError(f"layer {position}, {layer}: {why}")
            number = actions.index(layer)
            steps.append((node, number))
            node = self.successors[node][number]
        return steps

    def counts(self) -> SpaceCounts:
        """Count what sampling can reach, exactly."""
        states = len(self.replayed)
        after: dict[tuple[int, int], set[int]] = {}
        completions = [0] * len(self.nodes)
        for node in reversed(range(len(self.nodes))):  # successors are deeper, so they come later
            for number, successor in enumerate(self.successors[node]):
                completions[node] += 1 if successor == END else completions[successor]
                if successor != END:
                    pair = self.state_of[node], number
                    after.setdefault(pair, set()).add(self.state_of[successor])
        stochastic = sum(len(states) > 1 for states in after.values())
        return SpaceCounts(states, self.offsets[states], stochastic, completions[0])
