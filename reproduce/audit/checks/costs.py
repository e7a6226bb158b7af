"""Whether the stated hardware and time can have paid for the stated training."""

from __future__ import annotations

import math
from typing import Any

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, Verdict, decided, listed, some
from reproduce.estimate import training_flop

_DAY = 86_400


def total_flop(cost: dict[str, Any]) -> float:
    """Of a search whose nets are like those sampled at ε = 1, restarts left out."""
    work = cost["models"] * cost["epochs"] * cost["images"]
    return training_flop(cost["mean_macs"]) * float(work)


@check
def hardware_suffices(
    *, cost: dict[str, Any], stated: dict[str, Any], gpus: dict[str, Any]
) -> Finding:
    """So many GPUs can train the search in so many days.

    Needed is a rate sustained by each GPU. Ambiguous, as the GPU is not named, where some GPUs of
    the time have so high a peak and others not.
    """
    flop = total_flop(cost)
    slow, fast = (
        flop / (stated["gpus"] * stated[days] * _DAY) / 1e12 for days in ("most_days", "least_days")
    )
    peaks = {name: one["tflops"] for name, one in gpus.items() if isinstance(one, dict)}
    some(peaks, "GPUs")
    able = [name for name, peak in peaks.items() if peak >= fast]
    unable = [name for name in peaks if name not in able]
    said = (
        f"{flop:.2g} FLOP ({cost['models']:,} nets × {cost['epochs']} epochs × {cost['images']:,} "
        f"images, {cost['sampled']:,} nets sampled) in {stated['least_days']:g} to "
        f"{stated['most_days']:g} days on {stated['gpus']:g} GPUs is {slow:.1f} to {fast:.1f} "
        f"TFLOP/s on each, sustained; the single-precision peak of {listed(able)} allows it"
    )
    if unable:
        said += f", that of {listed(unable)} does not"
    numbers = {"FLOP": flop, "TFLOP/s, least": slow, "TFLOP/s, most": fast}
    if able and unable:
        return Finding(Verdict.AMBIGUOUS, f"{said}.", numbers)
    return decided(bool(able), f"{said}.", numbers)


@check
def gpu_days_follow_data(*, small: dict[str, Any], full: dict[str, Any]) -> Finding:
    """A search on less data costs in proportion to the images that it trains on."""
    expected = full["gpu_days"] * small["images"] / full["images"]
    ratio = small["gpu_days"] / expected
    return decided(
        abs(math.log(ratio)) <= math.log(1.25),
        f"{small['images']:,} of {full['images']:,} images should take {expected:.1f} of "
        f"{full['gpu_days']:g} GPU-days; stated {small['gpu_days']:g}.",
        {"expected": expected, "stated": small["gpu_days"]},
    )


@check
def days_make_gpu_days(*, stated: dict[str, Any], total: dict[str, Any]) -> Finding:
    """Days times GPUs are the stated GPU-days."""
    low, high = stated["gpus"] * stated["least_days"], stated["gpus"] * stated["most_days"]
    return decided(
        low <= total["gpu_days"] <= high,
        f"{stated['gpus']:g} GPUs for {stated['least_days']:g} to {stated['most_days']:g} days are "
        f"{low:g} to {high:g} GPU-days; stated {total['gpu_days']:g}.",
        {"least": low, "most": high, "stated": total["gpu_days"]},
    )
