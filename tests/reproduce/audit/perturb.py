"""Perturbs plain data in general ways: numbers scaled and moved, rows swapped, texts changed.

Nothing here knows a check. Besides its own inputs a perturbation may use the numbers of the
finding, and inputs of other claims by the same check.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]

FACTORS = (0.5, 0.1, 2.0, 10.0, 0.75, 1.25, 1.1, 0.98, 0.0, -1.0)
MOST = 12
"""Places of one input that are perturbed one by one: those of a long table are spread over it."""


def mutants(
    inputs: dict[str, Any], numbers: list[Any], others: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Changed copies of a check's inputs: one input after the other, then rows selected first.

    Args:
        inputs: by the names of the check's arguments.
        numbers: of the finding.
        others: inputs of other claims by the same check, exchanged one by one and as a whole.
    """
    pool = [*numbers, *(value for one in inputs.values() for _, value in leaves(one))]
    for other in others:
        yield from ({**inputs, name: one} for name, one in other.items())
        yield dict(other)
    for name in inputs:
        yield from ({**inputs, name: one} for one in changes(inputs[name], pool, numbers))
    for name, value in inputs.items():
        for fewer in selections(value):
            for second in inputs:
                first = {**inputs, name: fewer}
                for one in changes(first[second], pool, numbers):
                    yield {**first, second: one}


def selections(value: Any) -> Iterator[list[Any]]:
    """Some rows of a table: one, or those that agree in a column."""
    if isinstance(value, list):
        yield from ([row] for row in spread(value, 4))
        if value and isinstance(value[0], dict):
            for key, first in value[0].items():
                yield [row for row in value if row.get(key) == first]


def changes(value: Any, pool: list[Any], numbers: list[Any]) -> Iterator[Any]:
    """Changed copies of one input; `pool` has values that may be copied over its own.

    It is also scaled so that a number of the finding would be 1, or 100.
    """
    found = spread(list(leaves(value)))
    for path, leaf in found:
        for other in changed_leaf(leaf):
            yield replaced(value, path, other)
    for path, leaf in found:
        for other in spread(list(dict.fromkeys(x for x in pool if like(x, leaf)))):
            if other != leaf:
                yield replaced(value, path, other)
    for path, rows in containers(value):
        for other in changed_rows(rows):
            yield replaced(value, path, other)
    found_numbers = [x for x in spread(numbers) if isinstance(x, int | float) and x]
    for factor in (*FACTORS, *(top / x for x in found_numbers for top in (1, 100))):
        yield scaled(value, factor)
        yield from column(value, factor)


def column(rows: Any, factor: float) -> Iterator[list[Any]]:
    """A table with one column scaled."""
    if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
        for key, first in rows[0].items():
            if isinstance(first, int | float) and all(key in row for row in rows):
                yield [{**row, key: scaled(row[key], factor)} for row in rows]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every number and text with its place."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in items:
            yield from leaves(one, (*path, key))
    else:
        yield path, value


def containers(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every list and table with its place, the outermost first."""
    if isinstance(value, dict | list):
        yield path, value
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in spread(list(items)):
            yield from containers(one, (*path, key))


def changed_leaf(leaf: Any) -> Iterator[Any]:
    if isinstance(leaf, bool):
        yield not leaf
    elif isinstance(leaf, int | float):
        yield from (leaf + 1, leaf - 1, leaf + 0.01, leaf - 0.01)
        yield from (whole(leaf * factor, leaf) for factor in FACTORS)
    elif isinstance(leaf, str):
        for match in re.finditer(r"\d+", leaf):
            number = int(match[0])
            for other in (number + 1, 2 * number, max(1, number // 2)):
                yield f"{leaf[: match.start()]}{other}{leaf[match.end() :]}"
        parts = leaf.split(", ")
        for i in range(len(parts)):
            if len(parts) > 2:
                yield ", ".join([*parts[:i], *parts[i + 1 :]])
        yield f"{leaf} "
        yield ""
    else:
        yield 1.0


def changed_rows(rows: Any) -> Iterator[Any]:
    if isinstance(rows, list):
        for i in spread(list(range(len(rows)))):
            yield rows[:i] + rows[i + 1 :]
            yield [rows[i]]
            yield [*rows, rows[i]]
        yield rows[::-1]
        yield rows[: len(rows) // 2]
        yield rows[len(rows) // 2 :]
        yield []
        yield from columns(rows)
    else:
        for key in spread(list(rows)):
            yield {other: one for other, one in rows.items() if other != key}


def columns(rows: list[Any]) -> Iterator[list[Any]]:
    """One column of a table changed in all rows, or made the same in all."""
    if not rows or not all(isinstance(row, dict) for row in rows):
        return
    for key, first in rows[0].items():
        if not all(key in row for row in rows):
            continue
        yield [{**row, key: copy.deepcopy(first)} for row in rows]
        yield [{**row, key: other[key]} for row, other in zip(rows, rows[::-1], strict=True)]
        if isinstance(first, list):
            yield [{**row, key: []} for row in rows]


def scaled(value: Any, factor: float) -> Any:
    if isinstance(value, dict):
        return {key: scaled(one, factor) for key, one in value.items()}
    if isinstance(value, list):
        return [scaled(one, factor) for one in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return whole(value * factor, value) if number else value


def whole(number: float, like_this: float) -> float:
    """A whole number stays one."""
    return round(number) if isinstance(like_this, int) else number


def like(one: Any, other: Any) -> bool:
    numbers = (int, float)
    both = isinstance(one, numbers) and isinstance(other, numbers)
    return type(one) is type(other) or (both and bool not in (type(one), type(other)))


def replaced(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return {**value, key: replaced(value[key], tuple(rest), new)}
    return [*value[:key], replaced(value[key], tuple(rest), new), *value[int(key) + 1 :]]


def spread(items: list[Any], most: int = MOST) -> list[Any]:
    """At most so many, evenly spread."""
    if len(items) <= most:
        return items
    return [items[i * (len(items) - 1) // (most - 1)] for i in range(most)]
