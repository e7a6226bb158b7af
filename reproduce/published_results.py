"""Every error that the paper's Tables 3, 4 and 5 print, and those that its text sets beside them.

The file is `published_results.csv`, one row for each number. Rows of others than MetaQNN are
quoted: nothing here trains those nets.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from reproduce.paper import FIRST, NETS, PublishedNet

FILE = Path(__file__).parent / "published_results.csv"
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN"}
"""Of the data sets."""
TITLES = {
    "3": "Table 3: nets of convolution, pooling and fully-connected layers alone",
    "4": "Table 4: nets with more complex layers",
    "text": "In the text: other automatic designs, and a larger ensemble",
    "5": "Table 5: the top CIFAR-10 model on other data sets",
}
"""Of the tables, by their keys."""


@dataclass(frozen=True)
class PublishedError:
    """One printed number: a test error in percent.

    Attributes:
        id: table, data set and row.
        table: a key of `TITLES`.
        version: "all versions", or the one that prints it: as in `reproduce.paper`.
        data: the data set of the error.
        what: the row's name.
        error: percent of the test set.
        measured_as: what a run measures for it: the id of a final training, or
            `ensemble/SIZE/METHOD`; empty of a quoted row.
        note: what a reader must know of it.
    """

    id: str
    table: str
    version: str
    data: str
    what: str
    error: float
    measured_as: str
    note: str

    @property
    def name(self) -> str:
        """The row's name, with the version if it is not in all."""
        return self.what if self.version == "all versions" else f"{self.what}, {self.version}"

    def is_of(self, *, first_version: bool) -> bool:
        """Whether it is of the first version's own MNIST experiment, or of another."""
        return self.version == "all versions" or (self.version == FIRST) == first_version


def _read() -> tuple[PublishedError, ...]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(
            PublishedError(
                row["id"],
                row["table"],
                row["version"],
                row["data"],
                row["what"],
                float(row["error"]),
                row["measured_as"],
                row["note"],
            )
            for row in csv.DictReader(file)
        )


ERRORS = _read()
"""All of them, in the file's order."""


def errors_of(table: str, data: str) -> list[PublishedError]:
    """A table's rows that concern the experiments on a data set, in the paper's order.

    Table 5 and the CIFAR-100 column are of the top CIFAR-10 model. Table 4 repeats MetaQNN's rows
    of Table 3.
    """
    if table == "5":
        return [one for one in ERRORS if one.table == table] if data == "cifar10" else []
    sets = ("cifar10", "cifar100") if data == "cifar10" else (data,)
    rows = [one for one in ERRORS if one.table == table and one.data in sets]
    if table == "4":
        rows += [one for one in errors_of("3", data) if one.measured_as]
    return rows


def reported_nets(error: PublishedError) -> list[PublishedNet]:
    """The published nets that a top model's error belongs to: those of that error in the table of
    that version. Of MNIST's later revision it may be either of two."""
    if error.measured_as != "top/1":
        return []
    versions = {FIRST: ("v1",), "later revision": ("thesis",)}.get(error.version, ("v1", "thesis"))
    return [
        net
        for net in NETS
        if net.id.startswith(tuple(f"{error.data}/{version}-" for version in versions))
        and net.error == error.error
    ]


def nets_by_table(data: str) -> dict[str, list[PublishedNet]]:
    """The published nets of a data set by the table that has them; those of none come last."""
    tables: dict[str, list[PublishedNet]] = {}
    for net in NETS:
        if net.id.startswith(f"{data}/"):
            place = net.place.rpartition(", ")[0] if ", Table" in net.place else ""
            tables.setdefault(place, []).append(net)
    without = tables.pop("", None)
    return tables if without is None else {**tables, "": without}
