"""The checks: pure functions of named inputs, one module for each topic.

A check takes its inputs and parameters as keyword arguments, plain data, and returns a `Finding`.
It raises `UnfitInputError` for inputs that it cannot compute with.
"""

from reproduce.audit.checks import (
    arithmetic,
    authors,
    authors_figures,
    costs,
    dropout,
    figures,
    files,
    membership,
    parameters,
    runs,
    solvers,
    spaces,
    statements,
    statistics,
)

ALL = (
    arithmetic,
    authors,
    authors_figures,
    costs,
    dropout,
    figures,
    files,
    membership,
    parameters,
    runs,
    solvers,
    spaces,
    statements,
    statistics,
)
"""Importing them registers their checks."""
