"""The agent's state-action space (paper, section 4 and Table 1).

A state is the last layer placed: its type, its depth, its parameters and the bin of its
representation size (R-size), the height of the square image that it puts out. The true R-size
is hidden from the agent, so pooling may lead from one state to several ("stochastic" pairs).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prototxt_gen.notation import (
    Architecture,
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
)
from prototxt_gen.shapes import pooling_size


@dataclass(frozen=True)
class SpaceRules:
    """What may follow what. The defaults are the paper's Table 1, depth and image aside.

    Attributes:
        depth: most layers before termination ("i < 12" means 12: the published nets have 12).
        image: height and width of the square input, in pixels.
        classes: classes of the termination layers.
        filters, sizes: a convolution's number of filters and receptive fields (stride 1, SAME).
        pools: pooling's (receptive field, stride).
        fully_connected: an FC layer's neurons; they never grow along a chain.
        max_fully_connected: most consecutive FC layers.
        smaller_than_bin: receptive fields must be < the R-size bin (the released code) instead
            of ≤ it (the paper).
        pool_rounding: whether the agent's R-size after pooling is rounded as Caffe does, "ceil",
            or as the released code does, "floor".
        initial_pooling: whether the first layer may be pooling.
        gap: global average pooling as a type of "termination" (the paper) or as a "layer" that
            takes up one depth and that softmax follows (the released code).
        gap_after_fc: whether GAP may follow FC (unstated in the paper).
        fc_sees_bin: whether an FC state carries the bin of the image before it while sampling;
            replays then use bin 1 for it and for GAP, so that the values met while sampling in
            other bins never change (the released code).
    """

    depth: int
    image: int
    classes: int = 10
    filters: tuple[int, ...] = (64, 128, 256, 512)
    sizes: tuple[int, ...] = (1, 3, 5)
    pools: tuple[tuple[int, int], ...] = ((5, 3), (3, 2), (2, 2))
    fully_connected: tuple[int, ...] = (512, 256, 128)
    max_fully_connected: int = 2
    smaller_than_bin: bool = False
    pool_rounding: Literal["ceil", "floor"] = "ceil"
    initial_pooling: bool = False
    gap: Literal["termination", "layer"] = "termination"
    gap_after_fc: bool = False
    fc_sees_bin: bool = False


Kind = Literal["start", "C", "P", "FC", "GAP"]


@dataclass(frozen=True)
class State:
    """What the agent sees: the last layer placed.

    Attributes:
        kind: its type; `start` before the first layer.
        depth: layers placed so far.
        numbers: C: (filters, size); P: (size, stride); FC: (consecutive FC layers, neurons).
        bin: lower end of the R-size's bin, 8, 4 or 1; 0 where the state has none (FC). A GAP
            layer's state keeps the bin of its input.
    """

    kind: Kind
    depth: int
    numbers: tuple[int, ...] = ()
    bin: int = 0

    def __str__(self) -> str:
        inside = ",".join(map(str, self.numbers))
        size = f" R{self.bin}" if self.bin else ""
        return f"{self.depth} {self.kind}({inside}){size}"


@dataclass(frozen=True)
class Node:
    """A state with the hidden true R-size."""

    state: State
    size: int


def replayed(state: State, rules: SpaceRules) -> State:
    """The state whose values a replay updates: the same, but for the released code's aliasing."""
    if rules.fc_sees_bin and state.kind in ("FC", "GAP"):
        return dataclasses.replace(state, bin=1)
    return state


class NotInSpaceError(ValueError):
    """An architecture breaks a rule of the space; the message names the layer and the rule."""


def size_bin(size: int) -> int:
    """The R-size bin of Table 1: 8 for [8, ∞), 4 for [4, 8), 1 for [1, 4)."""
    return 8 if size >= 8 else 4 if size >= 4 else 1


def is_termination(action: Layer, rules: SpaceRules) -> bool:
    """Whether an action ends the architecture."""
    if isinstance(action, GlobalAveragePooling):
        return rules.gap == "termination"
    return isinstance(action, Softmax)


def legal_actions(state: State, rules: SpaceRules) -> tuple[Layer, ...]:
    """The layers that may follow a state, in a fixed order: C, P, FC, then terminations."""
    softmax, gap = Softmax(rules.classes), GlobalAveragePooling(rules.classes)
    if state.kind == "GAP":
        return (softmax,)
    actions: list[Layer] = []
    deeper = state.depth < rules.depth
    image = state.kind != "FC"
    limit = state.bin - 1 if rules.smaller_than_bin else state.bin
    if deeper and image:
        actions += [Convolution(d, f, 1) for d in rules.filters for f in rules.sizes if f <= limit]
        if state.kind == "C" or (state.kind == "start" and rules.initial_pooling):
            actions += [Pooling(f, s) for f, s in rules.pools if f <= limit]
        if state.bin <= 4:
            actions += [FullyConnected(n) for n in rules.fully_connected]
    elif deeper:
        count, neurons = state.numbers
        if count < rules.max_fully_connected:
            actions += [FullyConnected(n) for n in rules.fully_connected if n <= neurons]
    if (image or rules.gap_after_fc) and (deeper or rules.gap == "termination"):
        actions.append(gap)
    actions.append(softmax)
    return tuple(actions)


def successor(node: Node, action: Layer, rules: SpaceRules) -> Node:
    """Where an action that is no termination leads."""
    state, size = node.state, node.size
    depth = state.depth + 1
    match action:
        case Convolution(filters, field, _):
            return Node(State("C", depth, (filters, field), size_bin(size)), size)
        case Pooling(field, stride):
            if rules.pool_rounding == "ceil":
                after = pooling_size(size, field, stride)
            else:
                after = (size - field) // stride + 1
            return Node(State("P", depth, (field, stride), size_bin(after)), after)
        case FullyConnected(neurons):
            count = state.numbers[0] + 1 if state.kind == "FC" else 1
            seen = size_bin(size) if rules.fc_sees_bin else 0
            return Node(State("FC", depth, (count, neurons), seen), size)
        case GlobalAveragePooling():
            return Node(State("GAP", depth, (), size_bin(size)), size)
    raise ValueError(f"{action} leads to no state")


@dataclass(frozen=True)
class SpaceCounts:
    """Sizes of a space: reachable non-terminal states, legal pairs of state and action, pairs
    whose next state depends on the hidden R-size, and architectures."""

    states: int
    pairs: int
    stochastic_pairs: int
    architectures: int


class SearchSpace:
    """The reachable states and their actions, numbered; states that only replays see come last.

    A Q-value's index is `offsets[s] + a` for action a of state s; `offsets` has one entry more
    than there are states. The numbering is a breadth-first search from the start and depends on
    the rules alone.
    """

    def __init__(self, rules: SpaceRules) -> None:
        self.rules = rules
        self.start = Node(State("start", 0, (), size_bin(rules.image)), rules.image)
        self.states: list[State] = []
        self.actions: list[tuple[Layer, ...]] = []
        self.offsets: list[int] = [0]
        self._index: dict[State, int] = {}
        self._nodes = self._explore()

    def _explore(self) -> list[Node]:
        nodes, seen = [self.start], {self.start}
        for node in nodes:
            self._number(node.state)
            for action in legal_actions(node.state, self.rules):
                if not is_termination(action, self.rules):
                    after = successor(node, action, self.rules)
                    if after not in seen:
                        seen.add(after)
                        nodes.append(after)
        for state in list(self.states):
            self._number(replayed(state, self.rules))
        return nodes

    def _number(self, state: State) -> None:
        if state not in self._index:
            actions = legal_actions(state, self.rules)
            self._index[state] = len(self.states)
            self.states.append(state)
            self.actions.append(actions)
            self.offsets.append(self.offsets[-1] + len(actions))

    @property
    def pairs(self) -> int:
        """Pairs of a numbered state and a legal action: the length of a Q table."""
        return self.offsets[-1]

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

    def walk(self, architecture: Architecture) -> list[tuple[Node, int]]:
        """The nodes and the numbers of the actions that lead to an architecture.

        Dropout layers are passed over: they are a function of the others.

        Raises:
            NotInSpaceError: naming the first layer that the space does not allow, and why.
        """
        layers = list(architecture.without_dropout().layers)
        if self.rules.gap == "termination" and self._ends_in_gap(architecture):
            layers.pop()
        node, steps = self.start, []
        for position, layer in enumerate(layers, start=1):
            actions = self.actions[self.index(node.state)]
            if layer not in actions:
                raise NotInSpaceError(
                    f"layer {position}, {layer}: {broken_rule(node, layer, self.rules)}"
                )
            steps.append((node, actions.index(layer)))
            if not is_termination(layer, self.rules):
                node = successor(node, layer, self.rules)
        return steps

    @staticmethod
    def _ends_in_gap(architecture: Architecture) -> bool:
        return any(isinstance(layer, GlobalAveragePooling) for layer in architecture)

    def counts(self) -> SpaceCounts:
        """Count what sampling can reach, exactly."""
        states = {node.state for node in self._nodes}
        pairs = sum(len(legal_actions(state, self.rules)) for state in states)
        bins: dict[tuple[State, Layer], set[State]] = {}
        for node in self._nodes:
            for action in legal_actions(node.state, self.rules):
                if not is_termination(action, self.rules):
                    after = successor(node, action, self.rules).state
                    bins.setdefault((node.state, action), set()).add(after)
        stochastic = sum(len(after) > 1 for after in bins.values())

        @functools.cache
        def completions(node: Node) -> int:
            return sum(
                1
                if is_termination(action, self.rules)
                else completions(successor(node, action, self.rules))
                for action in legal_actions(node.state, self.rules)
            )

        return SpaceCounts(len(states), pairs, stochastic, completions(self.start))


def broken_rule(node: Node, layer: Layer, rules: SpaceRules) -> str:
    """Why a layer may not follow a node, in a few words."""
    state = node.state
    if state.kind == "GAP":
        return "only softmax follows global average pooling"
    if isinstance(layer, Softmax | GlobalAveragePooling) and layer.classes != rules.classes:
        return f"the data set has {rules.classes} classes"
    if state.depth >= rules.depth:
        return f"at depth {rules.depth} only a termination may follow"
    match layer:
        case GlobalAveragePooling():
            return "global average pooling may not follow FC"
        case FullyConnected(neurons):
            if neurons not in rules.fully_connected:
                return f"FC has {_one_of(rules.fully_connected)} neurons"
            if state.kind != "FC":
                return f"FC needs an R-size below 8, here it is {node.size}"
            if state.numbers[0] >= rules.max_fully_connected:
                return f"at most {rules.max_fully_connected} FC layers may follow each other"
            return f"FC may not grow from {state.numbers[1]} to {neurons} neurons"
        case Convolution() | Pooling() if state.kind == "FC":
            return "only FC or a termination follows FC"
        case Convolution(filters, field, stride):
            if stride != 1:
                return f"a convolution's stride is 1, not {stride}"
            if filters not in rules.filters:
                return f"a convolution has {_one_of(rules.filters)} filters, not {filters}"
            if field not in rules.sizes:
                return f"a convolution's receptive field is {_one_of(rules.sizes)}, not {field}"
        case Pooling(field, stride):
            if not rules.pools:
                return "the space has no pooling"
            if (field, stride) not in rules.pools:
                allowed = _one_of([f"({f},{s})" for f, s in rules.pools])
                return f"pooling's receptive field and stride are {allowed}"
            if state.kind == "P":
                return "pooling may not follow pooling"
            if state.kind == "start" and not rules.initial_pooling:
                return "pooling may not come first"
    relation = "<" if rules.smaller_than_bin else "≤"
    return f"the receptive field must be {relation} the R-size bin {state.bin} (R-size {node.size})"


def _one_of(values: Sequence[object]) -> str:
    *head, last = map(str, values)
    return f"{', '.join(head)} or {last}" if head else last
