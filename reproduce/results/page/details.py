"""What each training left: its files, linked and as text; how the page packs what can be opened.

A page of 2,700 trials holds their prototxts and what matters of their logs. As gzip in base64, in
chunks that the page unpacks when one of their trials is opened, they take a small part of that.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

CHUNK = 25
"""Trainings or claims that are packed together: what they have in common is packed once."""
PROTOTXT_BYTES, LOG_BYTES = 1 << 16, 1 << 20
"""What is read of a file at most: a prototxt's beginning, a log's end."""
LOG_LINES, LAST_LINES = 80, 12
"""What a page holds of a log: at most so many lines, its last ones among them."""

_LOG = re.compile(r"caffe_([0-9]+)_([0-9]+)\.log")
_TELLING = re.compile(r"Iteration \d+, Testing net|Test net output #|Iteration \d+.*, loss = ")


@dataclass(frozen=True)
class TrainingFile:
    """A file of a training.

    Attributes:
        name: its name in the training's folder.
        href: a link to it from the page; empty where there is none.
        text: what the page holds of it; of a prototxt all, but for one of absurd size.
        whole: whether that is all of it.
    """

    name: str
    href: str
    text: str
    whole: bool


@dataclass(frozen=True)
class Training:
    """A trial or a final training, as the page shows it when it is opened.

    Attributes:
        key: what the page knows it by.
        facts: labels and values.
        drawing: of the net, an `<svg>`; empty where the net cannot be drawn.
    """

    key: str
    title: str
    architecture: str
    facts: tuple[tuple[str, str], ...]
    drawing: str
    files: tuple[TrainingFile, ...]


def training_files(folder: Path, page_folder: Path) -> tuple[TrainingFile, ...]:
    """The prototxts and logs in a training's folder, as they are now; none if there is none."""
    return tuple(_files(folder, page_folder))


def _files(folder: Path, page_folder: Path) -> Iterator[TrainingFile]:
    names = [path.name for path in folder.glob("*.prototxt")]
    logs = sorted(
        (int(match[1]), int(match[2]), match[0])
        for path in folder.glob("caffe_*.log")
        if (match := _LOG.fullmatch(path.name))
    )
    for name in (*sorted(names), *(name for _, _, name in logs)):
        path = folder / name
        with contextlib.suppress(OSError):  # the driver may have removed it meanwhile
            text, whole = _log(path) if name.endswith(".log") else _prototxt(path)
            yield TrainingFile(name, quote(os.path.relpath(path, page_folder)), text, whole)


def _prototxt(path: Path) -> tuple[str, bool]:
    with path.open("rb") as file:
        content = file.read(PROTOTXT_BYTES)
        return content.decode(errors="replace"), not file.read(1)


def _log(path: Path) -> tuple[str, bool]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LOG_BYTES))
        return log_excerpt(file.read().decode(errors="replace"))


def log_excerpt(text: str) -> tuple[str, bool]:
    """The lines of tests and losses, and the last lines; a line `…` for each gap.

    Returns:
        The excerpt, of at most `LOG_LINES` lines and a gap before each, and whether it is the
        whole text.
    """
    lines = text.splitlines()
    last = len(lines) - LAST_LINES
    kept = [i for i, line in enumerate(lines) if i >= last or _TELLING.search(line)][-LOG_LINES:]
    out, following = [], 0
    for i in kept:
        if i != following:
            out.append("…")
        out.append(lines[i])
        following = i + 1
    return "\n".join(out), len(kept) == len(lines)


class Opened(Protocol):
    """A dataclass of plain data that the page shows when it is opened."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def key(self) -> str:
        """What the page knows it by."""


def pack(details: Sequence[Opened]) -> Iterator[tuple[str, str]]:
    """Chunks of details: their keys, between blanks, and JSON as gzip in base64."""
    for start in range(0, len(details), CHUNK):
        chunk = details[start : start + CHUNK]
        plain = {one.key: asdict(one) for one in chunk}
        packed = gzip.compress(json.dumps(plain, ensure_ascii=False).encode(), mtime=0)
        yield " ".join(one.key for one in chunk), base64.b64encode(packed).decode()
