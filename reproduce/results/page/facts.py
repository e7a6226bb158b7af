"""What the page says of a run beside its table: how far it is, what it took, what it is made of."""

from __future__ import annotations

import hashlib
import os
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reproduce.experiments.schema import Experiment
from reproduce.run import EXPERIMENT_FILE, Owner, owner
from reproduce.search.replay_memory import ReplayMemory, Trial
from reproduce.status import Done, done_of, stages_of

WATTS = {"GPU": 300.0, "CPU": 100.0, "CPU core": 10.0}
"""What each device is assumed to draw while it trains: 300 W is the board of a Tesla K80."""


@dataclass(frozen=True)
class State:
    """How far a run is.

    Attributes:
        word: `running` while another process drives it, `complete` once all is done that it was
            last started for, else `stopped`.
        driver: who drives it.
        done: how much of it.
        outcomes: how many trials ended how, the most frequent first.
        under_way: trials that were sampled and have no outcome.
    """

    word: Literal["running", "complete", "stopped"]
    driver: Owner | None
    done: Done
    outcomes: tuple[tuple[str, int], ...]
    under_way: int


def state_of(run: Path, experiment: Experiment, memory: ReplayMemory, trials: list[Trial]) -> State:
    """Read a run's state; the driver itself, which writes the page at its end, does not count."""
    done = done_of(run, experiment, memory, trials)
    driver = owner(run)
    if driver == Owner(os.getpid(), socket.gethostname()):
        driver = None
    return State(
        word="running" if driver else "complete" if done.complete else "stopped",
        driver=driver,
        done=done,
        outcomes=tuple(Counter(t.outcome for t in trials if t.outcome is not None).most_common()),
        under_way=sum(trial.outcome is None for trial in trials),
    )


def stages_table(
    experiment: Experiment, memory: ReplayMemory, trials: list[Trial]
) -> list[tuple[str, ...]]:
    """A row for each ε: models trained and wanted, samples, the mean of their rewards."""
    return [
        (
            *(f"{stage.epsilon:g}", str(stage.trained), str(stage.wanted), str(stage.samples)),
            "" if stage.mean_reward is None else f"{stage.mean_reward:.4f}",
        )
        for stage in stages_of(experiment, memory, trials)
    ]


@dataclass(frozen=True)
class DeviceTime:
    """What training took.

    Attributes:
        process_hours: wall time of all training processes, one after the other.
        hours: of a device that trains: several processes share it, or one takes a part of it.
        device: what is counted, a key of `WATTS`.
        sharing: how the one becomes the other.
    """

    process_hours: float
    hours: float
    device: str
    sharing: str


def device_time(memory: ReplayMemory, trials: Sequence[Trial]) -> DeviceTime:
    """Count the device-hours of a run, by the choices that it was last started with."""
    results = [trial.result for trial in trials] + [found[1] for found in memory.finals().values()]
    hours = sum(result.seconds for result in results if result is not None) / 3600
    options = memory.get("options") or {}
    if options.get("executor") == "ray":
        gpus, cpus = options["gpus_per_trial"], options["cpus_per_trial"]
        device, share = ("GPU", gpus) if gpus else ("CPU core", cpus)
        return DeviceTime(hours, hours * share, device, f"{share:g} of a {device} for each process")
    device, key = ("GPU", "slots_per_gpu") if options.get("gpus") else ("CPU", "cpu_slots")
    slots = options.get(key, 1)
    return DeviceTime(hours, hours / slots, device, f"{slots} at a time on each {device}")


def provenance_rows(
    run: Path,
    memory: ReplayMemory,
    trials: Sequence[Trial],
    watts: float | None,
) -> list[tuple[str, str]]:
    """Labels and values: versions, seed, machine, times, device-hours, energy.

    Args:
        watts: what each device draws while it trains; None assumes `WATTS`.
    """
    rows = [(key, str(value)) for key, value in (memory.get("provenance") or {}).items()]
    if (device := memory.get("device")) and ("device", device) not in rows:
        rows = [(key, device if key == "device" else value) for key, value in rows]
    if places := sorted({trial.place for trial in trials if trial.place}):
        rows.append(("trained on", ", ".join(places)))
    rows += [(what, time) for what, time in _times(memory, trials) if time]
    path = run / EXPERIMENT_FILE
    if path.is_file():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append((f"{EXPERIMENT_FILE}, SHA-256", digest))
    time = device_time(memory, trials)
    rows.append(
        (
            "device-hours",
            f"{time.hours:.3g} {time.device} hours ({time.process_hours:.3g} h of training "
            f"processes, {time.sharing}, as the run was last started)",
        )
    )
    each = WATTS[time.device] if watts is None else watts
    rows.append(
        (
            "energy (an estimate)",
            f"about {time.hours * each / 1000:.2g} kWh, {'assuming' if watts is None else 'with'} "
            f"{each:g} W for each {time.device} while it trains; nothing was measured, and the "
            "rest of the machine, its cooling and all other time are left out",
        )
    )
    return rows


def _times(memory: ReplayMemory, trials: Sequence[Trial]) -> list[tuple[str, str | None]]:
    def known(times: Iterable[str | None]) -> list[str]:
        return [time for time in times if time]

    first = known(sample.sampled_at for sample in memory.samples())
    last = known(trial.finished_at for trial in trials)
    return [
        ("first net sampled", min(first, default=None)),
        ("last net of the search trained", max(last, default=None)),
    ]


def data_files(memory: ReplayMemory) -> list[dict[str, str]]:
    """The files that the run's data was made from, each once: name, SHA-256, status, origin."""
    manifests: list[dict[str, Any]] = [memory.get(key) or {} for key in ("data", "final_data")]
    found = {}
    for manifest in manifests:
        for source in manifest.get("sources", []):
            found[source["name"], source.get("sha256", "")] = source
    keys = ("name", "sha256", "status", "origin")
    return [{key: str(source.get(key, "")) for key in keys} for source in found.values()]


def prepared_data(memory: ReplayMemory) -> list[tuple[str, str]]:
    """The prepared folders: name, and what is in them."""
    rows = []
    for key in ("data", "final_data"):
        manifest = memory.get(key) or {}
        databases = manifest.get("databases", {}).items()
        counts = ", ".join(f"{name} {one['records']:,} images" for name, one in databases)
        steps = "; ".join(manifest.get("preprocessing", []))
        if manifest.get("folder"):
            rows.append((manifest["folder"], ". ".join(filter(None, (counts, steps)))))
    return rows
