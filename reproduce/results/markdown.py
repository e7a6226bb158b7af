"""The tables as Markdown: what a row's cells say, which columns a table has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reproduce.published_results import NAMES
from reproduce.results.labels import NOT_RUN, QUOTED
from reproduce.results.paper_tables import Table
from reproduce.results.summary import Row


def _measured(row: Row) -> str:
    """The number with its mark: what is not the paper's experiment never stands without one."""
    if row.measured is None:
        return row.status if row.status in (NOT_RUN, QUOTED) else "failed"
    return f"{row.measured:.2f}" + (f" [{row.mark}]" if row.mark else "")


def _interval(row: Row) -> str:
    if row.interval is None:
        return ""
    kind = row.interval_is.partition(" ")[0]
    low, high = row.interval
    return f"{low:.2f} to {high:.2f}" + ("" if kind in ("", "Wilson") else f" ({kind})")


def _status(row: Row) -> str:
    if row.status == QUOTED:
        return ""
    if row.status != NOT_RUN:
        return row.status
    if row.flop is None:
        return "no command here measures it" if row.published is not None else ""
    return f"{row.flop:.1e} FLOP: {row.command}".replace("e+", "e")


def _ran(row: Row) -> bool:
    return row.status not in (NOT_RUN, QUOTED)


def _trainer(row: Row) -> str:
    """The program and its kind; its whole version is in the notes, CSV and JSON."""
    program, _, rest = row.trainer.partition(" (")
    kind = rest.rpartition("(")[2].rstrip(")")
    return program.replace(" version", "") + (f" ({kind})" if kind else "")


def _millions(parameters: float | None) -> str:
    return "" if parameters is None else f"{parameters:.2f}"


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "": lambda row: row.what,
    "data set": lambda row: NAMES.get(row.dataset, row.dataset),
    "published error, %": lambda row: "" if row.published is None else f"{row.published:.2f}",
    "measured error, %": _measured,
    "difference": lambda row: "" if row.difference is None else f"{row.difference:+.2f}",
    "95 % interval": _interval,
    "published parameters, M": lambda row: _millions(row.parameters_published),
    "counted parameters, M": lambda row: _millions(
        None if row.parameters is None else row.parameters / 1e6
    ),
    "epochs": lambda row: "" if row.epochs is None else str(row.epochs),
    "seeds": lambda row: ", ".join(map(str, row.seeds)) if _ran(row) else "",
    "budget": lambda row: row.budget if _ran(row) else "",
    "trainer": lambda row: _trainer(row) if _ran(row) else "",
    "status": _status,
    "published in": lambda row: row.published_in,
    "architecture": lambda row: row.architecture,
}
"""Numbers first, long texts last, so that a narrow terminal shows the numbers."""

HEADER = tuple(
    name
    for name in _COLUMNS
    if name not in ("data set", "published parameters, M", "counted parameters, M")
)
"""Of a run's own table."""


def cells(row: Row, header: Sequence[str] = HEADER) -> tuple[str, ...]:
    """A row's cells as text, each in one line; what was not run says so."""
    return tuple(" ".join(_COLUMNS[name](row).split()) for name in header)


def header_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The columns of one of the paper's tables: those that a row has anything in.

    The data set is one where there are several.
    """
    several = len({row.dataset for row in rows}) > 1
    return tuple(
        name
        for name, cell in _COLUMNS.items()
        if any(map(cell, rows)) and (several or name != "data set")
    )


def markdown(rows: Sequence[Row], notes: Sequence[str], header: Sequence[str] = HEADER) -> str:
    """The table in aligned columns, with its notes as a list below."""
    lines = [tuple(header), *(cells(row, header) for row in rows)]
    escaped = [[cell.replace("\\", "\\\\").replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*escaped, strict=True)]
    widths[-1] = 3  # the last column is as long as it is
    escaped.insert(1, ["-" * width for width in widths])
    text = "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in escaped)
    return text + "\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"


def markdown_of(tables: Sequence[Table]) -> str:
    """Tables under their titles."""
    return "\n".join(
        f"## {table.title}\n\n{markdown(table.rows, table.notes, header_of(table.rows))}"
        for table in tables
    )
