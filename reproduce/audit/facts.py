"""Facts of the sources that are in no other file of the package: `facts/*.toml`, `web_page.csv`.

A fact is a table. `where` says where the source says it, all else are values; one that has but
`value` is that value.
"""

from __future__ import annotations

import csv
import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from reproduce.audit.context import Evidence, line_of, link_to

FOLDER = Path(__file__).parent / "facts"
WEB_PAGE = FOLDER / "web_page.csv"


@lru_cache
def _all() -> dict[str, tuple[dict[str, Any], str]]:
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        for name, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
            if name in found:
                raise ValueError(f"two facts are called {name!r}")
            found[name] = table, line_of(path, rf"\[{re.escape(name)}[].]")
    return found


def fact(name: str) -> Evidence:
    """A fact's values, without their places.

    Raises:
        KeyError: if there is no such fact.
    """
    table, link = _all()[name]
    values = _without_places(table)
    return Evidence(values["value"] if list(values) == ["value"] else values, (link,))


def places_of(name: str) -> list[str]:
    """Where sources say a fact: one place, or one for each sub-table.

    Raises:
        KeyError: if there is no such fact.
    """
    table, _ = _all()[name]
    nested = [one for one in table.values() if isinstance(one, dict)]
    return [str(one["where"]) for one in (table, *nested) if "where" in one]


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(one) for key, one in value.items() if key != "where"}
    return [_without_places(one) for one in value] if isinstance(value, list) else value


def web_page() -> Evidence:
    """The entries of the web page: the file that each links to, and what it shows for it."""
    with WEB_PAGE.open(encoding="utf-8", newline="") as file:
        rows = [
            {
                "file": row["file"],
                "error": float(row["error"]),
                "architecture": row["architecture"],
                "dropout": [float(ratio) / 100 for ratio in row["dropout"].split()],
            }
            for row in csv.DictReader(file)
        ]
    return Evidence(rows, (link_to(WEB_PAGE),))
