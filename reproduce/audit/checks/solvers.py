"""The published solver files against the schedules that the text states."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, UnfitInputError, Verdict, decided, listed, some


def _solvers(files: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {file["name"]: {**file["solver"], "batch": file["batch"]} for file in files}
    found = {name: one for name, one in found.items() if "max_iter" in one}
    some(found, "solvers")
    return found


@check
def solver_says(
    *, files: list[dict[str, Any]], stated: Any, field: str, tolerance: float = 0.0
) -> Finding:
    """Every published solver has the stated value in a field, within a relative tolerance."""
    found = {name: one[field] for name, one in _solvers(files).items()}
    out = {name: value for name, value in found.items() if not _same(value, stated, 0.0)}
    worse = [name for name, value in out.items() if not _same(value, stated, tolerance)]
    said = f"stated {field} {stated}: {len(found) - len(out)} of {len(found)} solvers have it"
    rest = "; ".join(f"{name} has {value}" for name, value in list(out.items())[:4])
    numbers = {f"{name} {field}": value for name, value in found.items()}
    evidence = f"{said}{f'; {rest}' if rest else ''}."
    if out and not worse:
        return Finding(Verdict.WITHIN, evidence, numbers)
    return decided(not out, evidence, numbers)


def _same(value: Any, stated: Any, tolerance: float) -> bool:
    if isinstance(value, str) or isinstance(stated, str):
        return bool(value == stated)
    return bool(abs(value - stated) <= tolerance * abs(stated) + 1e-12)


@check
def solver_epochs(*, files: list[dict[str, Any]], stated: float, images: float) -> Finding:
    """Every solver trains for the stated number of epochs, to the nearest whole one."""
    found = {name: one["max_iter"] * one["batch"] / images for name, one in _solvers(files).items()}
    out = [name for name, epochs in found.items() if round(epochs) != stated]
    kinds = listed(dict.fromkeys(f"{epochs:.1f}" for epochs in found.values()))
    return decided(
        not out,
        f"{len(found) - len(out)} of {len(found)} solvers train for the stated {stated:g} epochs; "
        f"max_iter × batch / {images:,.0f} images = {kinds}.",
        {f"{name}, epochs": round(epochs) for name, epochs in found.items()},
    )


def _phases(solver: dict[str, Any], images: float) -> list[tuple[float, float]]:
    """Phases of (epochs, rate); steps within ten iterations of each other are one change."""
    steps, changes = list(solver["stepvalues"]), list[tuple[int, int]]()
    for step in steps:
        if changes and step - changes[-1][0] <= 10:
            changes[-1] = changes[-1][0], changes[-1][1] + 1
        else:
            changes.append((step, 1))
    ends = [0, *(step for step, _ in changes), solver["max_iter"]]
    rates, rate = [solver["base_lr"]], solver["base_lr"]
    for _, count in changes:
        rate *= solver["gamma"] ** count
        rates.append(rate)
    epochs = [(after - before) * solver["batch"] / images for before, after in pairwise(ends)]
    return list(zip(epochs, rates, strict=True))


@check
def phase_epochs(*, files: list[dict[str, Any]], stated: list[Any], images: float) -> Finding:
    """The phases of the learning rate last as long as stated, to the nearest epoch."""
    wanted = [epochs for epochs, _ in stated]
    found = {name: _phases(one, images) for name, one in _solvers(files).items()}
    out = [n for n, phases in found.items() if [round(e) for e, _ in phases] != wanted]
    example = found[out[0] if out else next(iter(found))]
    return decided(
        not out,
        f"stated {', '.join(f'{e:g}' for e in wanted)} epochs; {len(found) - len(out)} of "
        f"{len(found)} solvers have them: {', '.join(f'{e:.1f}' for e, _ in example)}.",
        {n: ", ".join(f"{e:.2f}" for e, _ in phases) for n, phases in found.items()},
    )


@check
def phase_rate(
    *, files: list[dict[str, Any]], stated: list[Any], phase: int, tolerance: float
) -> Finding:
    """The learning rate of a phase is the stated one, within a relative tolerance.

    Of a phase after the first, both as shares of the first phase's rate.
    """
    found = {}
    for name, one in _solvers(files).items():
        phases = _phases(one, 1)
        if len(phases) < phase or len(stated) < phase:
            raise UnfitInputError(f"{name}: no phase {phase}")
        found[name] = phases[phase - 1][1] / (phases[0][1] if phase > 1 else 1)
    wanted = stated[phase - 1][1] / (stated[0][1] if phase > 1 else 1)
    off = {name: abs(rate / wanted - 1) for name, rate in found.items()}
    exact = [name for name, one in off.items() if one < 1e-6]
    out = [name for name, one in off.items() if one > tolerance]
    rates = listed(dict.fromkeys(f"{rate:.3g}" for rate in found.values()))
    evidence = (
        f"phase {phase}: stated {wanted:.3g}{' of the first rate' if phase > 1 else ''}; "
        f"the solvers have {rates}, "
        f"{len(exact)} of {len(found)} exactly, {len(found) - len(out)} within {tolerance:.0%}."
    )
    numbers = {f"{name}, rate": rate for name, rate in found.items()}
    if len(exact) == len(found):
        return Finding(Verdict.HOLDS, evidence, numbers)
    return Finding(Verdict.CONTRADICTED if out else Verdict.WITHIN, evidence, numbers)


@check
def epoch_is_all_images(*, files: list[dict[str, Any]], images: float) -> Finding:
    """An epoch, as the solvers test after it, is all images but the last partial batch."""
    found = {n: one["test_interval"] * one["batch"] for n, one in _solvers(files).items()}
    batch = {name: one["batch"] for name, one in _solvers(files).items()}
    out = [n for n, seen in found.items() if not 0 <= images - seen < batch[n]]
    kinds = listed(dict.fromkeys(f"{seen:,}" for seen in found.values()))
    return decided(
        not out,
        f"test_interval × batch = {kinds} images; stated {images:,.0f}, so that "
        f"{len(found) - len(out)} of {len(found)} solvers go once through all of them.",
        {f"{name}, images": seen for name, seen in found.items()},
    )


@check
def rates_are_on_ladder(
    *, files: list[dict[str, Any]], first: float, factor: float, most: int
) -> Finding:
    """Each solver's rate is the first times a power of the factor of at most `most`."""
    ladder = [first * factor**k for k in range(int(most) + 1)]
    found = {name: one["base_lr"] for name, one in _solvers(files).items()}
    out = [n for n, rate in found.items() if not any(abs(rate / r - 1) < 0.02 for r in ladder)]
    kinds = listed(sorted({f"{rate:g}" for rate in found.values()}))
    return decided(
        not out,
        f"the solvers have {kinds}; {len(found) - len(out)} of {len(found)} are "
        f"{first:g} × {factor:g}^k.",
        {f"{name}, rate": rate for name, rate in found.items()},
    )


@check
def data_layer_says(*, files: list[dict[str, Any]], stated: Any, field: str) -> Finding:
    """The training data layer of every prototxt has the stated value."""
    some(files, "files")
    out = [file["name"] for file in files if file[field] != stated]
    return decided(
        not out,
        f"{field} {str(stated).lower()}: {len(files) - len(out)} of {len(files)} prototxts have it"
        f"{f', not {listed(out)}' if out else ''}.",
        {"prototxts": len(files), "have it": len(files) - len(out)},
    )


@check
def solver_values_within(
    *, files: list[dict[str, Any]], stated: dict[str, Any], field: str
) -> Finding:
    """Every solver has a value of a field between the stated ones."""
    found = {name: one[field] for name, one in _solvers(files).items()}
    out = [n for n, value in found.items() if not stated["least"] <= value <= stated["most"]]
    kinds = listed(f"{value:g}" for value in sorted(set(found.values())))
    return decided(
        not out,
        f"{len(found) - len(out)} of {len(found)} solvers have a {field} from {stated['least']:g} "
        f"to {stated['most']:g}: {kinds}.",
        {f"{name} {field}": value for name, value in found.items()},
    )


@check
def solvers_name_their_nets(*, names: list[dict[str, Any]]) -> Finding:
    """Every published solver names the prototxt published beside it."""
    some(names, "solvers")
    pairs = [(row["solver"], row["net"]) for row in names]
    out = [f"{solver} ({net})" for solver, net in pairs if net != f"{solver}.prototxt"]
    rest = f"; not {listed(out)}" if out else ""
    return decided(
        not out,
        f"{len(pairs) - len(out)} of {len(pairs)} solvers name their own prototxt{rest}.",
        {"solvers": len(pairs), "name theirs": len(pairs) - len(out)},
    )
