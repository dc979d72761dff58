"""Whether an artifact's own environment is this one: its pinned requirements. Reads metadata."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import yaml
from packaging.requirements import InvalidRequirement, Requirement

Manager = Literal["local", "uv", "conda"]
Wanted = Literal["auto", "local", "uv", "conda"]
"""How `mlflow models serve --env-manager` makes the environment; `auto` chooses."""


def manager(folder: Path, wanted: Wanted) -> Manager:
    """The one to serve a downloaded model with."""
    if wanted != "auto":
        return wanted
    return "uv" if differences(folder) else "local"


def differences(folder: Path) -> list[str]:
    """What of a downloaded model's requirements is not here in that version, in words."""
    found = []
    if python := _python(folder):
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if python.split(".")[:2] != here.split("."):
            found.append(f"Python {python}, here {here}")
    try:
        lines = (folder / "requirements.txt").read_text().splitlines()
    except (OSError, ValueError):
        return found  # without requirements nothing is asked of the environment
    return found + [why for line in lines if (why := _difference(line))]


def _difference(line: str) -> str | None:
    text = line.partition(" #")[0].strip()
    if not text or text.startswith("#"):
        return None
    try:
        asked = Requirement(text)
    except InvalidRequirement:
        return f"{text[:60]}, which only an installer understands"
    if asked.marker is not None and not asked.marker.evaluate():
        return None
    try:
        here = version(asked.name)
    except PackageNotFoundError:
        return f"{text[:60]}, not installed here"
    if asked.url or not asked.specifier.contains(here, prereleases=True):
        return f"{text[:60]}, here {here}"
    return None


def _python(folder: Path) -> str:
    try:
        return str(yaml.safe_load((folder / "python_env.yaml").read_text())["python"])
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError):
        return ""
