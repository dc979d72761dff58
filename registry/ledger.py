"""The append-only, hash-chained ledger: entries, their text, and the replay that orders them."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
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

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the canonical JSON of everything above, hexadecimal."""
        return _sha256(canonical(self.as_dict()))

    def as_dict(self) -> dict[str, Any]:
        """The fields by name; nothing is copied."""
        return {name: getattr(self, name) for name in _FIELDS}

    @property
    def automatic(self) -> bool:
        """Whether a program decided, not a person."""
        return is_automatic(self.actor)

    @property
    def sentence(self) -> str:
        """What a person reads in the MLflow UI and in `understudy history`."""
        # A description is one printable line, whatever was typed.
        reason = " ".join("".join(c if c.isprintable() else " " for c in self.reason).split())
        tail = f": {reason}" if reason else ""
        said = describe(self.kind, self.version, self.target, self.evidence)
        return f"{said} by {self.actor}{tail}"


_FIELDS = tuple(f.name for f in fields(Entry))

AUTOMATIC = "auto:"
"""How the name of an actor begins that is a program."""


def same(actor: str) -> str:
    """The form in which two spellings of one name are equal."""
    return unicodedata.normalize("NFKC", actor).strip().casefold()


def is_automatic(actor: str) -> bool:
    """Whether this is a program's name; blanks, capitals and wide letters make it no person's."""
    return same(actor).startswith(AUTOMATIC)


def describe(
    kind: str, version: int, target: Stage, evidence: Mapping[str, Any] | None = None
) -> str:
    """What an entry does, in words, e.g. `v4 to Production`."""
    known = evidence or {}
    weight = known.get("weight")
    share = f"{100 * weight:.4g} %" if isinstance(weight, int | float) else "a share"
    words = {
        "register": f"v{version} registered",
        "rollback": f"rolled back to v{version}",
        "approve": f"v{version} approved",
        "reproduce": f"v{version} reproduced",
        "adopt": f"v{version} adopted in {target}",
        "traffic": f"v{version} challenges: {known.get('mode', '?')}, {share} of the traffic",
        "weight": f"v{version} gets {share} of the traffic",
        "stop": f"v{version} taken out of the traffic",
    }
    archived = f"v{version} archived" if target is Stage.ARCHIVED else ""
    done = words.get(kind) or archived or f"v{version} to {target}"
    ends = known.get("ends")
    if not isinstance(ends, Mapping):
        return done
    mode, challenger, champion = (ends.get(a, "?") for a in ("mode", "challenger", "champion"))
    return f"{done}, which ends the {mode} of v{challenger} beside v{champion}"


def canonical(value: object) -> str:
    """JSON with sorted keys and no blanks, so that equal values have equal bytes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


@dataclass(frozen=True)
class Signature:
    """Ed25519 over an entry's hash; both parts in base64."""

    key: str
    """The public key."""
    value: str


def render(entry: Entry, signature: Signature | None = None) -> str:
    """The text kept in the registry: the entry, its own hash, and its signature if it has one."""
    raw = {**entry.as_dict(), "hash": entry.hash}
    if signature is not None:
        raw["signature"] = {"key": signature.key, "value": signature.value}
    return canonical(raw)


def parse_signed(text: str) -> tuple[Entry, Signature | None]:
    """Read back what `render` wrote. Raises ValueError with the reason if it cannot be true."""
    try:
        raw = json.loads(text)
        entry, signature, claimed = _build(raw)
        body = canonical(raw)
    except _UNREADABLE as error:
        raise ValueError(f"it cannot be read ({type(error).__name__})") from None
    rest = _without(text, f'"hash":"{claimed}",')
    if signature is not None:
        rest = _without(rest, f'"signature":{canonical(vars(signature))},')
    if rest != body or _sha256(body) != claimed:
        raise ValueError("its content does not match its hash")
    return entry, signature


def _without(text: str, piece: str) -> str:
    """A text without the last occurrence of a piece; rendering it all again takes twice as long."""
    at = text.rfind(piece)
    return text[:at] + text[at + len(piece) :] if at >= 0 else text


def as_it_reads(text: str) -> Entry | None:
    """An entry that need not match its hash, with the hash it claims; None if it is none at all.

    For saying what is wrong with it and going on; nothing may be decided by it.
    """
    try:
        return _build(json.loads(text))[0]
    except _UNREADABLE:
        return None


_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def _build(raw: Any) -> tuple[Entry, Signature | None, str]:
    """Entry, signature and claimed hash; takes the latter two out of `raw`."""
    claimed = str(raw.pop("hash"))
    signed = raw.pop("signature", None)
    entry = Entry(**{**raw, "source": Stage(raw["source"]), "target": Stage(raw["target"])})
    texts = (entry.kind, entry.model, entry.actor, entry.reason, entry.time, entry.prev)
    if (
        len(raw) != len(_FIELDS)
        or type(entry.version) is not int
        or not all(isinstance(text, str) for text in texts)
        or not isinstance(entry.evidence, dict)
    ):
        raise TypeError
    entry.__dict__["hash"] = claimed  # computing it again is half the work of a replay
    return entry, Signature(**signed) if signed is not None else None, claimed


def parse(text: str) -> Entry:
    """The entry alone. Raises ValueError."""
    return parse_signed(text)[0]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Numbered:
    """An entry with the number that the registry gave it: the total order."""

    number: int
    entry: Entry
    signature: Signature | None = None


@dataclass(frozen=True)
class Replay:
    """What the walk over a ledger found: the entries that count, and those that lost a race."""

    winners: tuple[Numbered, ...] = ()
    losers: tuple[Numbered, ...] = ()

    @property
    def head(self) -> str:
        """Hash of the last entry that counts; GENESIS when there is none."""
        return self.winners[-1].entry.hash if self.winners else GENESIS

    @property
    def last(self) -> int:
        """The highest number seen; 0 when there is none."""
        return max((n[-1].number for n in (self.winners, self.losers) if n), default=0)

    def won(self, number: int) -> bool:
        """Whether the entry of that number counts."""
        return any(w.number == number for w in reversed(self.winners))

    def about(self, version: int, kind: str) -> Numbered | None:
        """The last entry of that kind that counts for a version, or None."""
        found = (w for w in reversed(self.winners) if w.entry.version == version)
        return next((w for w in found if w.entry.kind == kind), None)


def replay(model: str, texts: Iterable[tuple[int, str]], after: Replay | None = None) -> Replay:
    """Walk (number, text) pairs in the order of their numbers, going on from `after`.

    An entry counts when its `prev` is the head at that point. One that names an earlier head
    lost a race and is passed over. Anything else cannot come about by appending, and raises
    LedgerBroken with the number of the entry.
    """
    before = after or Replay()
    winners, losers = list(before.winners), list(before.losers)
    head, seen = before.head, {GENESIS, *(w.entry.hash for w in before.winners)}
    for number, text in sorted(texts):
        try:
            entry, signature = parse_signed(text)
        except ValueError as error:
            raise LedgerBroken(model, number, str(error)) from None
        if entry.model != model:
            raise LedgerBroken(model, number, f"it speaks of another model, {entry.model!r}")
        if entry.prev == head:
            winners.append(Numbered(number, entry, signature))
            head = entry.hash
            seen.add(head)
        elif entry.prev in seen:
            losers.append(Numbered(number, entry, signature))
        else:
            raise LedgerBroken(
                model, number, "the entry it follows is missing; one was removed or replaced"
            )
    return Replay(tuple(winners), tuple(losers))
