"""What changed from one version to another: data, parameters, code, lock, metrics.

Pure but for `of`, which reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from registry import explain, lineage
from registry.explain import Known
from registry.lineage import Between
from registry.record import Data
from registry.store import Store

Pair = tuple[Any, Any]
"""The value of the first version and of the second; None where one has none."""


@dataclass(frozen=True)
class DataChange:
    """Two data versions."""

    md5: tuple[str, str]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    """Files by name."""
    rows: Mapping[str, Pair]
    """Of each part of the split."""
    span: Pair
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    listed: bool
    """Whether both runs kept the files and rows of their data; if not, only the md5 tells."""
    same_holdout: bool | None
    """Whether both held out the same rows; None where that was not kept."""


@dataclass(frozen=True)
class LockChange:
    """Two locked environments."""

    sha256: tuple[str, str]
    packages: Mapping[str, Pair] | None
    """Packages whose version differs; None where the locks differ and were not both kept."""

    @property
    def same(self) -> bool:
        """Whether both were trained with the same lock."""
        return self.sha256[0] == self.sha256[1]


@dataclass(frozen=True)
class Difference:
    """From version `first` to version `second` of a model."""

    model: str
    first: int
    second: int
    data: DataChange
    params: Mapping[str, Pair]
    """Those that differ, as `section.key`."""
    params_kept: bool
    """Whether both runs kept theirs; if not, nothing can be said of them."""
    commits: tuple[str, str]
    code: Between
    dirty: tuple[bool | None, bool | None]
    lock: LockChange
    metrics: Mapping[str, Pair]

    def as_dict(self) -> dict[str, Any]:
        """For --json; metrics with their difference, second minus first."""
        raw = asdict(self)
        raw["lock"]["same"] = self.lock.same
        raw["metrics"] = {
            name: {"first": a, "second": b, "difference": change(a, b)}
            for name, (a, b) in self.metrics.items()
        }
        return raw


def of(store: Store, model: str, first: int, second: int, root: Path | None) -> Difference:
    """Read two versions and compare them; `root` is the project whose repository is asked.

    Raises ModelNotFound, LedgerEmpty, VersionNotFound, VersionNotEntered.
    """
    one, two = (explain.known(store, model, number, root) for number in (first, second))
    code, locks = Between(known=False), ("", "")
    if root is not None:
        code = lineage.between(root, one.code.commit, two.code.commit)
    if one.lock_sha256 != two.lock_sha256:
        shown = store.shown(model).versions
        there = [explain.lock(store, shown[n]) if n in shown else "" for n in (first, second)]
        locks = (there[0], there[1])
    return between(one, two, code, locks)


def between(first: Known, second: Known, code: Between, locks: tuple[str, str]) -> Difference:
    """The difference of two versions; `locks` are the texts of their locks, empty if not kept."""
    return Difference(
        model=first.model,
        first=first.version,
        second=second.version,
        data=data(first.data, second.data),
        params=params(first.params, second.params) if first.params and second.params else {},
        params_kept=bool(first.params and second.params),
        commits=(first.code.commit, second.code.commit),
        code=code,
        dirty=(first.code.dirty, second.code.dirty),
        lock=LockChange(
            (first.lock_sha256, second.lock_sha256),
            packages(*locks) if all(locks) else None,
        ),
        metrics=_side_by_side(first.metrics, second.metrics),
    )


def data(first: Data, second: Data) -> DataChange:
    """What two data versions have and have not in common."""
    one = {str(f.get("path")): f.get("md5") for f in first.files}
    two = {str(f.get("path")): f.get("md5") for f in second.files}
    hashes = (first.holdout_sha256, second.holdout_sha256)
    return DataChange(
        md5=(first.md5, second.md5),
        added=tuple(n for n in two if n not in one),
        removed=tuple(n for n in one if n not in two),
        changed=tuple(n for n in one if n in two and one[n] != two[n]),
        rows=_side_by_side(first.rows, second.rows),
        span=(first.span, second.span),
        columns_added=tuple(c for c in second.columns if c not in first.columns),
        columns_removed=tuple(c for c in first.columns if c not in second.columns),
        listed=bool(one and two and first.rows and second.rows),
        same_holdout=hashes[0] == hashes[1] if all(hashes) else None,
    )


def params(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    """The parameters that differ, as `section.key.key`; those that both lack or share left out."""
    pairs = _side_by_side(_flat(first), _flat(second))
    return {name: (a, b) for name, (a, b) in pairs.items() if a != b}


def packages(first: str, second: str) -> dict[str, Pair]:
    """The packages whose version differs between the texts of two locks."""
    one, two = (
        {
            n: " | ".join(p.partition("==")[2] for p in pinned)
            for n, pinned in lineage.pins(text).items()
        }
        for text in (first, second)
    )
    return {name: (a, b) for name, (a, b) in _side_by_side(one, two).items() if a != b}


def change(first: Any, second: Any) -> float | None:
    """Second minus first, None where one is missing."""
    return None if first is None or second is None else second - first


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            found.update(_flat(inner, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = inner
    return found


def _side_by_side(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    names = dict.fromkeys([*first, *second])
    return {name: (first.get(name), second.get(name)) for name in names}
