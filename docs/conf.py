"""How Sphinx builds these pages: `make docs`. Nothing is fetched, and a page fetches nothing."""

import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).parent))

import command_reference
import site_check

project = "metaqnn-caffe"
author = "the metaqnn-caffe contributors"
copyright = author  # noqa: A001 (Sphinx's name)
extensions = ["myst_parser"]
nitpicky = True  # every reference must lead somewhere
myst_heading_anchors = 4
highlight_language = "none"

html_theme = "furo"
html_title = "metaqnn-caffe"
html_copy_source = False
html_use_index = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2b5c8a", "color-brand-content": "#2b5c8a"},
    "dark_css_variables": {"color-brand-primary": "#8fc1f0", "color-brand-content": "#8fc1f0"},
}
html_static_path = ["_static"]
html_css_files = ["pages.css"]


def setup(app: Sphinx) -> None:
    """Fill in what is generated, and check the built pages."""
    app.connect("source-read", _fill_in)
    app.connect("build-finished", _check)


def _fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the commands of this very checkout where `commands.md` wants them."""
    for mark, text in command_reference.SECTIONS.items():
        if mark in source[0]:
            source[0] = source[0].replace(mark, text())


def _check(app: Sphinx, exception: Exception | None) -> None:
    """Each fault of the built pages is a warning, which `make docs` takes for an error."""
    if exception is None and app.builder.format == "html":
        for fault in site_check.faults(Path(app.outdir)):
            logging.getLogger(__name__).warning(fault)
