"""What a model needs of a lock: its own requirements, and all that they bring along. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from delivery.errors import LockUnfit

SKINNY = "mlflow-skinny"
SERVER = (SKINNY, "fastapi", "uvicorn", "numpy", "pandas")
"""MLflow's scoring server without its tracking server, its database and its user interface."""
_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==([^\s;\\]+)")
_VIA = re.compile(r"#\s*(?:via(?:\s+|$))?([A-Za-z0-9][\w.-]*)?")


@dataclass
class _Package:
    """The lines of a lock about one package, which may be pinned once for each platform."""

    versions: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    via: set[str] = field(default_factory=set)
    """The packages that ask for it, as uv and pip-tools note them below it."""


def reduced(lock: str, requirements: str) -> str:
    """The part of a lock with hashes that serves a model with these requirements.txt.

    `mlflow` becomes `mlflow-skinny` of the same version. Raises LockUnfit.
    """
    known = _packages(lock)
    wanted, problems = set(SERVER), []
    for line in requirements.splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            asked = Requirement(text)
        except InvalidRequirement:
            problems.append(f"{text[:60]} is wanted, which only an installer understands")
            continue
        name = str(canonicalize_name(asked.name))
        name = SKINNY if name == "mlflow" else name
        wanted.add(name)
        problems += _unmet(asked, known.get(name))
    problems += [f"{name} is not in it" for name in sorted(wanted - known.keys())]
    needed = _closure(known, wanted)
    problems += [f"{n} has no hash" for n in needed if "--hash=" not in "".join(known[n].lines)]
    if problems:
        raise LockUnfit(list(dict.fromkeys(problems)))
    return "".join(f"{line}\n" for name in needed for line in known[name].lines)


def _unmet(asked: Requirement, found: _Package | None) -> Iterator[str]:
    if found is None:
        yield f"{canonicalize_name(asked.name)} is not in it"
    elif asked.url or not any(asked.specifier.contains(v, True) for v in found.versions):
        yield f"{asked} is wanted, it has {' and '.join(found.versions)}"


def _closure(known: dict[str, _Package], wanted: set[str]) -> list[str]:
    found = wanted & known.keys()
    while more := {n for n, p in known.items() if n not in found and p.via & found}:
        found |= more
    return sorted(found)


def _packages(lock: str) -> dict[str, _Package]:
    found: dict[str, _Package] = {}
    current = _Package()
    for line in lock.splitlines():
        text = line.strip()
        if text.startswith("#"):
            if (via := _VIA.match(text)) and via[1]:
                current.via.add(canonicalize_name(via[1]))
        elif pin := _PIN.match(line):
            current = found.setdefault(canonicalize_name(pin[1]), _Package())
            current.versions.append(pin[2])
            current.lines.append(line)
        elif line[:1].isspace():
            current.lines.append(line)
        else:
            current = _Package()  # a blank line, or what is no pin
    return found
