"""Is a model that was made again the same? Two models' files, answers and metrics -> a verdict.

Pure but for `contents`, which reads a model's files.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from registry.digest import of_file

Degree = Literal["bit-equal", "prediction-equal", "metric-equal", "different"]

EQUAL = 1e-9
"""The largest relative difference of two numbers that still count as the same answer."""
_LISTED = 100
"""So many files and causes are written down; an entry of the ledger has a limit."""
_OF_ITS_RUN = ("MLmodel", "registered_model_meta")
"""Files of a model that hold ids and times by their nature."""


@dataclass(frozen=True)
class Gap:
    """How far two tables of answers lie apart."""

    largest: float = 0.0
    """The largest relative difference of two numbers, |a - b| / max(|a|, |b|)."""
    others: int = 0
    """Answers that are no numbers (class names) and differ."""
    problem: str = ""
    """Why the two cannot be compared at all, else empty."""

    @property
    def equal(self) -> bool:
        """Whether these are the same answers."""
        return not self.problem and self.others == 0 and self.largest <= EQUAL

    def as_dict(self) -> dict[str, Any]:
        """For the ledger and for --json."""
        return asdict(self)


@dataclass(frozen=True)
class Found:
    """What a comparison measured; `original` is the model as it is, `kept` its answers then."""

    files: tuple[str, ...] = ()
    """Names of the model's files that differ."""
    kept: Gap | None = None
    """The rebuilt model's answers against those kept when the original was trained."""
    original: Gap | None = None
    """The rebuilt model's answers against those that the original gives now."""
    metrics: Mapping[str, tuple[float | None, float | None]] | None = None
    """Held-out metrics by name: the original's and the rebuilt one's, None where missing."""
    artifact: Gap | None = None
    """The answers that the original gives now against those kept; no part of the verdict."""


@dataclass(frozen=True)
class Result:
    """The verdict of a reproduction, what it rests on, and what may have caused a difference."""

    degree: Degree
    found: Found
    tolerance: float
    causes: tuple[str, ...] = ()

    @property
    def reproduced(self) -> bool:
        """Whether the version was made again, to within the tolerance."""
        return self.degree != "different"

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        gap = _largest(self.found)
        far = f"answers differ by at most {gap:.2g} (relative)" if gap is not None else ""
        match self.degree:
            case "bit-equal":
                return "bit-equal: every file of the model has the same content"
            case "prediction-equal":
                return f"prediction-equal: {far}; limit {EQUAL:g}"
            case "metric-equal":
                return f"metric-equal within {self.tolerance:g}" + (f"; {far}" if far else "")
            case _:
                return "different: " + "; ".join(_differences(self.found, self.tolerance))

    def as_dict(self) -> dict[str, Any]:
        """For the ledger and for --json; a figure that is no number is None."""
        found = self.found
        return {
            "verdict": self.degree,
            "sentence": self.sentence,
            "tolerance": self.tolerance,
            "files": list(found.files[:_LISTED]),
            "largest_difference": _largest(found),
            "metrics": {n: [_finite(v) for v in pair] for n, pair in (found.metrics or {}).items()},
            "causes": list(self.causes[:_LISTED]),
        }


def judge(found: Found, *, tolerance: float, causes: tuple[str, ...] = ()) -> Result:
    """The strongest degree that holds; `causes` are kept only where it is not bit-equal.

    Prediction-equal asks for both: the answers that were kept and those of the artifact now.
    """
    gaps = [gap for gap in (found.kept, found.original) if gap is not None]
    degree: Degree = "different"
    if not found.files and all(gap.equal for gap in gaps):
        return Result("bit-equal", found, tolerance)
    if gaps and all(gap.equal for gap in gaps):
        degree = "prediction-equal"
    elif _metrics_agree(found, tolerance):
        degree = "metric-equal"
    return Result(degree, found, tolerance, causes)


def answers(first: pd.DataFrame, second: pd.DataFrame) -> Gap:
    """How far two tables of answers lie apart, both of shape (rows, columns), in one order."""
    if first.shape[0] != second.shape[0]:
        return Gap(problem=f"{first.shape[0]} answers against {second.shape[0]}")
    if set(first.columns) != set(second.columns):
        names = sorted(map(str, set(first.columns) ^ set(second.columns)))
        return Gap(problem=f"only one of them answers {', '.join(names)}")
    largest, others = 0.0, 0
    for name in first.columns:
        a, b = first[name], second[name]
        if pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b):
            largest = max(largest, _relative(a.to_numpy(dtype=float), b.to_numpy(dtype=float)))
        else:
            others += int((a.astype(str).to_numpy() != b.astype(str).to_numpy()).sum())
    return Gap(largest, others)


def files(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[str, ...]:
    """Names whose content differs between two models (see `contents`), or that one lacks."""
    return tuple(sorted(n for n in {*first, *second} if first.get(n) != second.get(n)))


def metrics(
    first: Mapping[str, float], second: Mapping[str, float], prefix: str = "holdout/"
) -> dict[str, tuple[float | None, float | None]]:
    """The metrics of two runs whose names begin with `prefix`, side by side."""
    names = sorted({n for n in (*first, *second) if n.startswith(prefix)})
    return {n: (first.get(n), second.get(n)) for n in names}


def contents(folder: Path) -> dict[str, str]:
    """Name to SHA-256 of the content of a model's files, but those that are its run's own.

    Of an archive it is the content of the members that counts, not their times.
    """
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in _OF_ITS_RUN and "__pycache__" not in path.parts:
            found[name] = _archive(path) if zipfile.is_zipfile(path) else of_file(path)
    return found


def _archive(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if "schema.json" in members:
        members = _without_addresses(members)
    lines = [f"{hashlib.sha256(members[n]).hexdigest()}  {n}\n" for n in sorted(members)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _without_addresses(members: dict[str, bytes]) -> dict[str, bytes]:
    """A skops archive with objects numbered as they come up, not named by memory address.

    Source: skops 0.16, io/_utils.py and io/_numpy.py: `__id__` is Python's id(), and an array's
    file is named `ID.npy`.
    """
    numbers: dict[str, str] = {}

    def number(name: str) -> str:
        return numbers.setdefault(name, str(len(numbers)))

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        return {
            key: number(str(value))
            if key == "__id__"
            else _member(number, value)
            if key == "file" and isinstance(value, str)
            else walk(value)
            for key, value in node.items()
        }

    try:
        schema = json.dumps(walk(json.loads(members["schema.json"]))).encode()
    except (ValueError, RecursionError):
        return members
    rest = {_member(numbers.get, n): v for n, v in members.items() if n != "schema.json"}
    return {**rest, "schema.json": schema}


def _member(number: Any, name: str) -> str:
    stem, dot, end = name.partition(".")
    return f"{number(stem) or stem}{dot}{end}"


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    """The largest |a - b| / max(|a|, |b|); two that are equal or both missing differ by nothing."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    a, b = a[~same], b[~same]
    if not (np.isfinite(a) & np.isfinite(b)).all():
        return math.inf
    scale = np.maximum(np.abs(a), np.abs(b))
    # Divided before subtracting: the difference of two large numbers may be too large for one.
    return float(np.abs(a / scale - b / scale).max())


def _metrics_agree(found: Found, tolerance: float) -> bool:
    pairs = (found.metrics or {}).values()
    return bool(pairs) and all(_agree(pair, tolerance) for pair in pairs)


def _agree(pair: tuple[float | None, float | None], tolerance: float) -> bool:
    first, second = pair
    if first is None or second is None:
        return False
    return first == second or abs(first - second) <= tolerance


def _differences(found: Found, tolerance: float) -> list[str]:
    said = []
    for gap, what in ((found.kept, "kept with the run"), (found.original, "of the original")):
        if gap is not None and not gap.equal:
            why = gap.problem or f"largest relative difference {gap.largest:.2g}" + (
                f", {gap.others} other answers" if gap.others else ""
            )
            said.append(f"its answers are not those {what} ({why})")
    for name, pair in (found.metrics or {}).items():
        if not _agree(pair, tolerance):
            said.append(f"{name} {_shown(pair[0])} against {_shown(pair[1])}")
    return said or ["neither answers nor held-out metrics were kept to compare with"]


def _largest(found: Found) -> float | None:
    gaps = [g for g in (found.kept, found.original) if g is not None and not g.problem]
    return _finite(max((g.largest for g in gaps), default=None))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:.6g}"
