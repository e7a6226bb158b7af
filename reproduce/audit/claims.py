"""The claims: TOML files, one for each section, table, figure or appendix of the paper."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

FOLDER = Path(__file__).parent / "claims"

Version = Literal[
    "first version", "later revision", "thesis", "web page", "released code", "authors' data"
]
"""Where a claim is made. "first version": arXiv v1, November 2016. "later revision": the text of
the final version. "thesis": the first author's, whose chapter 3 repeats the paper. "web page": the
one published with the nets. "authors' data": the replay database, Q-values and learning curves."""

Text = Annotated[str, Field(min_length=1)]
Plain = float | int | str | bool | list[float] | list[str]


PLACES = (
    "Abstract", "Section 1", "Section 2", "Section 3", "Section 4.1", "Section 4.2", "Section 4.3",
    "Section 5", "Section 6", "Section 7", "Table 1", "Table 2", "Table 3", "Table 4", "Table 5",
    "Figure 1", "Figure 2", "Figure 3", "Appendix A", "Appendix B", "Appendix C", "Appendix D",
    "Appendix E", "Table A1", "Table A2", "Table A3", "Table A4", "Figure A1", "Figure A2",
    "Figure A3", "Figure A4",
)  # fmt: skip
"""Every section, table, figure and appendix of the first version."""

OTHER_PLACES = ("Thesis, section 3.4.1", "Thesis, section 3.5", "Thesis, Figure 3-6", "Web page",
                "Released code", "Authors' data")  # fmt: skip
"""What only other sources have."""


class ClaimError(ValueError):
    """A claims file is wrong; the message names the file, the claim and the field in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Claim(BaseModel):
    """One statement that can be checked.

    Attributes:
        id: place and name, `table-3/top-model-cifar10`.
        says: the statement in our words.
        place: one of `PLACES` or `OTHER_PLACES`.
        versions: the sources that make it.
        check: the name of the check.
        inputs: references to data, by the names of the check's arguments; see `inputs`.
        parameters: further arguments of the check.
        tolerance: how far a computed number may be off, in the check's unit; none: printed digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9.-]+$")]
    says: Text
    place: Text
    versions: Annotated[list[Version], Field(min_length=1)]
    check: Text
    inputs: Annotated[dict[str, Text], Field(min_length=1)]
    parameters: dict[str, Plain] = {}
    tolerance: Annotated[float, Field(ge=0)] | None = None

    @property
    def source(self) -> str:
        """Place and versions, as in a table."""
        return f"{self.place}; {', '.join(self.versions)}"

    @field_validator("place")
    @classmethod
    def _exists(cls, place: str) -> str:
        if place not in (*PLACES, *OTHER_PLACES):
            raise ValueError(f"there is no place {place!r}")
        return place


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    claim: Annotated[list[Claim], Field(min_length=1)]


def read_claims(path: Path) -> list[Claim]:
    """The claims of one file.

    Raises:
        ClaimError: naming the file, the claim and the field.
    """
    try:
        content: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ClaimError(f"{path}: {error}") from None
    try:
        return _File.model_validate(content).claim
    except ValidationError as error:
        first = error.errors()[0]
        raise ClaimError(f"{path}: {_where(first['loc'], content)}: {first['msg']}") from None


def _where(place: tuple[int | str, ...], content: Any) -> str:
    """A field's name; a claim is named by its id where it has one."""
    if len(place) > 1 and place[0] == "claim" and isinstance(place[1], int):
        claim = content["claim"][place[1]]
        known = claim.get("id") if isinstance(claim, dict) else None
        name = f"claim {known}" if isinstance(known, str) else f"claim number {place[1] + 1}"
        return ": ".join([name, *([".".join(map(str, place[2:]))] if place[2:] else [])])
    return ".".join(map(str, place)) or "the file"


@lru_cache
def all_claims(folder: Path = FOLDER) -> tuple[Claim, ...]:
    """Every claim, in the order of the paper's places.

    Raises:
        ClaimError: if a file is wrong, or two claims have one id.
    """
    found: dict[str, Claim] = {}
    for path in sorted(folder.glob("*.toml")):
        for claim in read_claims(path):
            if claim.id in found:
                raise ClaimError(f"{path}: claim {claim.id}: another claim has this id")
            found[claim.id] = claim
    order = (*PLACES, *OTHER_PLACES)
    return tuple(sorted(found.values(), key=lambda claim: order.index(claim.place)))


def claim_named(id_: str) -> Claim:
    """A claim by its id.

    Raises:
        ClaimError: naming those that are alike.
    """
    claims = all_claims()
    for claim in claims:
        if claim.id == id_:
            return claim
    part = id_.partition("/")[0]
    alike = [c.id for c in claims if c.id.startswith(f"{part}/") or id_ in c.id]
    there = ", ".join(alike[:10]) if alike else "metaqnn audit lists them"
    raise ClaimError(f"no claim {id_!r}; there are: {there}")
