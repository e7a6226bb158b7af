"""`metaqnn data`: what lies in the data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from data_prep.errors import DataError
from data_prep.manifest import FILE_NAME, Manifest, read_manifest
from data_prep.show import as_json as manifest_json
from data_prep.show import contact_sheet, prepared_folders, write_png
from reproduce.commands import arguments as args
from reproduce.commands.reading import print_result

app = typer.Typer(no_args_is_help=True, help="Look at prepared data sets.")


@app.callback()
def _data() -> None:
    """Look at prepared data sets."""


@app.command()
def show(
    folder: Annotated[
        Path, typer.Argument(help="a prepared folder, or one that holds some")
    ] = args.DATA,
    database: Annotated[
        str, typer.Option(help="which database the sheet shows: train, val, train_full, test")
    ] = "train",
    sheet: Annotated[
        Path | None, typer.Option(help="write a contact sheet of it here, as PNG")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the random windows of padded images")] = 0,
    as_json: args.AsJson = False,
) -> None:
    """Counts by class and database, mean and deviation, and a PNG of what the net will see."""
    folders = [folder] if (folder / FILE_NAME).is_file() else prepared_folders(folder)
    if not folders:
        raise DataError(f"{folder} holds no prepared data set; `python -m data_prep` makes one")
    if sheet is not None and len(folders) > 1:
        names = ", ".join(path.name for path in folders)
        raise DataError(f"{folder} holds {names}: name one of them for a contact sheet")
    manifests = [read_manifest(path) for path in folders]
    if as_json:
        print_result([manifest_json(manifest) for manifest in manifests], as_json)
    else:
        print_result("\n".join(_text(m) for m in manifests), as_json)
    if sheet is not None:
        made = contact_sheet(folders[0], database, np.random.default_rng(seed))
        write_png(made, sheet)
        if not as_json:
            print_result(
                f"{sheet}: {database}, black is {made.low:.4g}, white {made.high:.4g}\n", as_json
            )


def _text(manifest: Manifest) -> str:
    """A prepared folder on a screen."""
    names = list(manifest.databases)
    lines = [
        f"{manifest.folder}: {manifest.dataset}, {manifest.classes} classes, images "
        + "×".join(map(str, manifest.shape)),
        *(f"    {source.status:<10} {source.name}: {source.origin}" for source in manifest.sources),
        *(f"    {line}" for line in manifest.preprocessing),
        "    " + "".join(f"{heading:>14}" for heading in ["", *names]),
    ]
    rows = [("records", [f"{db.records:,}" for db in manifest.databases.values()])]
    rows += [
        (f"class {label}", [f"{db.per_class[label]:,}" for db in manifest.databases.values()])
        for label in range(manifest.classes)
    ]
    for what in ("mean", "std"):
        for channel in range(manifest.shape[0]):
            values = [getattr(db, what)[channel] for db in manifest.databases.values()]
            rows.append((f"{what} {channel}", [f"{value:.4f}" for value in values]))
    lines += ["    " + "".join(f"{cell:>14}" for cell in [name, *cells]) for name, cells in rows]
    return "\n".join(lines) + "\n"
