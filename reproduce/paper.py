"""Every published number that this package quotes, with its version and place.

"First version" is arXiv v1 (November 2016), "later revision" the text of the final version,
"thesis" the first author's MEng thesis (2017), whose chapter 3 repeats the paper.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PublishedNet:
    """A row of the tables of top architectures, or a net of the web page that is in no table.

    `error` is the test error in percent, `parameters` millions, both as printed, None where they
    are not; the text gives no padding for the first version's MNIST nets (their sizes only fit
    VALID convolutions).
    """

    id: str
    place: str
    notation: str
    error: float | None
    parameters: float | None


FIRST = "first version"


@dataclass(frozen=True)
class PublishedStability:
    """Several searches: the mean and standard deviation of their best models' accuracies."""

    place: str
    runs: int
    mean: float
    deviation: float


STABILITY = PublishedStability("thesis, section 3.4.1", 10, 0.8825, 0.0058)
"""Ten searches on a tenth of SVHN."""


def _read_nets() -> tuple[PublishedNet, ...]:
    with (Path(__file__).parent / "published_nets.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            PublishedNet(
                row["id"],
                row["place"],
                row["notation"],
                float(row["error"]) if row["error"] else None,
                float(row["parameters"]) if row["parameters"] else None,
            )
            for row in csv.DictReader(file)
        )


NETS = _read_nets()
"""Every row of the tables of top architectures, and the web page's nets that are in none."""


def published_net(id_: str) -> PublishedNet:
    """A published net by its id, e.g. `mnist/v1-3`.

    Raises:
        KeyError: naming the ids that exist.
    """
    for net in NETS:
        if net.id == id_:
            return net
    raise KeyError(f"no published net {id_!r}; there are {', '.join(net.id for net in NETS)}")
