"""Finished folders only: written under a temporary name, renamed when they are complete."""

import logging
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from data_prep.errors import DataError
from data_prep.manifest import FILE_NAME, Manifest, read_manifest, write_manifest
from data_prep.temporary import remove_leftovers, temporary_name

log = logging.getLogger("data_prep")


def versions() -> dict[str, str]:
    """The versions that a manifest records."""
    return {name: version(name) for name in ("metaqnn-caffe", "numpy", "lmdb", "protobuf")}


def finished(out: Path, name: str) -> Manifest | None:
    """The manifest of `out`/`name` if that folder is there; raises DataError if it is damaged."""
    try:
        if not (out / name).exists():
            return None
    except OSError as error:
        raise _unusable(out, error) from error
    return read_manifest(out / name)


def publish(out: Path, name: str, fill: Callable[[Path], Manifest]) -> Manifest:
    """Let `fill` write a temporary folder, add the manifest it returns, rename it to `out`/`name`.

    If another process has finished the same folder meanwhile, that one stays. Raises DataError
    if `out` cannot be written; whatever is raised, nothing half-written remains. What killed
    preparations have left in `out` is removed first.
    """
    partial = temporary_name(out / name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out)
        partial.mkdir()
    except OSError as error:
        raise _unusable(out, error) from error
    try:
        manifest = fill(partial)
        write_manifest(manifest, partial)
        try:
            partial.rename(out / name)
        except OSError:
            if not (out / name / FILE_NAME).is_file():
                raise
            log.info("%s: finished by another process meanwhile", out / name)
    except OSError as error:
        raise _unusable(out, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read_manifest(out / name)


def _unusable(out: Path, error: OSError) -> DataError:
    return DataError(f"{out}: cannot be written ({error.strerror}); choose another folder")
