"""`metaqnn transfer`: a run's best net on other data sets (Table 5)."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console

from reproduce.commands import arguments as args
from reproduce.commands.tables import print_tables
from reproduce.options import Options, gpu_list
from reproduce.pipeline import drive_transfer
from reproduce.run import frozen


def transfer(
    run: args.RunFolder,
    to: Annotated[
        str, typer.Option(help="some of the data sets alone, as cifar100,mnist; empty: all")
    ] = "",
    gpus: args.Gpus = "",
    threads: args.Threads = None,
    data: args.Data = args.DATA,
    cache: args.Cache = args.CACHE,
    yes: args.Yes = False,
) -> None:
    """Train a run's best net on other data sets, from scratch and from its weights (Table 5)."""
    datasets = [name.strip() for name in to.split(",") if name.strip()]
    options = Options(data.resolve(), cache.resolve(), gpu_list(gpus), threads=threads, yes=yes)
    console = Console()
    page = drive_transfer(frozen(run), run, datasets, options, os.environ, console)
    print_tables(run)
    console.print(f"Report: {page}", soft_wrap=True, highlight=False)
