"""The checks: pure functions of named inputs, one module for each topic.

A check takes its inputs and parameters as keyword arguments, plain data, and returns a `Finding`.
It raises `UnfitInputError` for inputs that it cannot compute with. All modules of this folder are
imported with it: that registers their checks.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
