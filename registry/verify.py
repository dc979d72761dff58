"""Checks a ledger, its artifacts and its projection, and says exactly what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from registry import automation, digest, lineage, plan, projection, record, signing, traffic
from registry.errors import IllegalMove, UnderstudyError
from registry.ledger import (
    GENESIS,
    Entry,
    Numbered,
    Replay,
    Signature,
    as_it_reads,
    parse_signed,
    same,
)
from registry.plan import Plan
from registry.sections import GateParams
from registry.stages import Stage
from registry.state import State
from registry.store import Shown, Store

_LINEAGE = tuple(f.name for f in fields(lineage.Lineage))


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind (a word for machines), where, and a sentence."""

    kind: str
    sentence: str
    entry: int | None = None
    version: int | None = None


@dataclass(frozen=True)
class Report:
    """What was checked, and what was found. `notes` are worth knowing and not wrong."""

    model: str
    entries: int = 0
    signed: int = 0
    artifacts: int = 0
    head: str = GENESIS
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """True when nothing is wrong."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {"sound": self.sound, **asdict(self)}


@dataclass
class Findings:
    """What is wrong so far, and what is only worth knowing."""

    wrong: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, sentence: str, **where: int | None) -> None:
        """One more thing that is wrong; `entry` and `version` say where."""
        self.wrong.append(Finding(kind, sentence, **where))


def verify(
    store: Store,
    model: str,
    *,
    keys: Mapping[str, str],
    folder: Path,
    noted: Collection[str] = (),
    artifacts: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Everything there is to check. `noted` are hashes of heads that were kept elsewhere.

    The chain of hashes shows what was changed, removed or reordered; signatures (where `keys`
    names any) and noted heads also show a ledger that was written anew as a whole.
    Raises ModelNotFound, ModelGone.
    """
    shown = store.shown(model)
    records = store.records(model)
    found = Findings()
    say(f"the chain of {len(records)} entries")
    walked = walk(model, records, found)
    _witnesses(walked, shown, noted, found)
    signed = _signatures(walked, keys, found)
    state = _decisions(model, walked, found)
    for difference in projection.differences(state, shown):
        if difference.kind == "deleted" and _is_past(difference.version, state):
            found.notes.append(difference.sentence)
            continue
        found.add(difference.kind, difference.sentence, version=difference.version)
    entered = [w for n in sorted(shown.versions) if (w := walked.about(n, "register"))]
    for numbered in entered:
        _pointers(shown, numbered, found)
    for i, numbered in enumerate(entered if artifacts else (), 1):
        say(f"the artifact of v{numbered.entry.version} ({i} of {len(entered)})")
        where = folder / f"verify-{numbered.entry.version}"
        _version(store, shown, numbered, where, found)
    if artifacts:
        _reports(store, walked, shown, folder, found)
    return Report(
        model=model,
        entries=len(records),
        signed=signed,
        artifacts=len(entered) if artifacts else 0,
        head=walked.head,
        findings=tuple(found.wrong),
        notes=tuple(found.notes),
    )


@dataclass(frozen=True)
class _Row:
    number: int
    entry: Entry | None
    """As it reads now; with the hash that it claims."""
    signature: Signature | None
    intact: bool
    words: str


def walk(model: str, records: Iterable[tuple[int, str, str]], found: Findings) -> Replay:
    """Replay a ledger to its end, whatever is wrong with it, and say what that is.

    `records` are (number, text, description). Goes on after what does not fit, so that one
    change is told once and what comes after it is still checked.
    """
    rows = [_row(*row) for row in sorted(records)]
    at = {row.entry.hash: row.number for row in reversed(rows) if row.entry}
    winners: list[Numbered] = []
    losers: list[Numbered] = []
    head, seen, expected = GENESIS, {GENESIS}, 1
    for row in rows:
        number, entry, gap = row.number, row.entry, row.number > expected
        for gone in range(expected, number):
            found.add("entry_removed", f"entry {gone} was removed", entry=gone)
        expected = number + 1
        if entry is None:
            found.add(
                "entry_changed", f"entry {number} was changed: it cannot be read", entry=number
            )
            continue
        if not row.intact:
            how = "its content does not match its hash"
            found.add("entry_changed", f"entry {number} was changed: {how}", entry=number)
        elif row.words != entry.sentence:
            found.add(
                "description",
                f"the description of entry {number} was changed: it reads {row.words[:200]!r}, "
                f"the entry says {entry.sentence[:200]!r}",
                entry=number,
            )
        if entry.model != model:
            found.add("entry_foreign", f"entry {number} speaks of {entry.model!r}", entry=number)
            continue
        if entry.hash in seen:
            # A request that was sent twice does this as well, and it has no effect.
            twin = at[entry.hash]
            found.notes.append(f"entry {number} is a copy of entry {twin}, without effect")
            continue
        numbered = Numbered(number, entry, row.signature)
        if entry.prev in seen and entry.prev != head:
            losers.append(numbered)
            continue
        if entry.prev != head:
            _break(number, at.get(entry.prev, 0), winners, gap, found)
        winners.append(numbered)
        head = entry.hash
        seen.add(head)
    return Replay(tuple(winners), tuple(losers))


def _break(number: int, before: int, winners: list[Numbered], gap: bool, found: Findings) -> None:
    """Says why an entry does not follow on the one before it; `before` is where its own now is."""
    if before > number:
        found.add(
            "entry_reordered",
            f"entries were reordered: entry {number} follows on what is now entry {before}",
            entry=number,
        )
    elif not gap:
        last = winners[-1].number if winners else 0
        what = f"entry {last} was replaced" if last else "the first entry was replaced"
        found.add(
            "chain_broken",
            f"entry {number} does not follow on the one before it: {what}, hash and all",
            entry=number,
        )


def _row(number: int, text: str, words: str) -> _Row:
    try:
        entry, signature = parse_signed(text)
    except ValueError:
        return _Row(number, as_it_reads(text), None, False, words)
    return _Row(number, entry, signature, True, words)


def _witnesses(walked: Replay, shown: Shown, noted: Collection[str], found: Findings) -> None:
    hashes = {w.entry.hash for w in walked.winners}
    if shown.head and shown.head not in hashes:
        found.add(
            "head_missing",
            "the entry that was shown last is not in the ledger: the newest entries were removed "
            "or changed",
        )
    elif walked.winners and shown.head != walked.head:
        at = next((w.number for w in walked.winners if w.entry.hash == shown.head), 0)
        noted_at = f"notes entry {at}" if at else "notes no entry"
        found.add(
            "head_behind",
            f"MLflow {noted_at} as the last one that was shown, and the last one is "
            f"{walked.winners[-1].number}: a command ended before its time, or the tag was "
            "changed; `understudy repair` puts it right",
        )
    for head in noted:
        if head not in hashes:
            found.add(
                "head_missing", f"no entry has the hash {head[:80]}, which was noted elsewhere"
            )


def _signatures(walked: Replay, keys: Mapping[str, str], found: Findings) -> int:
    """How many entries bear a signature that holds; says which do not."""
    signed = [i for i, w in enumerate(walked.winners) if w.signature is not None]
    if not keys:
        if signed:
            found.notes.append(
                f"{len(signed)} entries are signed, and registry.keys of params.yaml names no key "
                "to hold them against"
            )
        return 0
    if not signed:
        if walked.winners:
            said = "registry.keys of params.yaml names keys, and no entry is signed"
            found.add("signature", said)
        return 0
    if signed and signed[0]:
        found.notes.append(f"{signed[0]} entries were written before the first signed one")
    good = 0
    for place, numbered in enumerate(walked.winners):
        wrong: str | None = None
        if numbered.signature is None and numbered.entry.evidence.get("signed_by"):
            wrong = "it was signed, and its signature was removed"
        elif place >= signed[0]:
            wrong = signing.problem(numbered.entry, numbered.signature, keys)
            good += wrong is None
        if wrong:
            found.add("signature", f"entry {numbered.number}: {wrong}", entry=numbered.number)
    return good


def _decisions(model: str, walked: Replay, found: Findings) -> State:
    """Makes every decision again from the state it was made in; returns the state at the end."""
    state = State()
    for numbered in walked.winners:
        if why := _illegal(model, state, numbered.entry):
            found.add(
                "illegal",
                f"entry {numbered.number} ({numbered.entry.sentence}) could not have been made: "
                f"{why}",
                entry=numbered.number,
                version=numbered.entry.version,
            )
        state = state.after(numbered.entry)
    return state


def _illegal(model: str, state: State, entry: Entry) -> str | None:
    """Why no writer of ours would have appended this entry in this state, or None."""
    try:
        planned = _planned(model, state, entry)
    except UnderstudyError as error:
        return str(error)
    if planned.version != entry.version:
        return f"the challenger was v{planned.version}"
    if (planned.source, planned.target) != (entry.source, entry.target):
        return f"it says from {entry.source} to {entry.target}, and that was {planned.source}"
    if entry.kind in ("promote", "adopt", "traffic"):
        verdict = entry.evidence.get("gate")
        if entry.target is not Stage.ARCHIVED and not isinstance(verdict, dict):
            return "it carries no verdict of the gates"
        if isinstance(verdict, dict) and verdict.get("passed") is not True:
            return "the verdict of its gates is a refusal"
        claimed = entry.evidence.get("approvals", [])
        real = [same(name) for name in state.approvers(entry.version, entry.actor)]
        if strange := [name for name in claimed if same(str(name)) not in real]:
            return f"nobody approved it as {', '.join(map(str, strange))}"
    # What params.yaml let programs do at that time is not known; the most it can is.
    most = GateParams(automation="production")
    try:
        automation.permit(entry.actor, planned, state, most)
    except UnderstudyError as error:
        return str(error)
    return None


def _planned(model: str, state: State, entry: Entry) -> Plan:
    version = entry.version
    match entry.kind:
        case "register":
            return plan.register(state, model, version)
        case "promote":
            return plan.promote(state, model, version, entry.target)
        case "adopt":
            return plan.adopt(state, model, version, entry.target)
        case "rollback":
            return plan.rollback(state, model, version)
        case "archive":
            return plan.archive(state, model, version)
        case "approve":
            return plan.approve(state, model, version, entry.actor)
        case "reproduce":
            return plan.note(state, model, "reproduce", version)
        case "traffic":
            mode, rule = entry.evidence.get("mode"), entry.evidence.get("rule")
            weight = traffic.weight_of(entry.evidence) or 0.0
            known = rule if isinstance(rule, dict) else {}
            return plan.challenge(state, model, version, str(mode), weight, known)
        case "weight":
            return plan.reweigh(state, model, traffic.weight_of(entry.evidence) or 0.0)
        case "stop":
            return plan.stop(state, model)
        case _:
            raise IllegalMove(f"there is no decision of the kind {entry.kind!r}")


def _is_past(version: int | None, state: State) -> bool:
    """Whether a version is neither in use nor on the way back."""
    return state.stages.get(version or 0) is Stage.ARCHIVED and version not in state.former


def _pointers(shown: Shown, entered: Numbered, found: Findings) -> None:
    """Holds a version's run, source and lineage tags against the entry that registered it."""
    number, known = entered.entry.version, entered.entry.evidence
    version = shown.versions[number]

    def add(kind: str, sentence: str) -> None:
        found.add(kind, sentence, version=number)

    for name, now in (("run_id", version.run_id), ("source", version.source)):
        if name in known and known[name] != now:
            add(
                "repointed",
                f"v{number} was pointed elsewhere: its {name} is {now}, was {known[name]}",
            )
    # A version that was registered by other means never had the tags.
    tagged = known.get("tagged") or any(lineage.PREFIX + k in version.tags for k in _LINEAGE)
    for key, value in known.get("lineage", {}).items():
        tag = lineage.PREFIX + key
        if tag in version.tags and version.tags[tag] != value:
            shows = version.tags[tag][:80]
            add("lineage", f"the tag {tag} of v{number} was changed to {shows!r}")
        elif tag not in version.tags and tagged:
            add("lineage", f"the tag {tag} of v{number} was removed")


def _version(store: Store, shown: Shown, entered: Numbered, folder: Path, found: Findings) -> None:
    """Holds a version's files and what its run keeps against the entry that registered it."""
    number, known = entered.entry.version, entered.entry.evidence
    version = shown.versions[number]

    def add(kind: str, sentence: str) -> None:
        found.add(kind, sentence, version=number)

    try:
        files = digest.manifest(store.download_model(version.source, folder / "model"))
    except Exception as error:  # whatever keeps it from being fetched
        add("artifact_missing", f"the artifact of v{number} cannot be fetched ({_name(error)})")
    else:
        if not files:
            add("artifact_missing", f"the artifact of v{number} is gone")
        elif digest.of_manifest(files) != known.get("digest"):
            what = _altered(known.get("files", {}), files)
            add("artifact_altered", f"the artifact of v{number} was altered: {what}")
    if known.get("kept"):
        try:
            kept = store.download_run_folder(version.run_id, record.FOLDER, folder / "kept")
            same_rows = digest.of_folder(kept) == known["kept"]
        except Exception:
            same_rows = False
        if not same_rows:
            add(
                "record_altered",
                f"the held-out rows or the record that v{number} was judged by were altered",
            )


def _reports(store: Store, walked: Replay, shown: Shown, folder: Path, found: Findings) -> None:
    """Holds each gate report against the hash in its entry."""
    for numbered in walked.winners:
        report = numbered.entry.evidence.get("report")
        version = shown.versions.get(numbered.entry.version)
        if not isinstance(report, dict) or version is None:
            continue
        try:
            where = folder / f"report-{numbered.number}"
            fetched = store.download_run_folder(version.run_id, str(report.get("path")), where)
            intact = digest.of_file(fetched) == report.get("sha256")
        except Exception:
            intact = False
        if not intact:
            found.add(
                "report_altered",
                f"the gate report of entry {numbered.number} was altered or is gone",
                entry=numbered.number,
            )


def _altered(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Which files differ, in words."""
    if not before:
        return "its files do not have the digest of the ledger"
    changed = sorted(n for n in before.keys() & now.keys() if before[n] != now[n])
    words = [
        f"{', '.join(names)} {what}"
        for what, names in (
            ("changed", changed),
            ("added", sorted(now.keys() - before.keys())),
            ("removed", sorted(before.keys() - now.keys())),
        )
        if names
    ]
    return "; ".join(words) or "its files do not have the digest of the ledger"


def _name(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
