"""The tables for other programs: LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from reproduce.results.markdown import HEADER, cells, header_of
from reproduce.results.paper_tables import Table
from reproduce.results.summary import Row, rows_as_json

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "[": "{[}", "]": "{]}", "*": "{*}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\char34{}", "`": r"\char96{}",
    "ε": r"\ensuremath{\varepsilon}", "×": r"\ensuremath{\times}", "·": r"\ensuremath{\cdot}",
}  # fmt: skip
_NUMBERS = ("error", "difference", "parameters", "epochs")
_LONG = {"status": "5cm", "architecture": "8cm"}


def latex_text(text: str) -> str:
    r"""Text in which no character means anything to LaTeX: `[` after `\\` and two hyphens too."""
    return "".join(_LATEX.get(character, character) for character in text).replace("--", "-{}-")


def latex(rows: Sequence[Row], notes: Sequence[str], header: Sequence[str] = HEADER) -> str:
    """The table as a `tabular` for the packages booktabs and array, its notes as comments above."""
    lines = [f"% {' '.join(note.split())}" for note in notes]
    lines += [r"\begin{tabular}{" + "".join(map(_column, header)) + "}", r"\toprule"]
    lines += [" & ".join(map(latex_text, header)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(latex_text, cells(row, header))) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _column(name: str) -> str:
    """Long texts are set in paragraphs, numbers to the right."""
    if name in _LONG:
        return r">{\raggedright\arraybackslash}p{" + _LONG[name] + "}"
    return "r" if any(word in name for word in _NUMBERS) else "l"


def latex_of(tables: Sequence[Table]) -> str:
    """Tables with their titles as captions."""
    return "% needs the packages booktabs and array\n" + "\n".join(
        "\\begin{table}\n"
        f"\\caption{{{latex_text(table.title)}}}\n\\centering\\footnotesize\n"
        f"{latex(table.rows, table.notes, header_of(table.rows))}"
        "\\end{table}\n"
        for table in tables
    )


def csv_text(rows: Sequence[Row]) -> str:
    """The rows as CSV: a column for each field, an interval as two, several numbers with spaces."""
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows_as_json(list(rows)):
        low, high = row.pop("interval") or (None, None)
        lists = {name: " ".join(map(str, row[name])) for name in ("seeds", "errors")}
        content = {**row, **lists, "interval_low": low, "interval_high": high}
        if writer is None:
            writer = csv.DictWriter(out, list(content), lineterminator="\n")
            writer.writeheader()
        writer.writerow(content)
    return out.getvalue()
