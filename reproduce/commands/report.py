"""`metaqnn report`: the page of any run, written once or as long as the run goes on."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from reproduce.audit.context import Context
from reproduce.audit.page_rows import audit_of
from reproduce.commands import arguments as args
from reproduce.commands.audit import Rivals, context_of
from reproduce.results.report import write_report
from reproduce.run import REPLAY_MEMORY, RunError, frozen, owner
from reproduce.search.replay_memory import read_replay_memory


def report(
    run: args.RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="the report's folder; RUN/report if not named")
    ] = None,
    watts: Annotated[
        float | None, typer.Option(min=0, help="what each device draws in training, for the energy")
    ] = None,
    authors_data: args.AuthorsData = None,
    rivals: Rivals = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="write it again after each change, until the run ends")
    ] = False,
    every: Annotated[float, typer.Option(min=1, help="seconds between two looks at the run")] = 10,
) -> None:
    """Write a run's report, of one under way too, and print where its page is."""
    folder = run / "report" if out is None else out
    given = context_of(authors_data, rivals=rivals)

    def write(refresh: float | None = None) -> Path:
        return _write(run, folder, watts, given, refresh)

    if not watch:
        print(write())
        return
    written = _watch(run, write, every)
    if not written:
        print(f"{run} is not running: its report was written once", file=sys.stderr)


def _write(
    run: Path,
    folder: Path,
    watts: float | None,
    given: Context,
    refresh: float | None,
) -> Path:
    """Write the report of one moment; only its own folder is written."""
    experiment = frozen(run)
    audit = audit_of(run, given.authors_data, given.rivals)
    with read_replay_memory(run / REPLAY_MEMORY) as memory, memory.snapshot():
        try:
            return write_report(
                experiment, memory, folder, audit=audit, refresh=refresh, watts=watts
            )
        except OSError as error:
            raise RunError(
                f"{folder} cannot hold the report: {error.strerror or error}; "
                "name another folder with --out"
            ) from None


def _watch(run: Path, write: Callable[[float | None], Path], every: float) -> bool:
    """Write the report after each change of the replay memory, until the run ends or Ctrl-C.

    The last page does not load itself again.

    Returns:
        Whether the run was under way.
    """
    seen, written = None, False
    with contextlib.suppress(KeyboardInterrupt):
        while owner(run) is not None:
            now = _last_change(run)
            if now and now != seen:
                page, first = write(every), not written
                seen, written = now, True
                if first:  # whoever reads this may end the watch at once
                    print(page, flush=True)
            time.sleep(every)
    page = write(None)
    if not written:
        print(page, flush=True)
    return written


def _last_change(run: Path) -> list[tuple[int, int]]:
    """What differs after each transaction: SQLite appends it to the `-wal`, later to the file."""
    found = []
    for name in (REPLAY_MEMORY, f"{REPLAY_MEMORY}-wal"):
        with contextlib.suppress(FileNotFoundError):
            stat = (run / name).stat()
            found.append((stat.st_mtime_ns, stat.st_size))
    return found
