"""The text against the authors' own data: trainings, sampled nets, Q-values, the schedule."""

from __future__ import annotations

from typing import Any

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import (
    Finding,
    UnfitInputError,
    Verdict,
    compared,
    decided,
    listed,
    some,
)
from reproduce.results.intervals import wilson_interval


@check
def restarts_seen(*, rates: dict[str, Any], stated: float) -> Finding:
    """Nets were restarted up to the stated number of times.

    Where fewer are seen, the share of the next rate is taken to go on falling as the last two do:
    underpowered if the 95 % interval of none seen has room for it.
    """
    most, total = rates["restarts"], rates["nets"]
    counts = list(rates["counts"].values())
    shares = ", ".join(f"{rate} {count / total:.1%}" for rate, count in rates["counts"].items())
    said = f"stated {stated:g} restarts; at most {most} seen, {total:,} nets began at {shares}"
    numbers = {"restarts": most, "nets": total}
    if most >= stated:
        return decided(most == stated, f"{said}.", numbers)
    if len(counts) < 2 or not counts[-2]:
        raise UnfitInputError("there are no two rates")
    expected = counts[-1] ** 2 / counts[-2]
    _, high = wilson_interval(0, total)
    end = f"; {expected:.1f} are expected at the next rate, up to {high * total:.1f} may be missed"
    enough = expected > high * total
    return Finding(
        Verdict.CONTRADICTED if enough else Verdict.UNDERPOWERED, f"{said}{end}.", numbers
    )


@check
def rates_on_ladder(*, rates: dict[str, Any]) -> Finding:
    """Every net that learned began at 0.001 times a power of 0.4."""
    total, on = rates["nets"], rates["on_ladder"]
    return decided(on == total, f"{on:,} of {total:,} nets.", {"nets": total, "on ladder": on})


@check
def threshold_seen(*, thresholds: dict[str, Any], stated: float) -> Finding:
    """A net was kept if it was better than the stated accuracy after its first epoch.

    The least accuracy kept tells the threshold: many nets are just above the true one.
    """
    key = f"{stated:g}"
    if key not in thresholds["just_above"]:
        raise UnfitInputError(f"no counts at {key}")
    above, below = thresholds["just_above"][key], thresholds["below"][key]
    others = {t: n for t, n in thresholds["just_above"].items() if t != key}
    said = (
        f"least accuracy after the first epoch of a kept net: {thresholds['least_first']:.4f}; "
        f"within 0.02 above {key}: {above} nets, at or below it {below}; "
        + ", ".join(f"above {t}: {n}" for t, n in others.items())
    )
    numbers = {"least": thresholds["least_first"], "just above": above, "below": below}
    return decided(above > 0 and below == 0, f"{said}.", numbers)


@check
def rate_falls_every(*, schedule: dict[str, Any], epochs: float) -> Finding:
    """The learning rate falls every so many epochs: there the curves change their pace."""
    wanted = [epochs * k for k in range(1, len(schedule["falls"]) + 1)]
    return decided(
        schedule["falls"] == wanted,
        f"the curves change their pace after epochs {listed(schedule['falls'])}.",
        {f"change {k}": epoch for k, epoch in enumerate(schedule["falls"], 1)},
    )


@check
def sampled_dropout_is(*, dropout: dict[str, Any], rule: str) -> Finding:
    """The dropout of every sampled net is that of a rule."""
    total, found = dropout["nets"], dropout["reproduced"][rule]
    said = (
        f"{found:,} of {total:,} distinct nets; in {dropout['short_of_half']:,} the last ratio is "
        "below 0.5."
    )
    return decided(found == total, said, {"nets": total, "follow": found})


@check
def sampled_nets_inside(*, fit: dict[str, Any]) -> Finding:
    """Every sampled net is a member of a space."""
    reasons = "; ".join(f"{reason}: {count}" for reason, count in fit["reasons"].items())
    return decided(
        fit["inside"] == fit["nets"],
        f"{fit['inside']:,} of {fit['nets']:,} distinct nets{f'; {reasons}' if reasons else ''}.",
        {"nets": fit["nets"], "inside": fit["inside"]},
    )


@check
def pointwise_is_preferred(*, fields: dict[str, Any]) -> Finding:
    """Sampled nets start with a 1×1 convolution more often than with another.

    Underpowered where the 95 % interval of the share contains chance.
    """
    total = sum(fields.values())
    if not total or "1" not in fields:
        raise UnfitInputError("there are no first convolutions")
    low, high = wilson_interval(fields["1"], total)
    chance = 1 / len(fields)
    said = ", ".join(f"{f}×{f} {count / total:.1%}" for f, count in fields.items())
    evidence = f"n = {total:,}: {said}; 95 % interval of 1×1 {low:.1%} to {high:.1%}."
    numbers = {f"{f}×{f}": count for f, count in fields.items()}
    if low <= chance <= high:
        return Finding(Verdict.UNDERPOWERED, evidence, numbers)
    return decided(low > chance, evidence, numbers)


@check
def gap_nets_learn(*, failures: dict[str, Any]) -> Finding:
    """Nets that end in global average pooling learn as often as the others."""
    gap, rest = failures["gap"], failures["others"]
    ends = [wilson_interval(g["chance"] * g["nets"], g["nets"]) for g in (gap, rest)]
    return decided(
        ends[0][0] <= ends[1][1],
        f"at ε {failures['epsilon']:g} {gap['chance']:.0%} of {gap['nets']:,} nets with GAP stayed "
        f"at chance level, of the {rest['nets']:,} others {rest['chance']:.0%}.",
        {"with GAP": gap["chance"], "others": rest["chance"]},
    )


@check
def all_replayed_states_change(*, q_values: dict[str, Any]) -> Finding:
    """Replays update all transitions of a sampled net: no state of its walk keeps its first value.

    Rows of states that walks meet and replays take for another one never change.
    """
    rows, same = q_values["only_in_walks"], q_values["only_in_walks_unchanged"]
    fc, fc_all, replayed = (
        q_values[kinds].get(name, 0)
        for kinds, name in (
            ("unchanged_kinds", "FC 4"),
            ("kinds", "FC 1"),
            ("unchanged_kinds", "FC 1"),
        )
    )
    return decided(
        same == 0,
        f"{same:,} of {rows:,} Q-values of states that only walks meet never changed, {fc:,} of "
        f"them of fully-connected layers in R-size bin 4; in bin 1 {replayed:,} of {fc_all:,}.",
        {"rows": rows, "unchanged": same},
    )


@check
def q_values_are_accuracies(*, q_values: dict[str, Any]) -> Finding:
    """With γ = 1 and accuracies for rewards no Q-value exceeds 1."""
    above, debug = q_values["above_one"], q_values["above_one_debug"]
    return decided(
        above == 0,
        f"{above:,} of {q_values['pairs']:,} Q-values exceed 1, up to {q_values['largest']:.2f}; "
        f"{debug:,} of them are on the walks of debug rows with an accuracy of 86.",
        {"above 1": above, "largest": q_values["largest"]},
    )


@check
def replays_per_model(*, replays: list[dict[str, Any]], stated: float, tolerance: float) -> Finding:
    """After each sampled model the stated number of models is replayed, within a share of it.

    Told by Q-values of nets that one walk alone leads to.
    """
    some(replays, "Q-values")
    each = [one["per_sample"] for one in replays]
    said = "; ".join(
        f"{one['net']}, sampled {one['rows']} times, has the value of {one['updates']:.0f} updates"
        for one in replays
    )
    mean = sum(each) / len(each)
    evidence = f"{said}: {mean:.0f} replays for each sample; stated {stated:g}."
    numbers = {one["net"]: one["per_sample"] for one in replays}
    return compared(mean - stated, 0.5, tolerance * stated, evidence, numbers)


@check
def stages_are_exact(*, stages: list[dict[str, Any]]) -> Finding:
    """At each ε the schedule's number of unique models was trained."""
    some(stages, "stages")
    off = [one for one in stages if one["new"] != one["planned"]]
    said = ", ".join(f"ε {s['epsilon']:g}: {s['new']:,} of {s['planned']:,}" for s in stages)
    return decided(not off, f"{said}.", {f"ε {s['epsilon']:g}": s["new"] for s in stages})


@check
def learns_after_each(*, stages: list[dict[str, Any]]) -> Finding:
    """The agent learned after each model: each sample has a number of updates of its own."""
    some(stages, "stages")
    kinds = {s["epsilon"]: len(s["updates"]) for s in stages}
    said = ", ".join(f"ε {s['epsilon']:g}: {kinds[s['epsilon']]} of {s['rows']:,}" for s in stages)
    return decided(
        all(kinds[s["epsilon"]] >= s["nets"] for s in stages),
        f"distinct numbers of updates among the samples: {said}.",
        {f"ε {epsilon:g}": count for epsilon, count in kinds.items()},
    )


@check
def database_is_of_search(*, debug: dict[str, Any]) -> Finding:
    """Every row of the shipped replay database is a sample of the search."""
    rows = debug["rows"]
    return decided(
        rows == 0,
        f"{rows} rows have accuracies of {listed(f'{one:g}' for one in debug['accuracies'])}, from "
        f"{debug['first']} to {debug['last']}.",
        {"debug rows": rows},
    )


@check
def trained_whole(*, trainings: dict[str, Any], tolerance: float) -> Finding:
    """Every net that learned was trained for all epochs; short of it at most a share."""
    whole, short = trainings["whole"], trainings["cut_short"]
    total = whole + short
    if not total:
        raise UnfitInputError("no net has learned")
    said = f"{whole:,} of {total:,} samples that learned were, {short} were cut short."
    return compared(short / total, 0.0, tolerance, said, {"whole": whole, "cut short": short})


@check
def same_accuracies(*, pair: dict[str, Any], tolerance: float) -> Finding:
    """The nets that two files share have the same accuracies; others are at most a share."""
    if not pair["nets"]:
        raise UnfitInputError("the files share no net")
    off = 1 - pair["equal"] / pair["nets"]
    said = f"{pair['equal']} of {pair['nets']} shared nets have the same accuracies."
    return compared(off, 0.0, tolerance, said, {"shared": pair["nets"], "equal": pair["equal"]})


@check
def top_nets_are_best(*, published: list[dict[str, Any]], table: str) -> Finding:
    """The rows of a table are the nets of the highest validation accuracy of the search.

    Underpowered where the data does not have all rows: it is a part of the search.
    """
    rows = [one for one in published if one["net"]["id"].startswith(table)]
    some(rows, "rows")
    there = [one for one in rows if one["rank"] is not None]
    said = ", ".join(
        f"{one['net']['id']}: "
        + (f"{one['best']:.4f}, rank {one['rank']} of {one['among']}" if one["rank"] else "absent")
        for one in rows
    )
    numbers = {one["net"]["id"]: one["rank"] or "absent" for one in rows}
    best = all(one["rank"] <= 10 for one in there)
    if not best:
        return Finding(Verdict.CONTRADICTED, f"{said}.", numbers)
    return Finding(
        Verdict.HOLDS if len(there) == len(rows) else Verdict.UNDERPOWERED, f"{said}.", numbers
    )


@check
def work_fits_hardware(*, work: dict[str, Any], gpus: dict[str, Any]) -> Finding:
    """What the sampled nets cost could be trained on the stated GPUs in the stated days."""
    slow, fast = (rate / 1e12 for rate in work["sustained"])
    peaks = {name: one["tflops"] for name, one in gpus.items() if isinstance(one, dict)}
    some(peaks, "GPUs")
    able = [name for name, peak in peaks.items() if peak >= fast]
    said = (
        f"{work['nets']:,} nets, {work['epochs']:.2f} epochs each with restarts: "
        f"{work['total']:.2g} FLOP for {work['searched']:,}, {slow:.1f} to {fast:.1f} TFLOP/s "
        f"sustained on each of {work['gpus']} GPUs; {listed(able)} can by their peak."
    )
    numbers = {"FLOP": work["total"], "TFLOP/s, least": slow, "TFLOP/s, most": fast}
    if able and len(able) < len(peaks):
        return Finding(Verdict.AMBIGUOUS, said, numbers)
    return decided(bool(able), said, numbers)
