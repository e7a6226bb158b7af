"""Dropout ratios of the published prototxts against the rules of the paper and of its code."""

from __future__ import annotations

from typing import Any

from prototxt_gen.dropout import DropoutRule, place_dropout
from prototxt_gen.notation import Architecture, Dropout, parse
from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, UnfitInputError, decided, some

_ROUNDING = 5.1e-4
"""The web page prints tenths of a percent, Caffe's prototxt eight digits."""


def ratios(architecture: Architecture, rule: DropoutRule) -> list[float]:
    """The ratios that a rule gives an architecture's dropout layers, in order."""
    placed = place_dropout(architecture, rule)
    return [float(layer.ratio) for layer in placed if isinstance(layer, Dropout)]


def _name(file: dict[str, Any]) -> str:
    return str(file.get("name") or file["file"])


def follows(file: dict[str, Any], rule: DropoutRule) -> bool:
    """Whether a file has the ratios that a rule gives."""
    wanted = ratios(parse(file["architecture"]), rule)
    return len(wanted) == len(file["dropout"]) and all(
        abs(a - b) <= _ROUNDING for a, b in zip(wanted, file["dropout"], strict=True)
    )


@check
def dropout_follows(*, files: list[dict[str, Any]], rules: list[str]) -> Finding:
    """The dropout ratios of each file are those of one of some rules."""
    some(files, "files")
    some(rules, "rules")
    known = [DropoutRule(rule) for rule in rules]
    out = [file for file in files if not any(follows(file, rule) for rule in known)]
    said = f"{len(files) - len(out)} of {len(files)} files have the ratios of {' or '.join(rules)}"
    if out:
        first = out[0]
        wanted = ", ".join(f"{r:.3g}" for r in ratios(parse(first["architecture"]), known[0]))
        has = ", ".join(f"{r:.3g}" for r in first["dropout"])
        said += f"; {_name(first)} has {has}, the rule gives {wanted}"
    numbers = {"files": len(files), "follow": len(files) - len(out)}
    return decided(not out, f"{said}.", numbers)


@check
def dropout_is_increased(*, files: list[dict[str, Any]], than: str) -> Finding:
    """Every file's mean dropout ratio is higher than a rule would give it."""
    some(files, "files")
    pairs = {}
    for file in files:
        wanted = ratios(parse(file["architecture"]), DropoutRule(than))
        if not wanted or not file["dropout"]:
            raise UnfitInputError(f"{_name(file)}: no dropout")
        has = sum(file["dropout"]) / len(file["dropout"])
        pairs[_name(file)] = has, sum(wanted) / len(wanted)
    higher = [name for name, (has, wanted) in pairs.items() if has > wanted + _ROUNDING]
    means = [sum(values) / len(pairs) for values in zip(*pairs.values(), strict=True)]
    return decided(
        len(higher) == len(files),
        f"{len(higher)} of {len(files)} files have a higher mean ratio than {than} would give: "
        f"{means[0]:.3f} against {means[1]:.3f} on average.",
        {"higher": len(higher), "mean ratio": means[0], "rule's mean ratio": means[1]},
    )
