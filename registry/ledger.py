"""The append-only, hash-chained ledger: entries, their text, and the replay that orders them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from registry.errors import LedgerBroken
from registry.stages import Stage

GENESIS = "0" * 64
"""The hash that the first entry names as the one before it."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One decision. `version` moves from stage `source` to stage `target`."""

    kind: str
    model: str
    version: int
    source: Stage
    target: Stage
    actor: str
    reason: str
    time: str
    """UTC, ISO 8601 with seconds."""
    prev: str
    """Hash of the entry before; GENESIS for the first."""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical JSON of everything above, hexadecimal."""
        return hashlib.sha256(canonical(asdict(self)).encode()).hexdigest()

    @property
    def sentence(self) -> str:
        """What a person reads in the MLflow UI and in `understudy history`."""
        tail = f": {self.reason}" if self.reason else ""
        return f"{describe(self.kind, self.version, self.target)} by {self.actor}{tail}"


def describe(kind: str, version: int, target: Stage) -> str:
    """Name a transition in words, e.g. `v4 to Production`."""
    if kind == "register":
        return f"v{version} registered"
    if kind == "rollback":
        return f"rolled back to v{version}"
    return f"v{version} to {target}" if target is not Stage.ARCHIVED else f"v{version} archived"


def canonical(value: object) -> str:
    """JSON with sorted keys and no blanks, so that equal values have equal bytes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def render(entry: Entry) -> str:
    """The text kept in the registry: the entry and its own hash."""
    return canonical({**asdict(entry), "hash": entry.hash})


def parse(text: str) -> Entry:
    """Read back what `render` wrote. Raises ValueError with the reason if it cannot be true."""
    try:
        raw = json.loads(text)
        claimed = raw.pop("hash")
        entry = Entry(**{**raw, "source": Stage(raw["source"]), "target": Stage(raw["target"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it cannot be read ({type(error).__name__})") from None
    if entry.hash != claimed or render(entry) != text:
        raise ValueError("its content does not match its hash")
    return entry


@dataclass(frozen=True)
class Numbered:
    """An entry with the number that the registry gave it: the total order."""

    number: int
    entry: Entry


@dataclass(frozen=True)
class Replay:
    """What the walk over a ledger found: the entries that count, and those that lost a race."""

    winners: tuple[Numbered, ...] = ()
    losers: tuple[Numbered, ...] = ()

    @property
    def head(self) -> str:
        """Hash of the last entry that counts; GENESIS when there is none."""
        return self.winners[-1].entry.hash if self.winners else GENESIS

    def won(self, number: int) -> bool:
        """Whether the entry of that number counts."""
        return any(w.number == number for w in self.winners)


def replay(model: str, texts: Iterable[tuple[int, str]]) -> Replay:
    """Walk (number, text) pairs in the order of their numbers.

    An entry counts when its `prev` is the head at that point. One that names an earlier head
    lost a race and is passed over. Anything else cannot come about by appending, and raises
    LedgerBroken with the number of the entry.
    """
    winners: list[Numbered] = []
    losers: list[Numbered] = []
    head, seen = GENESIS, {GENESIS}
    for number, text in sorted(texts):
        try:
            entry = parse(text)
        except ValueError as error:
            raise LedgerBroken(model, number, str(error)) from None
        if entry.model != model:
            raise LedgerBroken(model, number, f"it speaks of another model, {entry.model!r}")
        if entry.prev == head:
            winners.append(Numbered(number, entry))
            head = entry.hash
            seen.add(head)
        elif entry.prev in seen:
            losers.append(Numbered(number, entry))
        else:
            raise LedgerBroken(
                model, number, "the entry it follows is missing; one was removed or replaced"
            )
    return Replay(tuple(winners), tuple(losers))
