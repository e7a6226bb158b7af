"""What an audit is given, and what its inputs resolve to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class NoEvidenceError(Exception):
    """Data that a claim rests on is not here; the message says how to get it."""


@dataclass(frozen=True)
class Context:
    """What the user brings to an audit.

    Attributes:
        authors_data: the folder with the authors' own data, if there is one.
        runs: folders of runs that have measured something.
        rivals: the folder of a study of searches on the surrogate.
    """

    authors_data: Path | None = None
    runs: tuple[Path, ...] = ()
    rivals: Path | None = None


@dataclass(frozen=True)
class Evidence:
    """Plain data (numbers, texts, lists and tables of them), and where it stands.

    Attributes:
        value: the data.
        links: `path`, or `path:line`; of files of the package, from its root.
    """

    value: Any
    links: tuple[str, ...]


def link_to(path: Path, line: int | None = None) -> str:
    """A file of the package, from its root, and a line of it."""
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
    return f"{name}:{line}" if line else name


@lru_cache(maxsize=1024)
def line_of(path: Path, pattern: str) -> str:
    """A link to the first line of a file that a pattern matches at its start."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if re.match(pattern, line):
            return link_to(path, number)
    return link_to(path)
