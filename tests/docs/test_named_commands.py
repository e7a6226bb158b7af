"""What README.md and the pages tell a reader to type exists: commands, options, budgets, files.

Fenced blocks of the language `sh` are taken apart word by word, as a shell would; code in running
text only has to name what there is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from caffe_torch import flags, scripts
from data_prep import cifar, svhn
from docs import command_reference as reference
from reproduce.experiments.load import experiment_path, load_experiment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = reference.commands()
PROGRAMS = {"metaqnn", "python", "caffe-torch", "make"}
EXPERIMENTS = {"cifar": "cifar10", "mnist-v1": "mnist-v1"}


def shell_lines(text: str) -> Iterator[str]:
    """The lines of each block of shell commands, those that end in a backslash joined."""
    for language, block in FENCE.findall(text):
        if language == "sh":
            without_files = re.sub(r"<<'END'\n.*?^END$", "", block, flags=re.MULTILINE | re.DOTALL)
            yield from without_files.replace("\\\n", " ").splitlines()


def commands_of(line: str) -> Iterator[list[str]]:
    """The commands of a line of shell: words without variables before them, paths of programs."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    command: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set(";|&()<>"):
            if command:
                yield [command[0].removeprefix(".venv/bin/"), *command[1:]]
            command = []
        elif command or not re.match(r"[A-Z_]+=", word):
            command.append(word)


def inline(text: str) -> Iterator[str]:
    """Each piece of code in running text."""
    for piece in re.findall(r"`([^`]+)`", FENCE.sub("", text)):
        yield re.sub(r"\s+", " ", piece)


def told() -> Iterator[Any]:
    """Every command that a page tells of: the page, its words, whether it is whole."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        whole = [words for line in shell_lines(text) for words in commands_of(line)]
        named = [piece.removeprefix(".venv/bin/").split(" ") for piece in inline(text)]
        for complete, every in ((True, whole), (False, named)):
            for words in every:
                if words[0] in PROGRAMS and len(words) > 1:
                    yield pytest.param(words, complete, id=f"{page.name}: {' '.join(words)[:60]}")


def words_of_make(words: list[str]) -> None:
    """A target, and variables that make knows."""
    targets = {target for targets, _ in reference.make_rules() for target in targets}
    chosen = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    named = [word for word in words[1:] if "=" not in word and re.match(r"[a-z]", word)]
    assert set(named) <= targets
    assert set(chosen) <= reference.make_variables()
    kind = re.match(r"(?:reproduce|search)-(.+)", named[0]) if named else None
    if kind:
        name = EXPERIMENTS.get(kind[1], kind[1])
        known_budget(name, chosen.get("BUDGET", "quick"), chosen.get("PRESET", "paper"))


def known_budget(experiment: str, budget: str, preset: str) -> None:
    """Raises ExperimentError where the experiment has no such budget or preset."""
    load_experiment(experiment_path(experiment), budget, 0, preset)


def words_of_click(words: list[str], *, whole: bool) -> None:
    """A command and its options; where it is whole, Click reads all of it."""
    line = " ".join(words)
    if words == ["metaqnn", "--help"]:
        return
    name = max((n for n in COMMANDS if f"{line} ".startswith(f"{n} ")), key=len, default="")
    assert name, "no such command"
    command, rest = COMMANDS[name], words[len(name.split()) :]
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    named = [word.partition("=")[0] for word in rest if word.startswith("--")]
    assert set(named) <= known | {"--help"}
    if not whole or "--help" in rest:
        return
    values = command.make_context(name, list(rest)).params
    if name in ("metaqnn reproduce", "metaqnn search", "metaqnn doctor", "metaqnn import"):
        known_budget(values["experiment"], values["budget"], values["preset"])


def words_of_caffe(words: list[str]) -> None:
    """A command of the embedded caffe, and flags that it knows."""
    assert words[1] in reference.caffe_torch_commands() or words[1].startswith("-")
    if words[1] == "python":
        assert all(word in scripts.USAGE for word in words[2:] if word.startswith("-"))
        return
    flags.parse([word for word in words[1:] if word != "…"])


@pytest.mark.parametrize(("words", "whole"), list(told()))
def test_a_command_that_a_page_tells_of_exists(words: list[str], whole: bool) -> None:
    match words:
        case ["make", *_]:
            words_of_make(words)
        case ["python", "-m", "data_prep", *_]:
            words_of_click(words, whole=whole)
        case ["metaqnn", *_]:
            words_of_click(words, whole=whole)
        case ["caffe-torch", *_]:
            words_of_caffe(words)
        case _:
            assert words[:2] == ["python", "-m"], "a command of no known program"


def test_enough_commands_are_found_to_trust_the_test_above() -> None:
    """So that a change of how pages are written does not leave it with nothing to do."""
    found = {(p.id or "").partition(":")[0] for p in told() if p.values[1]}
    assert found >= {"README.md", "first-run.md", "own-data.md", "real-caffe.md", "cluster.md"}


@pytest.mark.parametrize(
    "line",
    [
        "make reproduce-minst",
        "make reproduce-cifar BUDGET=smoke",
        "make reproduce-mnist GPU=0",
        ".venv/bin/metaqnn stats runs/mine",
        ".venv/bin/metaqnn status --everything runs/mine",
        ".venv/bin/metaqnn tables runs/mine --format html",
        ".venv/bin/metaqnn search mnist --budget tiny",
        ".venv/bin/python -m data_prep mnist --out data --depth 3",
        ".venv/bin/caffe-torch fly",
        ".venv/bin/caffe-torch train --optimizer adam",
    ],
)
def test_what_does_not_exist_is_found(line: str) -> None:
    (words,) = commands_of(line)
    with pytest.raises(Exception):  # noqa: B017, PT011 (each library's own)
        test_a_command_that_a_page_tells_of_exists(words, True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_that_a_page_names_exists(page: Path) -> None:
    ours = ("benchmarks/", "caffe_torch/", "data_prep/", "docs/", "prototxt_gen/", "reproduce/")
    named = inline(page.read_text(encoding="utf-8"))
    paths = [piece for piece in named if piece.startswith((*ours, "tests/", "tools/"))]
    assert [path for path in paths if " " not in path and not (ROOT / path).exists()] == []


def test_the_links_of_the_readme_lead_to_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert len(links) > 3
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_each_variable_that_the_programs_read_has_a_line() -> None:
    """And each line is of a variable that is read somewhere."""
    files = [ROOT / "Makefile", ROOT / "tools" / "get_caffe.sh", ROOT / "tests" / "conftest.py"]
    for package in ("caffe_torch", "data_prep", "reproduce", "tools"):
        files += (ROOT / package).rglob("*.py")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in files)
    read = {
        *reference.make_variables(),
        *re.findall(r"env(?:iron(?:ment)?)?(?:\.get\(|\.setdefault\(|\[)\"([A-Z_]+)\"", sources),
        *re.findall(r"envvar=\"([A-Z_]+)\"", sources),
        *re.findall(r"\$\{([A-Z]+_[A-Z]+):-\}", sources),
    }
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    assert read - set(re.findall(r"`([A-Z_]+)(?:=\S+)?`", page)) == set()
    lines = re.findall(r"^\| (`[A-Z_`, ]+`) \|", page, re.MULTILINE)
    listed = {name for line in lines for name in re.findall(r"[A-Z_]+", line)}
    assert [name for name in listed if not re.search(rf"\b{name}\b", sources)] == []


def test_the_files_of_the_data_sets_are_named_with_their_sizes_and_hashes() -> None:
    page = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    binary, pickled = cifar.FACTS["cifar10"].versions
    for pin in (
        binary.archive,
        *binary.members,
        pickled.archive,
        svhn.TRAIN,
        svhn.TEST,
        svhn.EXTRA,
    ):
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{pin.name}` |")]
        assert f"`{pin.sha256}`" in line
        assert f"{pin.size:,}" in (page if pin in binary.members else line)
