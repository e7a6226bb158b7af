"""What a claim's inputs refer to: `kind:name`, resolved to plain data and to where it stands.

| reference | data |
| --- | --- |
| `fact:NAME` | a table of `facts/*.toml`: what a source says, with its place |
| `web:page` | rows of `facts/web_page.csv` |
| `error:ID` | a printed error of `reproduce.published_results` |
| `errors:TABLE/DATA` | a column of a table of errors, `*` for all, as all versions have it |
| `errors:TABLE/DATA/VERSION` | the same with the rows that a version alone has |
| `stability:published` | the published spread of several searches |
| `net:ID`, `nets:PREFIX` | rows of the tables of top architectures, of `reproduce.paper` |
| `files:PREFIX` | the published prototxts of a data set, with their solvers |
| `preset:EXPERIMENT/PRESET/FIELD` | a value of an experiment under a preset, budget `paper` |
| `space:EXPERIMENT/PRESET` | the rules of an experiment's state-action space |
| `cost:EXPERIMENT/PRESET` | what its search trains, and nets sampled at ε = 1 |
| `figure:NAME/DATA` | the paper's figures as numbers |
| `authors:NAME` | what `authors_data` computes of the authors' own data |
| `run:ERROR`, `search:EXPERIMENT` | what the user's runs measured |
| `study:learning/DATA/PRESET` | searches on the surrogate over the whole ε schedule |
| `study:race/DATA` | Q-learning and random search on the surrogate, by seed |
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reproduce.audit import facts, figures, measured, own_data, study
from reproduce.audit.claims import ClaimError
from reproduce.audit.context import Context, Evidence, line_of, link_to
from reproduce.driver import agent_of
from reproduce.estimate import typical_nets
from reproduce.experiments.load import FOLDER, PRESETS, experiment_path, load_experiment
from reproduce.experiments.schema import Experiment, ExperimentError
from reproduce.paper import NETS, STABILITY, PublishedNet
from reproduce.published_results import ERRORS, FILE, PublishedError
from reproduce.published_solvers import FILES, PublishedFile
from reproduce.search.released_files import ReleasedFileError
from reproduce.search.space import SpaceRules

_PACKAGE = Path(__file__).parent.parent
PAPER_FILE = _PACKAGE / "paper.py"
NETS_FILE = _PACKAGE / "published_nets.csv"
SOLVERS_FILE = _PACKAGE / "published_solvers.csv"


def resolve(reference: str, context: Context) -> Evidence:
    """The data that a reference names.

    Raises:
        ClaimError: if there is no such data.
        NoEvidenceError: if it is the authors' data, and that is not here.
        DataError, ReleasedFileError: if that cannot be fetched or read.
    """
    kind, _, name = reference.partition(":")
    if kind not in _KINDS:
        raise ClaimError(f"no input {reference!r}; its kind is none of {', '.join(_KINDS)}")
    try:
        return _KINDS[kind](name, context)
    except ReleasedFileError:
        raise  # it names the file and the line
    except (KeyError, ValueError) as error:
        if isinstance(error, ClaimError | ExperimentError):
            raise ClaimError(f"input {reference!r}: {error}") from None
        raise ClaimError(f"no input {reference!r}: {error}") from None


def _fact(name: str, _: Context) -> Evidence:
    return facts.fact(name)


def _web(_: str, __: Context) -> Evidence:
    return facts.web_page()


def _error_row(error: PublishedError) -> dict[str, Any]:
    return {
        "id": error.id,
        "what": error.name,
        "data": error.data,
        "error": error.error,
        "version": error.version,
        "ours": "MetaQNN" in error.what,
    }


def _error(name: str, _: Context) -> Evidence:
    found = {error.id: error for error in ERRORS}[name]
    return Evidence(_error_row(found), (line_of(FILE, rf"{re.escape(name)},"),))


def _errors(name: str, _: Context) -> Evidence:
    table, data, *version = name.split("/")
    rows = [
        _error_row(error)
        for error in ERRORS
        if error.table == table
        and data in ("*", error.data)
        and error.version in ("all versions", *version)
    ]
    if not rows:
        raise KeyError(name)
    return Evidence(rows, (line_of(FILE, re.escape(rows[0]["id"])),))


def _stability(_: str, __: Context) -> Evidence:
    return Evidence(dataclasses.asdict(STABILITY), (line_of(PAPER_FILE, "STABILITY"),))


def _net_row(net: PublishedNet) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(net).items() if key != "place"}


def _net(name: str, _: Context) -> Evidence:
    found = {net.id: net for net in NETS}[name]
    return Evidence(_net_row(found), (line_of(NETS_FILE, rf"{re.escape(name)},"),))


def _nets(prefix: str, _: Context) -> Evidence:
    rows = [_net_row(net) for net in NETS if net.id.startswith(prefix)]
    if not rows:
        raise KeyError(prefix)
    return Evidence(rows, (line_of(NETS_FILE, re.escape(prefix)),))


def _file_row(file: PublishedFile) -> dict[str, Any]:
    known = {net.id: net for net in NETS}
    row = dataclasses.asdict(file)
    solver = row.pop("solver") or {}
    solver["stepvalues"] = list(solver.get("stepvalues", ()))
    return {
        **{key: value for key, value in row.items() if key != "sha256"},
        "nets": list(file.nets),
        "dropout": list(file.dropout),
        "architecture": known[file.nets[0]].notation,
        "solver": solver if file.solver else {},
    }


def _files(prefix: str, _: Context) -> Evidence:
    rows = [_file_row(file) for file in FILES if file.name.startswith(prefix)]
    if not rows:
        raise KeyError(prefix)
    return Evidence(rows, (line_of(SOLVERS_FILE, re.escape(prefix)),))


def _experiment(name: str, preset: str) -> Experiment:
    return load_experiment(experiment_path(name), "paper", 0, preset)


def _preset(name: str, _: Context) -> Evidence:
    experiment, preset, field = name.split("/")
    value: Any = _experiment(experiment, preset).model_dump(mode="json")
    for part in field.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return Evidence(value, (_setting(experiment, preset, field),))


def _setting(experiment: str, preset: str, field: str) -> str:
    """Where a field gets its value: the last of the layers that sets it."""
    table, _, key = field.rpartition(".")
    chain = {"paper": [], "released": ["released"], "authors": ["authors", "released"]}[preset]
    own = FOLDER / f"{experiment}.toml"
    places = [(f, t) for p in chain for f, t in ((own, f"preset.{p}"), (PRESETS, p))]
    for path, prefix in [*places, (own, ""), (PRESETS, "paper")]:
        header, wanted = "", f"{prefix}.{table}".strip(".")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if match := re.match(r"\[([^\[\]]+)\]", line):
                header = match[1]
            elif header == wanted and re.match(rf"{re.escape(key)}\s*=", line):
                return link_to(path, number)
    return link_to(own)


def _space(name: str, _: Context) -> Evidence:
    experiment, preset = name.split("/")
    loaded = _experiment(experiment, preset)
    rules = loaded.space.rules(loaded.data)
    family = "table1" if isinstance(rules, SpaceRules) else "first_version"
    value = {"family": family, **dataclasses.asdict(rules)}
    plain = {k: _as_lists(v) for k, v in value.items()}
    return Evidence(plain, (link_to(PRESETS), link_to(FOLDER / f"{experiment}.toml")))


def _as_lists(value: Any) -> Any:
    return [_as_lists(one) for one in value] if isinstance(value, tuple) else value


def _cost(name: str, _: Context) -> Evidence:
    experiment, preset = name.split("/")
    loaded = _experiment(experiment, preset)
    nets = typical_nets(loaded, agent_of(loaded))
    value = {
        "mean_macs": sum(net.cost.macs for net in nets) / len(nets),
        "sampled": len(nets),
        "models": sum(stage.models for stage in loaded.q_learning.stages),
        "epochs": loaded.exploration.epochs,
        "images": loaded.train_images,
    }
    return Evidence(value, (link_to(_PACKAGE / "estimate.py"),))


def _figure(name: str, _: Context) -> Evidence:
    return figures.figure(name)


def _authors(name: str, context: Context) -> Evidence:
    return own_data.authors(name, context)


def _run(name: str, context: Context) -> Evidence:
    return measured.errors({error.id: error for error in ERRORS}[name], context.runs)


def _search(name: str, context: Context) -> Evidence:
    return measured.searches(name, context.runs)


def _study(name: str, context: Context) -> Evidence:
    return study.study(name, context)


_KINDS: dict[str, Callable[[str, Context], Evidence]] = {
    "fact": _fact,
    "web": _web,
    "error": _error,
    "errors": _errors,
    "stability": _stability,
    "net": _net,
    "nets": _nets,
    "files": _files,
    "preset": _preset,
    "space": _space,
    "cost": _cost,
    "figure": _figure,
    "authors": _authors,
    "run": _run,
    "search": _search,
    "study": _study,
}
