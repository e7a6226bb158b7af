"""A pickle reader that can build arrays, containers, text and numbers, and nothing else.

Data sets have been published as Python pickles (MNIST's mnist.pkl.gz, CIFAR's batches). The
standard unpickler runs whatever such a file says. This reader interprets the opcodes itself:
the few globals it knows are names it gives its own meaning, it never imports or calls anything
the file names, and every other global or opcode is refused. It reads protocols 0 to 5 as
Python 2 and 3 write them; Python 2's `str` comes back as bytes.
"""

import codecs
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from data_prep.errors import DataError

MAX_DEPTH = 32
_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_BUILTINS = ("__builtin__", "builtins")


class _RefusedError(Exception):
    """Why the file is not read."""


@dataclass(frozen=True)
class _Global:
    """A name this reader knows; it stands for itself and is no Python object of that name."""

    name: str


@dataclass
class _Type:
    """A numpy dtype in the making: REDUCE gives its code, BUILD its byte order."""

    code: str
    order: str = "="

    def dtype(self) -> np.dtype[Any]:
        if self.code[:1] not in ("b", "u", "i", "f") or not self.code[1:].isdigit():
            raise _RefusedError(f"an array of element type {self.code!r}")
        try:
            return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise _RefusedError(f"an array of element type {self.order}{self.code}") from error


@dataclass
class _Array:
    """A numpy array in the making: REDUCE makes it empty, BUILD fills it."""

    value: np.ndarray[Any, Any] | None = None


_MARK = object()


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _filled(data: Any, kind: Any, shape: Any, *, fortran: bool) -> np.ndarray[Any, Any]:
    """The array of a dtype in the making whose memory is `data`."""
    if isinstance(data, str):  # Python 2's bytes, through a protocol without bytes
        data = data.encode("latin-1")
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if not isinstance(kind, _Type) or not isinstance(data, bytes):
        raise _RefusedError("an array that is not plain numbers")
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise _RefusedError(f"an array of shape {shape!r}")
    dtype = kind.dtype()
    if prod(sizes) * dtype.itemsize != len(data):
        raise _RefusedError(f"an array of shape {sizes} with {len(data)} bytes of {dtype}")
    return np.frombuffer(data, dtype).reshape(sizes, order="F" if fortran else "C")


def _reduce(function: Any, args: Any) -> Any:
    """What calling a known global with `args` stands for."""
    if not isinstance(function, _Global) or not isinstance(args, tuple):
        raise _RefusedError("a call of something that is no known function")
    match function.name, args:
        case "reconstruct", (_Global("ndarray"), _, _):
            return _Array()
        case "dtype", (code, *_):
            return _Type(_text(code))
        case "scalar", (_Type() as kind, data):
            return _filled(data, kind, (), fortran=False)[()]
        case "frombuffer", (data, kind, shape, order):
            return _Array(_filled(data, kind, shape, fortran=_text(order) == "F"))
        case "encode", (str() as text, encoding) if _text(encoding) in ("latin1", "latin-1"):
            return text.encode("latin-1")
        case "bytes", ():
            return b""
    raise _RefusedError(f"a call of {function.name} with unknown arguments")


def _build(target: Any, state: Any) -> None:
    """Give a dtype its byte order, or an array its memory, in place."""
    match target, state:
        case _Type(), (_, order, None, None, None, *_) if _text(order) in ("<", ">", "|", "="):
            target.order = _text(order)
        case _Array(value=None), (_, shape, kind, fortran, data):
            target.value = _filled(data, kind, shape, fortran=bool(fortran))
        case _:
            raise _RefusedError("a state set on something that is no array")


def _known(module: str, name: str) -> _Global:
    match module, name:
        case m, "_reconstruct" if m in _CORES:
            return _Global("reconstruct")
        case m, "scalar" if m in _CORES:
            return _Global("scalar")
        case m, "_frombuffer" if m in _NUMERIC:
            return _Global("frombuffer")
        case "numpy", ("ndarray" | "dtype"):
            return _Global(name)
        case "_codecs", "encode":
            return _Global("encode")
        case m, "bytes" if m in _BUILTINS:
            return _Global("bytes")
    raise _RefusedError(f"the global {module}.{name}")


class _Reader:
    """The pickle machine: a stack, a memo, and one method or table entry per opcode."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise _RefusedError("a truncated pickle")
        self.at += count
        return piece

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self, encoding: str = "utf-8") -> str:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise _RefusedError("a truncated pickle")
        return self.take(end + 1 - self.at)[:-1].decode(encoding)

    def quoted(self) -> bytes:
        """Protocol 0's string: a quoted Python 2 literal on a line of its own."""
        text = self.line().encode("utf-8")
        if len(text) < 2 or text[:1] not in (b"'", b'"') or text[:1] != text[-1:]:
            raise _RefusedError("a string without its quotes")
        return codecs.escape_decode(text[1:-1])[0]

    def since_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise _RefusedError("a malformed pickle")

    def put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        """APPEND and APPENDS: onto the list below."""
        if not isinstance(self.stack[-1], list):
            raise _RefusedError("items appended to no list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        """SETITEM and SETITEMS: into the dictionary below."""
        if not isinstance(self.stack[-1], dict):
            raise _RefusedError("items set in no dictionary")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise _RefusedError("a malformed pickle")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.stack.append(items)

    def integer(self, text: str) -> Any:
        """Protocol 0's INT, in which 00 and 01 are False and True."""
        return text == "01" if text in ("00", "01") else int(text)

    def run(self) -> Any:
        while True:
            code = self.take(1)
            if code == b".":  # STOP
                return self.stack.pop()
            if literal := _LITERALS.get(code):
                self.stack.append(literal(self))
            elif action := _ACTIONS.get(code):
                action(self)
            else:
                raise _RefusedError(f"the opcode {code!r} at byte {self.at - 1}")

    def two(self) -> list[Any]:
        second, first = self.stack.pop(), self.stack.pop()
        return [first, second]

    def proto(self) -> None:
        if (version := self.number("<B")) > 5:
            raise _RefusedError(f"pickle protocol {version}")

    def build(self) -> None:
        target, state = self.two()
        _build(target, state)
        self.stack.append(target)


def _long(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


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
    b"d": lambda r: dict(zip(*[iter(r.since_mark())] * 2, strict=True)),
    b"I": lambda r: r.integer(r.line()),
    b"L": lambda r: int(r.line().rstrip("L")),
    b"J": lambda r: r.number("<i"),
    b"K": lambda r: r.number("<B"),
    b"M": lambda r: r.number("<H"),
    b"\x8a": lambda r: _long(r.take(r.number("<B"))),
    b"\x8b": lambda r: _long(r.take(r.number("<I"))),
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
    b"c": lambda r: _known(r.line(), r.line()),
    b"\x93": lambda r: _known(*map(_text, r.two())),
    b"R": lambda r: _reduce(*r.two()),
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


def _resolved(value: Any, seen: dict[int, Any], depth: int = 0) -> Any:
    """The value with every finished array in place of the one in the making."""
    if depth > MAX_DEPTH:
        raise _RefusedError(f"containers nested deeper than {MAX_DEPTH}, or a cycle")
    if id(value) in seen:
        return seen[id(value)]
    result = value
    match value:
        case _Array(value=array) if array is not None:
            result = array
        case list():
            result = [_resolved(item, seen, depth + 1) for item in value]
        case tuple():
            result = tuple(_resolved(item, seen, depth + 1) for item in value)
        case dict():
            result = {
                _resolved(key, seen, depth + 1): _resolved(item, seen, depth + 1)
                for key, item in value.items()
            }
        case None | bool() | int() | float() | bytes() | str() | np.generic():
            pass
        case _:
            raise _RefusedError("something that is no array, container, text or number")
    seen[id(value)] = result
    return result


def load_arrays(content: bytes, origin: str) -> Any:
    """The value of an uncompressed pickle of arrays, containers, text and numbers.

    Arrays are read-only views of `content`'s copy. `origin` names the file in errors. Raises
    DataError on anything else the file asks for, and on a truncated or malformed file.
    """
    try:
        return _resolved(_Reader(content).run(), {})
    except _RefusedError as reason:
        raise DataError(f"{origin}: refused: it holds {reason}; use the original file") from None
    except (IndexError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise DataError(
            f"{origin}: not a readable pickle ({error}); use the original file"
        ) from error
