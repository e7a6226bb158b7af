"""What a run is given beside its experiment: where files lie, and what trains at a time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from reproduce.run import RunError

ExecutorName = Literal["local", "ray"]
TrainerName = Literal["caffe", "surrogate"]


@dataclass(frozen=True)
class Options:
    """The choices of a command that may change from one start of a run to the next.

    Attributes:
        data: where prepared data sets lie, absolute.
        cache: where downloads are kept, absolute.
        gpus: the GPUs of this machine to train on; none: the CPU.
        slots_per_gpu: trials at a time on each of them.
        cpu_slots: trials at a time without a GPU.
        threads: CPU threads of each; None leaves it to Caffe.
        executor: `local`, or `ray` for a cluster.
        ray_address: the cluster's address; None starts one on this machine.
        gpus_per_trial, cpus_per_trial: what a trial takes of the cluster.
        trainer: `caffe`, or `surrogate` for rewards predicted from the authors' runs.
        authors_data: the folder of the authors' data, absolute; None: a folder of the cache. Of
            the surrogate alone, as is
        failure_share: a constant probability of failing to learn; None: the surrogate's own.
        finals: go on to the final trainings and the report when the search is complete.
        yes: start however long it will take.
    """

    data: Path
    cache: Path
    gpus: tuple[int, ...] = ()
    slots_per_gpu: int = 1
    cpu_slots: int = 1
    threads: int | None = None
    executor: ExecutorName = "local"
    ray_address: str | None = None
    gpus_per_trial: float = 0.0
    cpus_per_trial: float = 1.0
    trainer: TrainerName = "caffe"
    authors_data: Path | None = None
    failure_share: float | None = None
    finals: bool = True
    yes: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data, as `from_json` reads it; `yes` is asked anew each time."""
        fields: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        del fields["yes"]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Options:
        """Read what `to_json` wrote."""
        names = ("data", "cache", "authors_data")
        paths = {name: Path(fields[name]) for name in names if fields.get(name) is not None}
        return cls(**{**fields, **paths, "gpus": tuple(fields["gpus"])})

    @property
    def local_slots(self) -> int:
        """Trials at a time on this machine."""
        return len(self.gpus) * self.slots_per_gpu or self.cpu_slots

    @property
    def device(self) -> str:
        """Where training runs, in a reader's words."""
        if self.executor == "ray":
            each = f"{self.gpus_per_trial:g} GPUs, " if self.gpus_per_trial else ""
            return f"a Ray cluster ({each}{self.cpus_per_trial:g} CPUs a trial)"
        if not self.gpus:
            return "the CPU"
        return f"GPU {', '.join(map(str, self.gpus))}"


def gpu_list(text: str) -> tuple[int, ...]:
    """GPU numbers from a text such as `0,1`.

    Raises:
        RunError: if the text is no such list.
    """
    numbers = [part.strip() for part in text.split(",") if part.strip()]
    if not all(number.isdecimal() for number in numbers):
        raise RunError(f"GPUs are numbers such as 0,1, not {text!r}")
    return tuple(int(number) for number in numbers)
