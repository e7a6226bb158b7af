"""`metaqnn audit`: every checkable claim of the paper, with a verdict and its evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from reproduce.audit import render
from reproduce.audit.audit import audit, audited
from reproduce.audit.claims import ClaimError, all_claims, claim_named
from reproduce.audit.context import Context
from reproduce.commands import arguments as args
from reproduce.commands.reading import print_result

Runs = Annotated[
    list[Path] | None,
    typer.Option("--run", metavar="RUN", help="a run's folder, whose numbers count; repeatable"),
]
Rivals = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="a study of searches on the surrogate: predictions count too"),
]

app = typer.Typer(invoke_without_command=True, help="Every claim of the paper, with a verdict.")


@app.callback()
def _audit(
    context: typer.Context,
    authors_data: args.AuthorsData = None,
    runs: Runs = None,
    rivals: Rivals = None,
    as_json: args.AsJson = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="print the page of the documentation")
    ] = False,
) -> None:
    """Check every claim of the paper, and say what each verdict rests on."""
    given = context_of(authors_data, runs, rivals)
    if context.invoked_subcommand:
        context.obj = given
        return
    if as_json and as_markdown:
        raise ClaimError("--json and --markdown: choose one")
    found = list(audit(all_claims(), given))
    if as_json:
        print_result([one.to_json() for one in found], as_json)
    elif as_markdown:
        print_result(render.markdown(found), as_json)
    else:
        render.terminal(found, Console())


@app.command()
def explain(
    context: typer.Context,
    claim: Annotated[str, typer.Argument(metavar="CLAIM", help="a claim's id")],
    authors_data: args.AuthorsData = None,
    runs: Runs = None,
    rivals: Rivals = None,
    as_json: args.AsJson = False,
) -> None:
    """Go through one claim: what it says, how it is checked, on what, and what came out."""
    outer: Context = context.obj
    given = context_of(
        authors_data or outer.authors_data, runs or list(outer.runs), rivals or outer.rivals
    )
    one = audited(claim_named(claim), given)
    print_result(one.to_json() if as_json else render.explanation(one), as_json)


def context_of(
    authors_data: Path | None, runs: list[Path] | None = None, rivals: Path | None = None
) -> Context:
    """What the options give.

    Raises:
        ClaimError: if the folder of the authors' data, or that of a study, is none.
    """
    if authors_data is not None and authors_data.exists() and not authors_data.is_dir():
        raise ClaimError(f"--authors-data {authors_data}: it is no folder")
    if rivals is not None and not rivals.is_dir():
        raise ClaimError(f"--rivals {rivals}: it is no folder")
    return Context(authors_data, tuple(runs or ()), rivals)
