"""The table as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from reproduce.results.summary import Row

HEADER = (
    "",
    "architecture",
    "published error, %",
    "measured error, %",
    "difference",
    "95 % interval",
    "epochs",
    "status",
)


def cells(row: Row) -> tuple[str, ...]:
    """A row's cells as text; what was not run says so."""
    if row.measured is None or row.interval is None:
        measured = "not run" if row.status == "not run" else "failed"
        difference = interval = ""
    else:
        measured = f"{row.measured:.2f}"
        difference = "" if row.difference is None else f"{row.difference:+.2f}"
        interval = f"{row.interval[0]:.2f} to {row.interval[1]:.2f}"
    published = "" if row.published is None else f"{row.published:.2f} ({row.published_in})"
    epochs = "" if row.epochs is None else str(row.epochs)
    return (
        row.what,
        row.architecture,
        published,
        measured,
        difference,
        interval,
        epochs,
        row.status,
    )


def markdown(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table, with its notes as a list below."""
    lines = [HEADER, tuple("---" for _ in HEADER), *map(cells, rows)]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    text = "\n".join(f"| {' | '.join(line)} |" for line in escaped)
    return text + "\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"
