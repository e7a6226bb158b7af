"""A pickle reader that can build arrays, containers, text and numbers, and nothing else.

Data sets have been published as Python pickles (MNIST's mnist.pkl.gz, CIFAR's batches). The
standard unpickler runs whatever such a file says. This reader interprets the opcodes itself:
the few globals it knows are names it gives its own meaning, it never imports or calls anything
the file names, and every other global or opcode is refused. It reads protocols 0 to 5 as
Python 2 and 3 write them; Python 2's `str` comes back as bytes.

What the globals stand for is in `pickle_values`. Time and memory stay in proportion to the
file, whatever it refers to how often.
"""

import codecs
import struct
from collections.abc import Callable, Sequence
from typing import Any

from data_prep.errors import DataError
from data_prep.pickle_values import (
    RefusedError,
    build,
    known,
    name_of,
    reduce,
    resolved,
    shown,
)

MAX_STEPS = 2_000_000  # opcodes, each of which may make an object; CIFAR-100 takes some 200,000
MAX_KEYS = 10_000  # of a dictionary
LONGEST_INTEGER = 1024  # bytes: arithmetic on longer ones takes time
_MARK = object()


class _Reader:
    """The pickle machine: a stack, a memo, and one method or table entry per opcode."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.encoded: dict[int, tuple[str, bytes]] = {}

    def latin1(self, text: str) -> bytes:
        """The text as bytes: the same ones each time, however often the file asks for them."""
        if id(text) not in self.encoded:
            self.encoded[id(text)] = text, text.encode("latin-1")
        return self.encoded[id(text)][1]

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise RefusedError("a truncated pickle")
        self.at += count
        return piece

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self, encoding: str = "utf-8") -> str:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise RefusedError("a truncated pickle")
        return self.take(end + 1 - self.at)[:-1].decode(encoding)

    def quoted(self) -> bytes:
        """Protocol 0's string: a quoted Python 2 literal on a line of its own."""
        text = self.line().encode("utf-8")
        if len(text) < 2 or text[:1] not in (b"'", b'"') or text[:1] != text[-1:]:
            raise RefusedError("a string without its quotes")
        return codecs.escape_decode(text[1:-1])[0]

    def since_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise RefusedError("a malformed pickle")

    def put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        """APPEND and APPENDS: onto the list below."""
        if not isinstance(self.stack[-1], list):
            raise RefusedError("items appended to no list")
        self.stack[-1].extend(items)

    def update(self, items: Sequence[Any]) -> None:
        """SETITEM and SETITEMS: into the dictionary below."""
        if not isinstance(self.stack[-1], dict):
            raise RefusedError("items set in no dictionary")
        _set_items(self.stack[-1], items)

    def dictionary(self) -> dict[Any, Any]:
        """DICT: of what has come since the mark."""
        made: dict[Any, Any] = {}
        _set_items(made, self.since_mark())
        return made

    def long(self, layout: str) -> int:
        """LONG1 and LONG4."""
        if (size := self.number(layout)) > LONGEST_INTEGER:
            raise RefusedError(f"an integer of {size} bytes")
        return int.from_bytes(self.take(size), "little", signed=True)

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise RefusedError("a malformed pickle")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.stack.append(items)

    def integer(self, text: str) -> Any:
        """Protocol 0's INT, in which 00 and 01 are False and True."""
        return text == "01" if text in ("00", "01") else int(text)

    def run(self) -> Any:
        for _ in range(MAX_STEPS):
            code = self.take(1)
            if code == b".":  # STOP
                return self.stack.pop()
            if literal := _LITERALS.get(code):
                self.stack.append(literal(self))
            elif action := _ACTIONS.get(code):
                action(self)
            else:
                raise RefusedError(f"the opcode {code!r} at byte {self.at - 1}")
        raise RefusedError(f"more than {MAX_STEPS} opcodes")

    def two(self) -> tuple[Any, Any]:
        second, first = self.stack.pop(), self.stack.pop()
        return first, second

    def proto(self) -> None:
        if (version := self.number("<B")) > 5:
            raise RefusedError(f"pickle protocol {version}")

    def build(self) -> None:
        target, state = self.two()
        build(target, state)
        self.stack.append(target)


def _set_items(target: dict[Any, Any], items: Sequence[Any]) -> None:
    """Set keys and values, which take turns in `items`."""
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, (bytes, str, int, float, type(None))) or len(target) >= MAX_KEYS:
            raise RefusedError(
                f"a dictionary of more than {MAX_KEYS} keys, or of other keys than text and numbers"
            )
        target[key] = value


# Opcodes that push one value. Names and layouts: Lib/pickletools.py of CPython.
_LITERALS: dict[bytes, Callable[[_Reader], Any]] = {
    b"(": lambda r: _MARK,
    b"N": lambda r: None,
    b"\x88": lambda r: True,
    b"\x89": lambda r: False,
    b"]": lambda r: [],
    b")": lambda r: (),
    b"}": lambda r: {},
    b"l": lambda r: r.since_mark(),
    b"t": lambda r: tuple(r.since_mark()),
    b"d": lambda r: r.dictionary(),
    b"I": lambda r: r.integer(r.line()),
    b"L": lambda r: int(r.line().rstrip("L")),
    b"J": lambda r: r.number("<i"),
    b"K": lambda r: r.number("<B"),
    b"M": lambda r: r.number("<H"),
    b"\x8a": lambda r: r.long("<B"),
    b"\x8b": lambda r: r.long("<I"),
    b"F": lambda r: float(r.line()),
    b"G": lambda r: r.number(">d"),
    b"S": lambda r: r.quoted(),
    b"T": lambda r: r.take(r.number("<I")),
    b"U": lambda r: r.take(r.number("<B")),
    b"B": lambda r: r.take(r.number("<I")),
    b"C": lambda r: r.take(r.number("<B")),
    b"\x8e": lambda r: r.take(r.number("<Q")),
    b"\x96": lambda r: r.take(r.number("<Q")),  # BYTEARRAY8, as bytes
    b"V": lambda r: r.line("raw_unicode_escape"),
    b"X": lambda r: r.take(r.number("<I")).decode("utf-8", "surrogatepass"),
    b"\x8c": lambda r: r.take(r.number("<B")).decode("utf-8", "surrogatepass"),
    b"\x8d": lambda r: r.take(r.number("<Q")).decode("utf-8", "surrogatepass"),
    b"c": lambda r: known(r.line(), r.line()),
    b"\x93": lambda r: known(*map(name_of, r.two())),
    b"R": lambda r: reduce(*r.two(), r.latin1),
    b"g": lambda r: r.memo[int(r.line())],
    b"h": lambda r: r.memo[r.number("<B")],
    b"j": lambda r: r.memo[r.number("<I")],
}

# Opcodes that change what is there.
_ACTIONS: dict[bytes, Callable[[_Reader], Any]] = {
    b"\x80": lambda r: r.proto(),
    b"\x95": lambda r: r.take(8),  # FRAME: only a hint
    b"0": lambda r: r.stack.pop(),
    b"1": lambda r: r.since_mark(),
    b"a": lambda r: r.extend([r.stack.pop()]),
    b"e": lambda r: r.extend(r.since_mark()),
    b"s": lambda r: r.update(r.two()),
    b"u": lambda r: r.update(r.since_mark()),
    b"\x85": lambda r: r.tuple_of(1),
    b"\x86": lambda r: r.tuple_of(2),
    b"\x87": lambda r: r.tuple_of(3),
    b"b": lambda r: r.build(),
    b"p": lambda r: r.put(int(r.line())),
    b"q": lambda r: r.put(r.number("<B")),
    b"r": lambda r: r.put(r.number("<I")),
    b"\x94": lambda r: r.put(len(r.memo)),
}


def load_arrays(content: bytes, origin: str) -> Any:
    """The value of an uncompressed pickle of arrays, containers, text and numbers.

    Arrays are read-only views of `content`'s copy. `origin` names the file in errors. Raises
    DataError on anything else the file asks for, and on a truncated or malformed file.
    """
    try:
        return resolved(_Reader(content).run(), {})
    except RefusedError as reason:
        raise DataError(f"{origin}: refused: it holds {reason}; use the original file") from None
    except (IndexError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        what = shown(str(error))
        raise DataError(
            f"{origin}: not a readable pickle ({what}); use the original file"
        ) from error
