"""What a pickle's globals and containers stand for to `array_pickle`: arrays and numbers.

Nothing here imports or calls what a file names. References let a small file describe a huge
value; containers are therefore never printed, hashed or copied per reference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

MAX_DEPTH = 32
MAX_DIMENSIONS = 32
LONGEST_NAME = 256
SHOWN = 80  # characters of the file's own text in an error
_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_ORDERS = ("<", ">", "|", "=")
_BUILTINS = ("__builtin__", "builtins")


class RefusedError(Exception):
    """Why the file is not read."""


@dataclass(frozen=True)
class Global:
    """A name this reader knows; it stands for itself and is no Python object of that name."""

    name: str


@dataclass
class PickledType:
    """A numpy dtype in the making: REDUCE gives its code, BUILD its byte order."""

    code: str
    order: str = "="

    def dtype(self) -> np.dtype[Any]:
        try:
            if self.code[:1] in ("b", "u", "i", "f") and self.code[1:].isdigit():
                return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            pass
        raise RefusedError(f"an array of element type {shown(self.order + self.code)}")


@dataclass
class PickledArray:
    """A numpy array in the making: REDUCE makes it empty, BUILD fills it."""

    value: np.ndarray[Any, Any] | None = None


def name_of(value: Any) -> str:
    """The name that `value`, Python 2's `str` or 3's, holds."""
    if isinstance(value, (bytes, str)) and len(value) <= LONGEST_NAME:
        return value.decode("latin-1") if isinstance(value, bytes) else value
    raise RefusedError("something else where a name should be")


def shown(text: str) -> str:
    """The file's own text, in one short line."""
    return ascii(text[:SHOWN])


def _filled(data: Any, kind: Any, shape: Any, *, fortran: bool) -> np.ndarray[Any, Any]:
    """The array of a dtype in the making whose memory is `data`."""
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if not isinstance(kind, PickledType) or not isinstance(data, bytes):
        raise RefusedError("an array that is not plain numbers")
    if len(sizes) > MAX_DIMENSIONS or not all(
        isinstance(size, int) and 0 <= size < 1 << 63 for size in sizes
    ):
        raise RefusedError("an array whose shape is none")
    dtype = kind.dtype()
    if prod(sizes) * dtype.itemsize != len(data):
        raise RefusedError(f"an array of shape {sizes} with {len(data)} bytes of {dtype}")
    return np.frombuffer(data, dtype).reshape(sizes, order="F" if fortran else "C")


def reduce(function: Any, args: Any, latin1: Callable[[str], bytes]) -> Any:
    """What calling a known global with `args` stands for; `latin1` encodes text."""
    if not isinstance(function, Global) or not isinstance(args, tuple):
        raise RefusedError("a call of something that is no known function")
    match function.name, args:
        case "reconstruct", (Global("ndarray"), _, _):
            return PickledArray()
        case "dtype", (code, *_):
            return PickledType(name_of(code))
        case "scalar", (PickledType() as kind, data):
            return _filled(data, kind, (), fortran=False)[()]
        case "frombuffer", (data, kind, shape, order):
            return PickledArray(_filled(data, kind, shape, fortran=name_of(order) == "F"))
        case "encode", (str() as text, encoding) if name_of(encoding) in ("latin1", "latin-1"):
            return latin1(text)
        case "bytes", ():
            return b""
    raise RefusedError(f"a call of {function.name} with unknown arguments")


def build(target: Any, state: Any) -> None:
    """Give a dtype its byte order, or an array its memory, in place."""
    match target, state:
        case PickledType(), (_, order, None, None, None, *_) if name_of(order) in (
            "<",
            ">",
            "|",
            "=",
        ):
            target.order = name_of(order)
        case PickledArray(value=None), (_, shape, kind, fortran, data):
            target.value = _filled(data, kind, shape, fortran=bool(fortran))
        case _:
            raise RefusedError("a state set on something that is no array")


def known(module: str, name: str) -> Global:
    """The global of that name, if it is one of the few; raises RefusedError."""
    match module, name:
        case m, "_reconstruct" if m in _CORES:
            return Global("reconstruct")
        case m, "scalar" if m in _CORES:
            return Global("scalar")
        case m, "_frombuffer" if m in _NUMERIC:
            return Global("frombuffer")
        case "numpy", ("ndarray" | "dtype"):
            return Global(name)
        case "_codecs", "encode":
            return Global("encode")
        case m, "bytes" if m in _BUILTINS:
            return Global("bytes")
    raise RefusedError(f"the global {shown(f'{module}.{name}')}")


def resolved(value: Any, seen: dict[int, Any], depth: int = 0) -> Any:
    """The value with every finished array in place of the one in the making."""
    if depth > MAX_DEPTH:
        raise RefusedError(f"containers nested deeper than {MAX_DEPTH}, or a cycle")
    if id(value) in seen:
        return seen[id(value)]
    result = value
    match value:
        case PickledArray(value=array) if array is not None:
            result = array
        case list():
            result = [resolved(item, seen, depth + 1) for item in value]
        case tuple():
            result = tuple(resolved(item, seen, depth + 1) for item in value)
        case dict():
            result = {key: resolved(item, seen, depth + 1) for key, item in value.items()}
        case None | bool() | int() | float() | bytes() | str() | np.generic():
            pass
        case _:
            raise RefusedError("something that is no array, container, text or number")
    seen[id(value)] = result
    return result
