"""The tables as LaTeX and CSV."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reproduce.results.formats import csv_text, latex, latex_of, latex_text
from reproduce.results.markdown import HEADER
from reproduce.results.paper_tables import Group, paper_tables
from reproduce.results.summary import table
from tests.reproduce.results.measured_runs import measured_run

COMMANDS = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\char34{}": '"',
    r"\char96{}": "`",
    r"\ensuremath{\varepsilon}": "ε",
    r"\ensuremath{\times}": "×",
    r"\ensuremath{\cdot}": "·",
    "-{}-": "--",
}
TOKEN = re.compile(
    "|".join([*(re.escape(command) for command in COMMANDS), r"\\[&%$#_{}]", r"\{[][*]\}", "."])
)


def meant(written: str) -> str:
    """What LaTeX sets; an assertion where a character would mean something to it."""
    out = []
    for piece in TOKEN.findall(written):
        if piece in COMMANDS:
            out.append(COMMANDS[piece])
        elif len(piece) == 1:
            assert piece not in '&%$#_{}~^\\[]*<>|"`ε×·', written
            out.append(piece)
        else:
            out.append(piece.strip("\\") if piece[0] == "\\" else piece[1])
    return "".join(out)


@given(st.text(st.sampled_from('\\&%$#_{}~^[]*<>|"`ε×·-aZ1 ,.')))
def test_no_text_means_anything_to_latex(text: str) -> None:
    written = latex_text(text)
    assert meant(written) == text
    assert "--" not in written.replace("-{}-", "")


def columns_of(specification: str) -> int:
    """How many columns a tabular's specification declares, its `>{…}` and `p{…}` counted once."""
    plain = re.sub(r">\{[^{}]*\}", "", specification)
    plain = re.sub(r"p\{[^{}]*\}", "p", plain)
    assert re.fullmatch("[lrp]+", plain), specification
    return len(plain)


def check_tabular(text: str) -> int:
    """Check a tabular's lines against its columns; returns the number of lines in its body."""
    (head,) = [line for line in text.splitlines() if line.startswith(r"\begin{tabular}")]
    columns = columns_of(head.removeprefix(r"\begin{tabular}{").removesuffix("}"))
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    for line in rows:
        cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
        assert len(cells) == columns, line
        assert not line.lstrip().startswith(("[", "*"))  # an argument of the line break before it
        for cell in cells:
            meant(cell)
    for name in ("tabular", "table"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}")
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(rf"\{rule}") == text.count(r"\begin{tabular}")
    return len(rows) - 1


def test_latex_has_a_line_for_each_row_and_its_notes_as_comments(tmp_path: Path) -> None:
    run = measured_run(tmp_path)
    run.measure("top/1", 0.98, net="[C(64,3,1), SM(10)]")
    rows = table(run.experiment, run.memory)
    text = latex(rows, ["budget quick: 50 % of\nit"])
    assert text.startswith("% budget quick: 50 % of it\n")
    assert check_tabular(text) == len(rows)
    assert f"2.00 {latex_text('[quick]')} &" in text
    assert text.count("&") - text.count(r"\&") == (len(HEADER) - 1) * (len(rows) + 1)


def test_the_papers_tables_are_whole_floats_of_letters_that_pdflatex_has(tmp_path: Path) -> None:
    run = measured_run(tmp_path, "cifar10", "top-models")
    run.measure("cifar10/v1-1", 0.93)
    tables = paper_tables([Group([run.results])])
    text = latex_of(tables)
    floats = text.split("\\begin{table}\n")[1:]
    assert len(floats) == len(tables)
    for one, its in zip(floats, tables, strict=True):
        assert check_tabular(f"\\begin{{table}}\n{one}") == len(its.rows)
        (caption,) = re.findall(r"\\caption\{(.*)\}\n", one)
        assert meant(caption) == its.title
    text.encode("latin-1")


def test_csv_has_every_field_of_every_row(tmp_path: Path) -> None:
    run = measured_run(tmp_path)
    run.measure("mnist/v1-3", 0.99, 0.985)
    rows = table(run.experiment, run.memory)
    rows[1] = replace(rows[1], seeds=(1, 2), errors=(1.5, 2.5))
    read = list(csv.DictReader(io.StringIO(csv_text(rows))))
    assert [one["what"] for one in read] == [row.what for row in rows]
    assert rows[0].interval is not None
    assert float(read[0]["interval_high"]) == rows[0].interval[1]
    assert float(read[0]["measured"]) == rows[0].measured
    assert (read[0]["budget"], read[0]["mark"]) == ("quick", "quick")
    assert (read[1]["seeds"], read[1]["errors"]) == ("1 2", "1.5 2.5")
    assert read[-1]["measured"] == read[-1]["interval_low"] == ""
    assert read[-1]["status"] == "not run"
    assert float(read[-1]["flop"]) == rows[-1].flop
    assert csv_text([]) == ""
