"""What the layer tests compared with what, and the table of it in the documentation."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

PASSES = ("forward", "backward", "GPU")
NO_GPU = "no CUDA device was there"
BEGIN, END = "<!-- layers: begin -->", "<!-- layers: end -->"


@dataclass
class Record:
    """For each layer type and pass, the oracles that judged it, each with its number of cases."""

    counts: dict[str, dict[str, dict[str, int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    )

    def add(self, layer: str, which: str, oracle: str) -> None:
        """Note one case in which a pass agreed with an oracle.

        Args:
            layer: the layer's type.
            which: one of `PASSES`.
            oracle: `real Caffe`, or what else was the judge, as the table will say it.
        """
        if which not in PASSES:
            raise ValueError(f"a pass is one of {PASSES}, not {which!r}")
        self.counts[layer][which][oracle] += 1

    def oracles(self, layer: str, which: str) -> set[str]:
        """Who judged a pass of a layer."""
        return set(self.counts.get(layer, {}).get(which, {}))

    def cell(self, layer: str, which: str) -> str:
        """The table's words for a pass of a layer."""
        names = sorted(self.oracles(layer, which), key=lambda name: (name != "real Caffe", name))
        if names:
            return "; ".join(names)
        return NO_GPU if which == "GPU" else "—"

    def rows(self) -> list[str]:
        """The table's rows in Markdown, one a layer type, by name."""
        return [
            f"| {layer} | " + " | ".join(self.cell(layer, which) for which in PASSES) + " |"
            for layer in sorted(self.counts)
        ]

    def table(self) -> str:
        """The table in Markdown."""
        return "\n".join(
            ["| layer | forward | backward | GPU |", "|---|---|---|---|", *self.rows()]
        )

    def write(self, page: Path) -> None:
        """Put the table between the marks of a page."""
        text = page.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        page.write_text(f"{before}{BEGIN}\n{self.table()}\n{END}{after}", encoding="utf-8")

    def save(self, path: Path) -> None:
        """Keep the counts as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.counts, indent=1, sort_keys=True) + "\n")


def published_rows(page: Path) -> dict[str, str]:
    """The rows of the page's table by layer type."""
    text = page.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return {line.split("|")[1].strip(): line for line in lines}
