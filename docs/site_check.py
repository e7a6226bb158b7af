"""Built pages, checked: each link leads somewhere, and no page loads anything from a network.

Links to other sites are not followed, since pages are built without a network; they are looked at
as text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads by itself, by element; of <link> only those that it loads.
_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
_NOT_LOADED = {"canonical", "prev", "next", "index", "search", "genindex", "author", "license"}
_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:[a-z]+:)?//[^\s\"')]*)", re.IGNORECASE)


@dataclass
class Page(HTMLParser):
    """What a page offers and asks for: the ids of its elements, its links, what it loads."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect one element."""
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        address = values.get(_LOADED.get(tag, ""), "")
        if address and not _NOT_LOADED & set(values.get("rel", "").split()):
            self.loaded.append(address)


def faults(site: Path) -> Iterator[str]:
    """What is wrong with the pages of a folder, a line for each fault."""
    pages = {path: Page() for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        page.feed(path.read_text(encoding="utf-8"))
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in dict.fromkeys(page.loaded):
            if address.startswith("data:"):
                continue
            if _is_external(address):
                yield f"{name}: loads {address} from a network"
            elif said := _missing(address, path, pages):
                yield f"{name}: loads {address}, {said}"
        for address in dict.fromkeys(page.links):
            external = _is_external(address)
            if said := _external(address) if external else _missing(address, path, pages):
                yield f"{name}: links to {address}, {said}"
    for path in sorted(site.rglob("*.css")):
        for address in _STYLE.findall(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: loads {address} from a network"


def _is_external(address: str) -> bool:
    return bool(urlsplit(address).scheme) or address.startswith("//")


def _external(address: str) -> str:
    """What is wrong with the text of a link to another site; empty if nothing is."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        return f"of the scheme {parts.scheme!r}; http or https is meant"
    host = parts.hostname or ""
    if "." not in host.strip(".") or any(not label for label in host.split(".")):
        return f"whose host {host!r} is none"
    return "which has a space in it" if any(c.isspace() for c in unquote(address)) else ""


def _missing(address: str, page: Path, pages: dict[Path, Page]) -> str:
    """What a link within the pages lacks; empty if it leads somewhere."""
    parts = urlsplit(address)
    target = Path(os.path.normpath(page.parent / unquote(parts.path))) if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if target not in pages:
        return "" if target.is_file() else "which is not there"
    anchor = unquote(parts.fragment)
    if anchor and anchor not in pages[target].ids:
        return f"where nothing is called {anchor!r}"
    return ""
