"""Files that travel between the driver and the nodes: data sets out, trials' folders both ways.

A node keeps them in `<scratch>/data/<digest>` and `<scratch>/trials/<token>`; `prune` bounds how
long.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CHUNK = 16 * 2**20
"""Bytes of a data set that are on their way to a node at a time."""

KEEP_S = 7 * 86400.0
"""How long a node keeps the files of trials whose driver is gone, and data that no trial uses."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MARK = "caffe.mark"  # names processes of one machine
_LMDB_LOCK = "lock.mdb"  # so does this


class RayError(RuntimeError):
    """Ray, or a node, cannot run trials; the message says why and what to do."""


def trial_files(folder: Path) -> dict[str, bytes]:
    """The files of a trial's folder by name; none if the folder is missing."""
    if not folder.is_dir():
        return {}
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.name != _MARK and not path.name.startswith(".")
    }


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder hold these files alone. Killed at any instant, it is old, new or missing.

    Raises:
        RayError: if a name is not that of a plain file; nothing is written then.
        OSError: if the folder cannot be written; it then is as it was.
    """
    for name in files:
        if not _PLAIN_NAME.fullmatch(name):
            raise RayError(f"{folder} cannot hold a file named {name!r}")
    new, old = (folder.with_name(f".{folder.name}.{age}") for age in ("new", "old"))
    shutil.rmtree(old, ignore_errors=True)
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for name, content in files.items():
            _write(new / name, [content])
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep out others of this machine; the lock goes with the process.

    Its file may be removed, with its folder, by whoever holds the lock.

    Raises:
        BlockingIOError: if another holds the lock, unless `wait`.
    """
    with contextlib.ExitStack() as files:
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                lock = files.enter_context(path.open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                    break
        yield


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: its path in the folder, its bytes, its SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class DataSet:
    """A folder on the driver's machine, and what each copy of it must hold."""

    folder: Path
    files: tuple[DataFile, ...]

    @classmethod
    def of(cls, folder: Path) -> DataSet:
        """Read a folder, LMDB's lock files left out. Raises RayError if nothing is there."""
        files = tuple(
            DataFile(path.relative_to(folder).as_posix(), path.stat().st_size, _sha256(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != _LMDB_LOCK
        )
        if not files:
            raise RayError(f"{folder} holds no data set")
        return cls(folder.absolute(), files)

    @property
    def digest(self) -> str:
        """A name for the content: the same names and bytes have the same."""
        lines = (f"{file.sha256} {file.name}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

    def read(self, name: str, offset: int) -> bytes:
        """At most `CHUNK` bytes of a file. Raises RayError if the data set has no such file."""
        if name not in {file.name for file in self.files}:
            raise RayError(f"{self.folder} has no file {name!r}")
        with (self.folder / name).open("rb") as file:
            file.seek(offset)
            return file.read(CHUNK)

    def complete_in(self, folder: Path) -> bool:
        """Whether a folder has all files in their sizes."""
        with contextlib.suppress(OSError):
            return all((folder / file.name).stat().st_size == file.size for file in self.files)
        return False

    def equals(self, folder: Path) -> bool:
        """Whether a folder has all files with their content."""
        return self.complete_in(folder) and all(
            _sha256(folder / file.name) == file.sha256 for file in self.files
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stage(data: DataSet, store: Path, read: Callable[[str, int], bytes]) -> Path:
    """Have a data set on this machine; returns where. Once it is there, a call only looks.

    It stays for `KEEP_S` from the last call, and for as long as a trial's folder links to it.

    Where the driver's folder is seen under its own path with the same content (its machine, a
    shared file system), nothing is copied: `store` gets a link.

    Args:
        data: the data set.
        store: the folder of this machine's copies.
        read: `data.read` on the driver's machine.

    Raises:
        RayError: if what arrived is not what the driver had.
        OSError: if it cannot be written.
    """
    place, partial = store / data.digest, store / f"{data.digest}.partial"
    lock = store / f"{data.digest}.lock"
    with locked(lock):
        os.utime(lock)
        if data.complete_in(place):
            return place
        _remove(place)
        if data.equals(data.folder):
            place.symlink_to(data.folder)
            return place
        try:
            _remove(partial)
            for file in data.files:
                path = partial / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, (read(file.name, at) for at in range(0, file.size, CHUNK)))
            if not data.equals(partial):
                raise RayError(
                    f"{data.folder} arrived on {socket.gethostname()} with another content; "
                    "leave it alone while trials run"
                )
            partial.rename(place)
        finally:
            _remove(partial)
    return place


def _remove(path: Path) -> None:
    """Remove a folder, or a link to one."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def remove_site(site: Path) -> None:
    """Remove the folder of a trial's files, whose lock the caller holds.

    It loses its name first, so that another launch finds it whole or begins a new one.
    """
    gone = site.with_name(f".{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        site.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def prune(scratch: Path) -> None:
    """Remove what no trial of this machine has used for `KEEP_S`: trials' folders, then data.

    What a running trial holds stays, whatever its age; so does data that a trial's folder links
    to.
    """
    oldest, linked = time.time() - KEEP_S, set[str]()
    for site in _entries(scratch / "trials"):
        if site.name.startswith("."):  # a removal that broke off
            shutil.rmtree(site, ignore_errors=True)
            continue
        changed, links = _look_through(site)
        if changed < oldest:
            with contextlib.suppress(OSError), locked(site / ".lock", wait=False):
                remove_site(site)
                continue
        linked |= links
    for lock in _entries(scratch / "data"):
        place = lock.with_suffix("")
        if lock.suffix != ".lock" or str(place) in linked:
            continue
        with contextlib.suppress(OSError):
            if lock.stat().st_mtime < oldest:
                _remove_data(place, lock, oldest)


def _remove_data(place: Path, lock: Path, oldest: float) -> None:
    with locked(lock, wait=False):
        if lock.stat().st_mtime < oldest:  # no trial has come meanwhile
            _remove(place)
            _remove(place.with_suffix(".partial"))
            lock.unlink()


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _look_through(folder: Path) -> tuple[float, set[str]]:
    """When the newest file of a folder was changed, and where its links lead."""
    newest, links = 0.0, set[str]()
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            with contextlib.suppress(FileNotFoundError):
                newest = max(newest, path.lstat().st_mtime)
                if path.is_symlink():
                    links.add(str(path.readlink()))
    return newest, links
