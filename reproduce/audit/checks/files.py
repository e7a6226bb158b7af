"""Published prototxts, the tables and the web page against each other."""

from __future__ import annotations

from typing import Any

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, decided, listed, some


@check
def rows_have_files(*, nets: list[dict[str, Any]], files: list[dict[str, Any]]) -> Finding:
    """A prototxt was published for every row of a table."""
    some(nets, "rows")
    there = {file["architecture"] for file in files}
    out = [net for net in nets if net["notation"] not in there]
    missing = listed(f"{net['id']} ({net['error']:g} %)" for net in out)
    return decided(
        not out,
        f"{len(nets) - len(out)} of {len(nets)} rows have a prototxt"
        f"{f'; there is none for {missing}' if out else ''}.",
        {"rows": len(nets), "with a prototxt": len(nets) - len(out)},
    )


@check
def files_are_in_tables(*, files: list[dict[str, Any]], nets: list[dict[str, Any]]) -> Finding:
    """Every published prototxt is the net of a row of a table of top architectures."""
    some(files, "files")
    rows = {net["notation"] for net in nets if "/web-" not in net["id"]}
    out = [file["name"] for file in files if file["architecture"] not in rows]
    return decided(
        not out,
        f"{len(files) - len(out)} of {len(files)} prototxts are nets of the tables"
        f"{f', not {listed(out)}' if out else ''}.",
        {"prototxts": len(files), "in a table": len(files) - len(out)},
    )


@check
def page_shows_its_files(*, page: list[dict[str, Any]], files: list[dict[str, Any]]) -> Finding:
    """The web page shows, for each prototxt that it links to, that prototxt's architecture."""
    by_name = {file["name"]: file["architecture"] for file in files}
    rows = [row for row in page if row["file"] in by_name]
    some(rows, "entries")
    out = [row for row in rows if by_name[row["file"]] != row["architecture"]]
    others = {architecture: name for name, architecture in by_name.items()}
    shown = ", ".join(
        f"{row['file']} shows {others.get(row['architecture'], 'a net of no file')}" for row in out
    )
    return decided(
        not out,
        f"{len(rows) - len(out)} of {len(rows)} entries show their own file's net"
        f"{f'; {shown}' if out else ''}.",
        {"entries": len(rows), "show their own file": len(rows) - len(out)},
    )


@check
def page_errors_are_the_tables(
    *, page: list[dict[str, Any]], files: list[dict[str, Any]], nets: list[dict[str, Any]]
) -> Finding:
    """Where an entry's prototxt is the net of a table's row, the page has the row's error."""
    architecture = {file["name"]: file["architecture"] for file in files}
    rows = {net["notation"]: net for net in nets if "/web-" not in net["id"]}
    both = [
        (row, rows[architecture[row["file"]]])
        for row in page
        if architecture.get(row["file"]) in rows
    ]
    some(both, "entries whose net is in a table")
    out = [(row, net) for row, net in both if abs(row["error"] - net["error"]) > 0.0005]
    said = ", ".join(
        f"{row['file']} has {row['error']:g} %, {net['id']} {net['error']:g} %" for row, net in out
    )
    return decided(
        not out,
        f"{len(both) - len(out)} of {len(both)} entries have the error of their row"
        f"{f'; {said}' if out else ''}.",
        {"entries": len(both), "same error": len(both) - len(out)},
    )


@check
def page_lists_every_file(*, page: list[dict[str, Any]], files: list[dict[str, Any]]) -> Finding:
    """Every published prototxt is on the web page and has a solver."""
    some(files, "files")
    listed_files = {row["file"] for row in page}
    orphans = [file["name"] for file in files if file["name"] not in listed_files]
    without = [file["name"] for file in files if not file["solver"]]
    return decided(
        not orphans and not without,
        f"{len(files)} prototxts; not on the page: {listed(orphans)}; without a solver: "
        f"{listed(without)}.",
        {"prototxts": len(files), "not on the page": len(orphans), "no solver": len(without)},
    )


@check
def tables_agree(
    *, first: list[dict[str, Any]], second: list[dict[str, Any]], field: str
) -> Finding:
    """Two versions of a table have the same architectures with the same numbers in a field."""
    some(first, "rows")
    some(second, "rows")
    before = {net["notation"]: net for net in first}
    after = {net["notation"]: net for net in second}
    lost = [net["id"] for text, net in before.items() if text not in after]
    changed = [
        f"{net['id']} {net[field]:g} → {after[text][field]:g}"
        for text, net in before.items()
        if text in after and net[field] != after[text][field]
    ]
    parts = [
        f"{len(before) - len(lost) - len(changed)} of {len(before)} rows have the same {field}",
        *([f"changed: {', '.join(changed)}"] if changed else []),
        *([f"dropped: {', '.join(lost)}"] if lost else []),
    ]
    numbers = {"rows": len(before), "changed": len(changed), "dropped": len(lost)}
    return decided(not lost and not changed, f"{'; '.join(parts)}.", numbers)
