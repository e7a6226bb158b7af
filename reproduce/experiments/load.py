"""Experiment files: the shared presets, the experiment's own values, one of its budgets."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reproduce.experiments.schema import Experiment, ExperimentError, validate
from reproduce.published_solvers import own_training

FOLDER = Path(__file__).parent
PRESETS = FOLDER / "presets.toml"

Table = dict[str, Any]


def known_experiments() -> list[str]:
    """The names of the experiments that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml") if path != PRESETS)


def experiment_path(name: str) -> Path:
    """The file of an experiment: one that comes with the package, or the user's own `.toml`.

    Raises:
        ExperimentError: naming the experiments that there are.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file() or path == PRESETS:
        raise ExperimentError(
            f"no experiment {name!r}; there are: {', '.join(known_experiments())}"
        )
    return path


def load_experiment(path: Path, budget: str, seed: int, preset: str = "paper") -> Experiment:
    """Read an experiment file; apply a preset and one of its budgets.

    Values come from the preset `paper`, the experiment's file, the presets that `preset` extends
    and then `preset` itself; of each preset first what is shared, then the experiment's own.

    Raises:
        ExperimentError: naming the file, the field and what is wrong with it.
    """
    shared, content = _read(PRESETS), _read(path)
    parents = {name: layer.pop("extends", "paper") for name, layer in shared.items()}
    known = _tables(content.pop("budget", {}), "budget", path)
    own = _tables(content.pop("preset", {}), "preset", path)
    allowed = content.pop("presets", list(shared))
    if not isinstance(allowed, list) or any(name not in list(shared) for name in allowed):
        raise ExperimentError(f"{path}: presets: must be a list of some of {', '.join(shared)}")
    for name in own:
        if name not in allowed:
            raise ExperimentError(f"{path}: preset.{name}: it is none of {', '.join(allowed)}")
    for what, name, names in (("budget", budget, known), ("preset", preset, allowed)):
        if name not in names:
            there = ", ".join(names) or "none"
            raise ExperimentError(f"{path}: no {what} {name!r}; there are: {there}")
    layers = [(PRESETS, shared["paper"]), (path, content), (path, own.get("paper", {}))]
    for name in _extended(parents, preset):
        layers += [(PRESETS, shared[name]), (path, own.get(name, {}))]
    merged: Table = {"unstated": {}}
    for source, layer in layers:
        merged = _apply(merged, layer, source)
    for field in ("preset", "budget", "budget_name", "seed"):
        if field in merged:
            raise ExperimentError(f"{path}: {field}: it is chosen where the run is started")
    scaled = known[budget]
    for section, field, name in (
        ("q_learning", "schedule", "schedule"),
        ("exploration", "epochs", "exploration_epochs"),
        ("final", "epochs", "final_epochs"),
        ("final", "top", "final_top"),
    ):
        if name in scaled and isinstance(merged.get(section), dict):
            merged[section][field] = scaled[name]
    published = [*_list(merged, "published"), *_named(merged, scaled, preset)]
    if published and isinstance(merged.get("published", []), list):
        merged["published"] = published
    for net in published:
        if "published_epochs" in scaled and isinstance(net, dict):
            net["epochs"] = scaled["published_epochs"]
    transfer = merged.get("transfer")
    for task in _list(transfer, "tasks") if isinstance(transfer, dict) else []:
        if "transfer_epochs" in scaled and isinstance(task, dict):
            task["epochs"] = scaled["transfer_epochs"]
    return validate(
        {**merged, "preset": preset, "budget": scaled, "budget_name": budget, "seed": seed}, path
    )


def _list(table: Table, key: str) -> list[Any]:
    value = table.get(key)
    return value if isinstance(value, list) else []


def _named(merged: Table, budget: Table, preset: str) -> list[Table]:
    """The published nets that a budget names, to be trained as `final` or their own solver says."""
    final = merged.get("final")
    if not isinstance(final, dict):
        return []
    training = {key: value for key, value in final.items() if key not in ("top", "ensembles")}
    names = _list(budget, "published")
    return [{**training, **own_training(name, preset), "id": name} for name in names]


def _read(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExperimentError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # not only TOMLDecodeError: bytes, and numbers of many digits
        raise ExperimentError(f"{path}: {error}") from None


def _table(value: Any, field: str, path: Path) -> Table:
    if not isinstance(value, dict):
        raise ExperimentError(f"{path}: {field}: must be a table")
    return value


def _tables(value: Any, field: str, path: Path) -> dict[str, Table]:
    table = _table(value, field, path)
    return {name: _table(each, f"{field}.{name}", path) for name, each in table.items()}


def _extended(parents: dict[str, str], preset: str) -> Iterator[str]:
    """A preset and those that it extends, `paper` aside, the outermost first."""
    if preset != "paper":
        yield from _extended(parents, parents[preset])
        yield preset


def _apply(base: Table, layer: Table, source: Path) -> Table:
    """A layer of values on top of others; what it sets loses the mark `unstated`."""
    marks = _table(layer.get("unstated", {}), "unstated", source)
    values = {key: value for key, value in layer.items() if key != "unstated"}
    merged = _merge(base, values)
    for field in marks:
        if _value(merged, field) is None:
            raise ExperimentError(
                f"{source}: unstated names {field!r}, which the experiment does not set"
            )
    kept = {
        field: reason
        for field, reason in base["unstated"].items()
        if _value(values, field) is None and _value(merged, field) is not None
    }
    merged["unstated"] = {**kept, **marks}
    return merged


def _merge(base: Table, values: Table) -> Table:
    """Tables are merged, all else is replaced; so is a space by one of another family."""
    merged = dict(base)
    for key, value in values.items():
        old: Any = base.get(key)
        tables = isinstance(value, dict) and isinstance(old, dict)
        merged[key] = _merge(old, value) if tables and _same_family(old, value) else value
    return merged


def _same_family(base: Table, values: Table) -> bool:
    family = base.get("family")
    return bool(values.get("family", family) == family)


def _value(content: Table, field: str) -> Any:
    value: Any = content
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
