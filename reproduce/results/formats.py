"""The table for other programs: LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from reproduce.results.markdown import HEADER, cells
from reproduce.results.summary import Row, rows_as_json

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Text in which no character means anything to LaTeX."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table as a `tabular` for the package booktabs, its notes as comments above."""
    lines = [f"% {note}" for note in notes]
    lines += [r"\begin{tabular}{" + "l" * len(HEADER) + "}", r"\toprule"]
    lines += [" & ".join(map(latex_text, HEADER)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(latex_text, cells(row))) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def csv_text(rows: Sequence[Row]) -> str:
    """The table as CSV: a column for each field of a row, an interval as two."""
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows_as_json(list(rows)):
        low, high = row.pop("interval") or (None, None)
        content = {**row, "interval_low": low, "interval_high": high}
        if writer is None:
            writer = csv.DictWriter(out, list(content), lineterminator="\n")
            writer.writeheader()
        writer.writerow(content)
    return out.getvalue()
