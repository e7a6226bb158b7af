"""The paper's architecture notation, `[C(64,3,1), P(2,2), SM(10)]`, as typed values.

One class per layer type of the paper's section 4; `parse` and `str` are inverse to each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import pairwise


class NotationError(ValueError):
    """A text is no architecture. The message shows the text and points at the character.

    Attributes:
        position: zero-based index of the offending character in the text.
    """

    def __init__(self, text: str, position: int, problem: str) -> None:
        super().__init__(f"{problem} at character {position + 1}\n  {text}\n  {' ' * position}^")
        self.position = position


@dataclass(frozen=True)
class _Layer:
    """A layer's fields are its numbers, in the order in which the notation writes them."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{_symbol(self)}: {field.name} must be at least 1, not {value}")

    def __str__(self) -> str:
        numbers = ",".join(map(str, vars(self).values()))
        return f"{_symbol(self)}({numbers})"


@dataclass(frozen=True)
class Convolution(_Layer):
    """`C(d,f,s)`: d filters of receptive field f×f, stride s, and a nonlinearity."""

    filters: int
    size: int
    stride: int


@dataclass(frozen=True)
class Pooling(_Layer):
    """`P(f,s)`: max pooling over f×f, stride s."""

    size: int
    stride: int


@dataclass(frozen=True)
class FullyConnected(_Layer):
    """`FC(n)`: n neurons and a nonlinearity."""

    neurons: int


@dataclass(frozen=True)
class GlobalAveragePooling(_Layer):
    """`GAP(n)`: a 1×1 convolution to n channels, each averaged over the whole image."""

    classes: int


@dataclass(frozen=True)
class Softmax(_Layer):
    """`SM(n)`: softmax over n classes; ends every architecture."""

    classes: int


@dataclass(frozen=True)
class Dropout(_Layer):
    """`D(i,n)`: the i-th of n dropout layers, with dropout ratio i/2n (paper, section 5)."""

    index: int
    count: int

    @property
    def ratio(self) -> Fraction:
        """The probability of dropping a unit."""
        return Fraction(self.index, 2 * self.count)


Layer = Convolution | Pooling | FullyConnected | GlobalAveragePooling | Softmax | Dropout

_TYPES: dict[str, type[Layer]] = {
    "C": Convolution,
    "P": Pooling,
    "FC": FullyConnected,
    "GAP": GlobalAveragePooling,
    "SM": Softmax,
    "D": Dropout,
}
_SYMBOLS: dict[type[_Layer], str] = {cls: symbol for symbol, cls in _TYPES.items()}


def _symbol(layer: _Layer) -> str:
    return _SYMBOLS[type(layer)]


_NO_END = "an architecture ends in SM(classes)"


def _misfit(layer: Layer, successor: Layer) -> str | None:
    """Why one layer may not follow another, if it may not."""
    if isinstance(layer, Softmax):
        return f"no layer may follow {layer}"
    if isinstance(layer, GlobalAveragePooling) and not isinstance(successor, Softmax):
        return f"only SM may follow {layer}, not {successor}"
    return None


@dataclass(frozen=True)
class Architecture:
    """A chain of layers from the image to the softmax.

    Raises:
        ValueError: if the chain does not end in its only SM, or GAP is not right before it.
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not self.layers or not isinstance(self.layers[-1], Softmax):
            raise ValueError(_NO_END)
        for layer, successor in pairwise(self.layers):
            if problem := _misfit(layer, successor):
                raise ValueError(problem)

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.layers))}]"

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def classes(self) -> int:
        """The number of classes that the softmax tells apart."""
        return next(x.classes for x in self.layers if isinstance(x, Softmax))

    def without_dropout(self) -> Architecture:
        """The same chain without its dropout layers: what the agent samples."""
        return Architecture(tuple(x for x in self.layers if not isinstance(x, Dropout)))


_NAME = re.compile(r"[A-Za-z]+")
_NUMBER = re.compile(r"[0-9]+")


class _Scanner:
    """Reads tokens off a text; `position` is where the next one starts."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def peek(self) -> str:
        while self.position < len(self.text) and self.text[self.position].isspace():
            self.position += 1
        return self.text[self.position : self.position + 1]

    def expect(self, characters: str, after: str) -> str:
        found = self.peek()
        if not found or found not in characters:
            wanted = " or ".join(f"'{c}'" for c in characters)
            raise self.error(f"expected {wanted} {after}, found {_shown(found)}")
        self.position += 1
        return found

    def match(self, pattern: re.Pattern[str], wanted: str) -> str:
        found = self.peek()
        match = pattern.match(self.text, self.position)
        if not match:
            raise self.error(f"expected {wanted}, found {_shown(found)}")
        self.position = match.end()
        return match.group()

    def error(self, problem: str, position: int | None = None) -> NotationError:
        return NotationError(self.text, self.position if position is None else position, problem)


def _shown(character: str) -> str:
    return f"'{character}'" if character else "the end of the text"


def _parse_layer(scanner: _Scanner) -> Layer:
    scanner.peek()
    start = scanner.position
    name = scanner.match(_NAME, f"a layer ({', '.join(_TYPES)})")
    if name not in _TYPES:
        raise scanner.error(f"unknown layer '{name}' (there are {', '.join(_TYPES)})", start)
    cls = _TYPES[name]
    names = [field.name for field in fields(cls)]
    scanner.expect("(", f"after {name}")
    numbers: list[int] = []
    for i, field in enumerate(names):
        scanner.peek()
        at = scanner.position
        digits = scanner.match(_NUMBER, f"the {field} of {name}")
        if len(digits) > 9 or int(digits) < 1:
            raise scanner.error(f"the {field} of {name} must be in 1..999999999, not {digits}", at)
        numbers.append(int(digits))
        last = i == len(names) - 1
        scanner.expect(")" if last else ",", f"after the {field} of {name}")
    return cls(*numbers)


def parse(text: str) -> Architecture:
    """Read an architecture, e.g. `[C(64,3,1), P(2,2), SM(10)]`; blanks are free.

    Raises:
        NotationError: pointing at the first character that does not fit.
    """
    scanner = _Scanner(text)
    scanner.expect("[", "at the start of an architecture")
    layers: list[Layer] = []
    while True:
        scanner.peek()
        start = scanner.position
        layer = _parse_layer(scanner)
        if layers and (problem := _misfit(layers[-1], layer)):
            raise scanner.error(problem, start)
        layers.append(layer)
        if scanner.expect(",]", f"after {layer}") == "]":
            break
    if not isinstance(layers[-1], Softmax):
        raise scanner.error(_NO_END, scanner.position - 1)
    if scanner.peek():
        raise scanner.error(f"nothing may follow the architecture, found {_shown(scanner.peek())}")
    return Architecture(tuple(layers))
