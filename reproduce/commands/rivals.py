"""`metaqnn rivals`: the paper's agent and other searchers on one surrogate."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from reproduce.display import duration
from reproduce.run import RunError

_EXTRA = {"sklearn": "scikit-learn", "optuna": "optuna", "torch": "torch"}


def rivals(
    authors_data: Annotated[
        Path,
        typer.Option(help="folder with the authors' own data; what is missing is fetched into it"),
    ],
    plan: Annotated[str, typer.Option(help="how much to run: quick, full")] = "quick",
    run: Annotated[
        Path | None, typer.Option("--run", help="the study's folder; runs/rivals-PLAN if not named")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="folder for the page and its figures; the study's if not"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="processes; as many as CPUs if not named")
    ] = None,
) -> None:
    """Q-learning against other searchers, Figure 3 again, early stopping: all on a surrogate."""
    _need_packages()
    from reproduce.rivals.page import FIGURES, write_page
    from reproduce.rivals.plan import PLANS, units
    from reproduce.rivals.results import read_study, write_files
    from reproduce.rivals.study import StudyError, run_study

    if plan not in PLANS:
        raise RunError(f"--plan {plan}: a plan is one of {', '.join(PLANS)}")
    folder = (run or Path("runs") / f"rivals-{plan}").resolve()
    (page or folder).mkdir(parents=True, exist_ok=True)
    console, chosen = Console(), PLANS[plan]
    processes = workers or os.cpu_count() or 1
    work = units(chosen)
    total = sum(unit.weight for unit in work)
    console.print(
        f"{len(work)} parts, roughly {duration(total / processes)} in {processes} processes; "
        f"they are kept in {folder}",
        highlight=False,
        soft_wrap=True,
    )
    count, done, began, before = 0, 0.0, time.monotonic(), 0.0
    try:
        for one in run_study(chosen, authors_data, folder, processes):
            count, done = count + 1, done + one.unit.weight
            if one.before:
                before += one.unit.weight
                continue
            pace = (time.monotonic() - began) / (done - before)
            left = duration(pace * (total - done))
            console.print(
                f"{count}/{len(work)} {one.unit.name}, {done / total:.0%}, {left} left",
                highlight=False,
                soft_wrap=True,
            )
        results = read_study(folder)
        write_files(results, folder)
        written = write_page(results, page or folder)
        if page is not None:
            write_files(results, written.parent / FIGURES)
    except StudyError as error:
        raise RunError(str(error)) from None
    except KeyboardInterrupt:
        raise RunError("stopped; the same command goes on with what is not done") from None
    console.print(f"Study: {folder}", soft_wrap=True, highlight=False)
    console.print(f"Page: {written}", soft_wrap=True, highlight=False)


def _need_packages() -> None:
    """Raise RunError if what the `rivals` extra installs is not here."""
    missing = [name for module, name in _EXTRA.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise RunError(
            f"rivals needs {', '.join(missing)}: `make rivals` installs what is missing, or "
            f".venv/bin/pip install {' '.join(missing)}"
        )
