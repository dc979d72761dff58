"""Keeps apart the Python modules that artifacts ship: each model is tried with its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


@contextmanager
def own_modules(files: Path) -> Iterator[None]:
    """While it lasts, modules named as those in a downloaded model's `code/` are that model's.

    MLflow puts `code/` on the path when it loads a model and leaves it there, and Python imports
    a name once: the second of two models that ship a `features.py` would run the first one's.
    """
    code = files / "code"
    names = {p.stem for p in code.iterdir()} if code.is_dir() else set()
    aside, path = _taken(names), list(sys.path)
    try:
        yield
    finally:
        _taken(names)
        sys.modules.update(aside)
        sys.path[:] = path


def _taken(names: set[str]) -> dict[str, ModuleType]:
    """The imported modules of these top-level names, which are forgotten."""
    found = [name for name in sys.modules if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in found}
