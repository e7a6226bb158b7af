"""The released code's server, its clients and its files, by the few lines that each check repeats.

The code, bowenbaker/metaqnn at a25847f, runs under Python 2 alone.
"""

from __future__ import annotations

import json
from collections import deque
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


@check
def names_are_defined(*, names: dict[str, Any]) -> Finding:
    """Every name that a part of the released code reads is defined somewhere in it."""
    some(names["reads"], "names")
    missing = [name for name in names["reads"] if name not in names["defined"]]
    said = f"{len(names['reads']) - len(missing)} of {len(names['reads'])} names are defined"
    rest = f", not {listed(missing)}" if missing else ""
    return decided(not missing, f"{said}{rest}.", {"names": len(names["reads"])})


@check
def one_round_for_each_training(*, sampled: dict[str, Any], replays: float) -> Finding:
    """One round of replays follows a training (q_server.py:164-169, 192-208).

    A net that is sampled again while it is in training is one more row, and one more round.
    """
    rounds = int(sampled["times"])
    return decided(
        rounds == 1,
        f"a net sampled {rounds} times until its training ends adds {rounds} rows, and "
        f"{rounds * replays:g} nets are replayed.",
        {"rows": rounds, "replayed": rounds * replays},
    )


@check
def memory_is_a_dictionary(*, rows: dict[str, Any]) -> Finding:
    """A replay draws each net alike; the code (q_learner.py:242) draws each row alike."""
    one, other = int(rows["of_one_net"]), int(rows["of_another"])
    if one + other <= 0:
        raise UnfitInputError("there are no rows")
    share = one / (one + other)
    said = (
        f"a net of {one} rows beside one of {other} is drawn with {0.5:.0%} from a dictionary, "
        f"with {share:.0%} from a list."
    )
    numbers = {"dictionary": 0.5, "list": share}
    return Finding(Verdict.HOLDS if share == 0.5 else Verdict.AMBIGUOUS, said, numbers)


def models_trained(schedule: list[Any], clients: int) -> dict[float, int]:
    """Unique nets by the ε of their sampling, as q_server.py:113-138 counts finished ones.

    A client gets a new net whenever it has finished one; the others are then still in training.

    Raises:
        UnfitInputError: without clients.
    """
    if clients < 1:
        raise UnfitInputError("there is no client")
    planned = {float(epsilon): int(models) for epsilon, models in schedule}
    finished = dict.fromkeys(planned, 0)
    running: deque[float] = deque()
    while epsilon := next((e for e, n in planned.items() if finished[e] < n), None):
        running.append(epsilon)
        if len(running) == clients:
            finished[running.popleft()] += 1
    for epsilon in running:
        finished[epsilon] += 1
    return finished


@check
def clients_train_exactly(*, schedule: list[Any], hardware: dict[str, Any]) -> Finding:
    """With the stated GPUs, one client each, the server trains the schedule's numbers of nets."""
    some(schedule, "stages")
    finished = models_trained(schedule, int(hardware["gpus"]))
    over = {float(e): finished[float(e)] - models for e, models in schedule}
    said = ", ".join(f"ε {e:g}: {n:,}" for e, n in list(finished.items())[:3])
    return decided(
        not any(over.values()),
        f"{hardware['gpus']:g} clients train {said}: up to {max(over.values()):g} more than "
        f"stated, {sum(finished.values()):,} in all.",
        {f"more at ε {e:g}": n for e, n in over.items()},
    )


@check
def overshoot_is_of_clients(*, stages: list[dict[str, Any]], hardware: dict[str, Any]) -> Finding:
    """Nets still in training when a stage was full explain what its own run has too many."""
    some(stages, "stages")
    needed = {one["epsilon"]: one["new"] - one["planned"] + 1 for one in stages}
    said = ", ".join(f"{n:,} at ε {e:g}" for e, n in needed.items())
    return decided(
        max(needed.values()) <= hardware["gpus"],
        f"it takes clients: {said}; there were {hardware['gpus']:g} GPUs.",
        {f"clients at ε {e:g}": n for e, n in needed.items()},
    )


@check
def repeats_stay_below_limit(
    *, schedule: list[Any], bars: list[dict[str, Any]], limit: float
) -> Finding:
    """Nets sampled again, one call within the other (q_server.py:162), never reach the limit.

    The share of repeats is that of each ε's samples; the chance that so many follow each other is
    summed over the schedule's nets.
    """
    samples = {bar["epsilon"]: bar["samples"] for bar in bars}
    some(schedule, "stages")
    shares = {e: max(0.0, 1 - models / samples[e]) for e, models in schedule}
    expected = sum(models * shares[e] ** limit for e, models in schedule)
    most = max(shares.values())
    return decided(
        expected < 0.01,
        f"at most {most:.0%} of an ε's samples are repeats, so that {expected:.1g} searches in one "
        f"meet {limit:g} in a row.",
        {"most repeats": most, "expected": expected},
    )


@check
def epsilon_asked_is_run(*, asked: dict[str, Any], schedule: list[Any]) -> Finding:
    """The server runs the ε that it is asked for (q_server.py:57: `False if epsilon else True`)."""
    some(schedule, "stages")
    epsilon = asked["epsilon"]
    stages = [[epsilon, None]] if epsilon else schedule
    return decided(
        [e for e, _ in stages] == [epsilon],
        f"asked for ε {epsilon:g}, it runs {len(stages)} stages, from ε {stages[0][0]:g} to ε "
        f"{stages[-1][0]:g}.",
        {"stages": len(stages), "first": stages[0][0]},
    )


@check
def saved_q_values_are_kept(
    *, written: dict[str, Any], alpha: float, initial: float, reward: dict[str, Any]
) -> Finding:
    """Q-values that are saved and loaded again are the same (q_learner.py:15-57, 60-117).

    They are those of the first thousand updates towards one reward, in double precision.
    """
    digits, value, changes = int(written["digits"]), initial, []
    for _ in range(1000):
        value += alpha * (reward["percent"] / 100 - value)
        changes.append(abs(float(f"{value:.{digits}g}") - value))
    changed = sum(map(bool, changes))
    return decided(
        not changed,
        f"written with {digits} digits, {changed:,} of {len(changes):,} values change, by up to "
        f"{max(changes):.1g}; equal ones stay equal, values as close as that become so.",
        {"changed": changed, "most": max(changes)},
    )


@check
def flag_is_read(*, flag: dict[str, Any]) -> Finding:
    """A flag's text is read as what it says (`type=bool`, lmdb_creator.py:209-210)."""
    return decided(
        bool(flag["text"]) == flag["means"],
        f"bool of the text {flag['text']!r} is {bool(flag['text'])}; it means {flag['means']}.",
        {"read as": str(bool(flag["text"]))},
    )


@check
def known_nets_alone_are_removed(*, files: dict[str, Any]) -> Finding:
    """A net's files are looked up only if it has some (caffe_client.py:20, `len(nets == net)`)."""
    looked_up = len([net == files["asked"] for net in files["nets"]]) > 0
    there = files["asked"] in files["nets"]
    said = "is looked up" if looked_up else "is not looked up"
    return decided(
        looked_up == there,
        f"{files['asked']}, {'' if there else 'not '}among {len(files['nets'])} nets, {said}"
        f"{': IndexError' if looked_up and not there else ''}.",
        {"looked up": str(looked_up), "there": str(there)},
    )


@check
def last_accuracy_is_there(*, log: list[str]) -> Finding:
    """A training's log has an accuracy (run_caffe_command_line.py:149-151 takes the last)."""
    rows = [line for line in log if "Test net output" in line]
    return decided(
        bool(rows),
        f"{len(rows)} of {len(log)} lines have a test's output"
        f"{'' if rows else ': the last of none is an IndexError'}.",
        {"lines": len(log), "of tests": len(rows)},
    )


@check
def second_client_is_refused(*, names: list[str]) -> Finding:
    """A client of a name that is taken is refused, and no more (q_server.py:220-223, 237-249)."""
    some(names, "clients")
    clients: dict[str, int] = {}
    refused = [n for n, name in enumerate(names) if clients.setdefault(name, n) != n]
    lost = [number for number in refused if number not in clients.values()]
    end = ": the name of none of its clients is looked up, IndexError" if lost else ""
    return decided(
        not lost,
        f"{len(refused)} of {len(names)} connections are refused and then lost{end}.",
        {"refused": len(refused), "unknown": len(lost)},
    )


@check
def messages_come_apart(*, sent: list[str]) -> Finding:
    """What arrives at once is read (q_server.py:236-237: one `json.loads` for each packet)."""
    some(sent, "messages")
    try:
        json.loads("".join(sent))
    except ValueError as error:
        said = str(error).partition(":")[0]
        return decided(False, f"{len(sent)} messages in one packet: {said}.", {"read": 0})
    return decided(True, f"{len(sent)} message in one packet is read.", {"read": len(sent)})


@check
def epochs_are_whole(
    *, images: float, validation: float, batch: float, epochs: float, tolerance: float
) -> Finding:
    """So many iterations are the stated epochs (hyper_parameters.py:15: whole iterations each)."""
    trained = images - validation
    each = int(trained // batch)
    seen = each * epochs * batch
    said = (
        f"{each} iterations an epoch, {each * epochs:,.0f} in all, see {seen:,.0f} of "
        f"{trained * epochs:,.0f} images, {seen / trained:.2f} epochs."
    )
    numbers = {"iterations": each * epochs, "epochs": seen / trained}
    return compared(seen / (trained * epochs) - 1, 0.0, tolerance, said, numbers)
