"""Finished folders only: written under a temporary name, renamed when they are complete."""

import logging
import shutil
import socket
from collections.abc import Callable
from importlib.metadata import version
from os import getpid
from pathlib import Path

import psutil

from data_prep.errors import DataError
from data_prep.manifest import FILE_NAME, Manifest, read_manifest, write_manifest

log = logging.getLogger("data_prep")


def versions() -> dict[str, str]:
    """The versions that a manifest records."""
    return {name: version(name) for name in ("metaqnn-caffe", "numpy", "lmdb", "protobuf")}


def _remove_leftovers(out: Path, name: str) -> None:
    """Remove the temporary folders of this machine's preparations that were killed."""
    for leftover in out.glob(f".{name}.{socket.gethostname()}.*.partial"):
        pid = leftover.name.split(".")[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(leftover, ignore_errors=True)


def finished(out: Path, name: str) -> Manifest | None:
    """The manifest of `out`/`name` if that folder is there; raises DataError if it is damaged."""
    if not (out / name).exists():
        return None
    return read_manifest(out / name)


def publish(out: Path, name: str, fill: Callable[[Path], Manifest]) -> Manifest:
    """Let `fill` write a temporary folder, add the manifest it returns, rename it to `out`/`name`.

    If another process has finished the same folder meanwhile, that one stays. Raises DataError
    if `out` cannot be written; whatever is raised, nothing half-written remains.
    """
    partial = out / f".{name}.{socket.gethostname()}.{getpid()}.partial"
    try:
        out.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(out, name)
        partial.mkdir()
        manifest = fill(partial)
        write_manifest(manifest, partial)
        try:
            partial.rename(out / name)
        except OSError:
            if not (out / name / FILE_NAME).is_file():
                raise
            log.info("%s: finished by another process meanwhile", out / name)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error}); choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read_manifest(out / name)
