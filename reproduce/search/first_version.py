"""The MNIST space of the paper's first version (arXiv v1, appendix C, Table A1).

Receptive fields and strides are halvings: f of the R-size n, the stride of f. There are no bins,
so no pair is stochastic, and appendix C lifts two limits of section 4.2: FC may follow any R-size,
and any number of FC layers each other. Where both are silent, section 4.2 holds, and
`FirstVersionRules` names every choice.

Table A1 and appendix C conflict on receptive fields and strides: the table has f = n/2^m with
m ≥ 2 and f/2^m with m ≥ 1, the text fields from 2 to n and strides from 1 to f. As the table is
printed the space holds none of the five nets that the same version publishes (Table A4); from
m ≥ 1 on, and by the text, it holds rows 1 and 3. P(10,4) on an R-size of 23 (rows 2 and 4) and
P(5,1) on one of 24 (row 5) are halvings of no kind.
"""

from __future__ import annotations

from dataclasses import dataclass

from prototxt_gen.notation import Convolution, FullyConnected, Layer, Pooling, Softmax
from prototxt_gen.shapes import Padding, convolution_size, pooling_size
from reproduce.search.rules import Node, State, one_of


def halvings(value: int, smallest: int) -> tuple[int, ...]:
    """value/2^m for every whole m from `smallest` to log2(value), rounded down and up."""
    exponents = range(smallest, value.bit_length())
    return tuple(sorted({x for m in exponents for x in (value >> m, -(-value >> m))}))


@dataclass(frozen=True)
class FirstVersionRules:
    """Table A1, for convolutions and pooling alike.

    States are (type, depth, parameters, R-size); FC carries its neurons alone, since consecutive
    FC layers are not counted.

    Attributes:
        image: height and width of the square input, in pixels.
        classes: classes of softmax, the only termination.
        depth: most layers before it: appendix C's maximum of 15, which Table A1 prints as "< 15".
        filters: a convolution's number of filters.
        fully_connected: an FC layer's neurons. Any number of FC layers may follow each other;
            that they never grow is section 4.2's rule, which Table A1 does not lift.
        smallest_halving: the least m of f = n/2^m: 2 as printed; 1 is needed by every published
            net that is a member at all.
        smallest_stride_halving: the least m of stride = f/2^m: 1 as printed, so that no stride
            equals f and there is no receptive field of 1. Every published net keeps to it.
        smallest_field: the least receptive field: 1 by the table, 2 by appendix C.

    Further choices that the paper leaves open: n/2^m and f/2^m are rounded both ways (with either
    rounding alone, row 1 of Table A4 is no member even from m ≥ 1 on: it needs 4 of 28/8 and 3 of
    7/2); convolutions are VALID, as the parameter counts of Table A4 suggest; pooling rounds as
    Caffe does; it follows neither pooling nor the image itself (section 4.2, and Table 1's
    preset).
    """

    image: int = 28
    classes: int = 10
    depth: int = 15
    filters: tuple[int, ...] = (60, 120, 240)
    fully_connected: tuple[int, ...] = (1000, 500, 250, 100, 50, 10)
    smallest_halving: int = 2
    smallest_stride_halving: int = 1
    smallest_field: int = 1

    @property
    def padding(self) -> Padding:
        """VALID: convolutions shrink the image."""
        return Padding.VALID

    def start(self) -> Node:
        """The whole image, before any layer."""
        return Node(State("start", 0, (), self.image), self.image)

    def ends(self, action: Layer) -> bool:
        """Softmax alone ends the architecture."""
        return isinstance(action, Softmax)

    def windows(self, size: int) -> tuple[tuple[int, int], ...]:
        """(receptive field, stride) of convolutions and pooling on an R-size."""
        fields = [f for f in halvings(size, self.smallest_halving) if f >= self.smallest_field]
        return tuple((f, s) for f in fields for s in halvings(f, self.smallest_stride_halving))

    def actions(self, state: State) -> tuple[Layer, ...]:
        """The layers that may follow a state, in a fixed order: C, P, FC, softmax."""
        actions: list[Layer] = []
        if state.depth < self.depth:
            if state.kind == "FC":
                (neurons,) = state.numbers
                actions += [FullyConnected(n) for n in self.fully_connected if n <= neurons]
            else:
                windows = self.windows(state.bin)
                actions += [Convolution(d, f, s) for d in self.filters for f, s in windows]
                if state.kind == "C":
                    actions += [Pooling(f, s) for f, s in windows]
                actions += [FullyConnected(n) for n in self.fully_connected]
        return (*actions, Softmax(self.classes))

    def successor(self, node: Node, action: Layer) -> Node:
        """Where a layer other than softmax leads."""
        depth, size = node.state.depth + 1, node.size
        match action:
            case Convolution(filters, field, stride):
                after = convolution_size(size, field, stride)
                return Node(State("C", depth, (filters, field, stride), after), after)
            case Pooling(field, stride):
                after = pooling_size(size, field, stride)
                return Node(State("P", depth, (field, stride), after), after)
            case FullyConnected(neurons):
                return Node(State("FC", depth, (neurons,)), 1)
        raise ValueError(f"{action} leads to no state")

    def replayed(self, state: State) -> State:
        """The state itself."""
        return state

    def why_not(self, node: Node, layer: Layer) -> str:
        """Why a layer may not follow a node, in a few words."""
        state = node.state
        if isinstance(layer, Softmax):
            return f"the data set has {self.classes} classes"
        if state.depth >= self.depth:
            return f"at depth {self.depth} only softmax may follow"
        match layer:
            case FullyConnected(neurons):
                if neurons not in self.fully_connected:
                    return f"FC has {one_of(self.fully_connected)} neurons, not {neurons}"
                return f"FC may not grow from {state.numbers[0]} to {neurons} neurons"
            case Convolution() | Pooling() if state.kind == "FC":
                return "only FC or softmax follows FC"
            case Convolution(filters, field, stride):
                if filters not in self.filters:
                    return f"a convolution has {one_of(self.filters)} filters, not {filters}"
                return self._wrong_window(node.size, field, stride)
            case Pooling(field, stride):
                if state.kind == "P":
                    return "pooling may not follow pooling"
                if state.kind == "start":
                    return "pooling may not come first"
                return self._wrong_window(node.size, field, stride)
        return f"the space has no layers like {layer}"

    def _wrong_window(self, size: int, field: int, stride: int) -> str:
        fields = sorted({f for f, _ in self.windows(size)})
        if not fields:
            return f"an R-size of {size} is too small for another window"
        if field not in fields:
            return f"on an R-size of {size} the receptive field is {one_of(fields)}, not {field}"
        strides = halvings(field, self.smallest_stride_halving)
        return f"with a receptive field of {field} the stride is {one_of(strides)}, not {stride}"
