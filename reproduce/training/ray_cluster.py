"""Joining a Ray cluster, or starting Ray on this machine alone."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import signal
import socket
from collections.abc import Iterator
from typing import Any

from reproduce.training.ray_files import RayError

LOCAL_STORE = 2**30
"""Bytes of Ray's object store where the driver starts a Ray of its own."""


def import_ray() -> Any:
    """The module `ray`. Raises RayError if it is not installed."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise RayError("Ray is not installed: .venv/bin/pip install 'ray>=2.40'") from error


def join(ray: Any, address: str | None) -> bool:
    """Connect this process to a cluster, or to a Ray of its own where none is named nor found.

    Returns whether it was not connected before. Raises RayError if it cannot be.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    named = address or os.environ.get("RAY_ADDRESS")
    try:
        if named not in (None, "auto"):
            _knock(named)
        with _own_sigterm():
            ray.init(named or "auto", **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if named is not None:
            raise RayError(
                f"this machine has not joined a Ray cluster at {named} ({first_line(error)}); "
                "`ray start` makes it join"
            ) from error
        _start(ray, quiet)
    return True


def _start(ray: Any, quiet: dict[str, Any]) -> None:
    try:
        with _own_sigterm():
            ray.init("local", include_dashboard=False, object_store_memory=LOCAL_STORE, **quiet)
    except Exception as error:  # whatever its processes die of
        raise RayError(f"Ray does not start on this machine: {first_line(error)}") from error


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's handler of SIGTERM; Ray puts one in its place that ends the process."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # another thread than the main one: neither does Ray
            signal.signal(signal.SIGTERM, handler)


def _knock(address: str) -> None:
    """Find out soon whether anything is there: Ray itself would try for minutes."""
    match = re.fullmatch(r"([\w.-]+|\[[\da-fA-F:]+\]):(\d{1,5})", address)
    if match is None or int(match[2]) > 65535:
        raise ValueError("an address is HOST:PORT")
    socket.create_connection((match[1].strip("[]"), int(match[2])), timeout=5).close()


def room(ray: Any, gpus: float, cpus: float) -> int:
    """Trials of so many GPUs (0 to 1) and CPUs that the cluster's nodes hold in all."""

    def on(resources: dict[str, float]) -> int:
        limits = []
        if gpus:  # one trial's share is of one GPU
            limits.append(int(resources.get("GPU", 0)) * int(1 / gpus + 1e-6))
        if cpus:
            limits.append(int(resources.get("CPU", 0) / cpus + 1e-6))
        return min(limits)

    return sum(on(node["Resources"]) for node in ray.nodes() if node["Alive"])


def first_line(error: BaseException) -> str:
    """What an error says, without the lines that follow; they are Ray's own."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
