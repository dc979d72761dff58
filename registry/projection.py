"""Makes MLflow's stages and aliases show what the ledger says; idempotent, and safe to repeat."""

from __future__ import annotations

from dataclasses import dataclass, replace

from registry import ledger, turn
from registry.errors import LedgerBroken
from registry.ledger import Replay
from registry.stages import ALIASES, Stage
from registry.state import State, state_of
from registry.store import NoStages, Shown, Store

ROUNDS = 100
"""After so many, what MLflow shows does not follow what is set; `status` then says what differs."""


@dataclass(frozen=True)
class Difference:
    """Something MLflow shows that the ledger does not say."""

    kind: str
    """`stage`, `alias`, `deleted` (from MLflow) or `unknown` (to the ledger)."""
    sentence: str
    version: int | None = None
    stage: Stage | None = None
    alias: str | None = None

    @property
    def mendable(self) -> bool:
        """Whether setting a stage or an alias puts it right."""
        return self.kind in ("stage", "alias")


def differences(state: State, shown: Shown) -> tuple[Difference, ...]:
    """Every stage and alias that is not as the ledger says, in the order to mend them. Pure.

    Production comes first, so that the live version is right as early as may be.
    """
    found: list[Difference] = []
    order = {Stage.PRODUCTION: 0, Stage.STAGING: 1}
    for version, stage in sorted(state.stages.items(), key=lambda x: (order.get(x[1], 2), x[0])):
        if version not in shown.versions:
            away = "; roll back or promote another" if stage is Stage.PRODUCTION else ""
            sentence = f"v{version} is in the ledger ({stage}) and was deleted from MLflow{away}"
            found.append(Difference("deleted", sentence, version))
        elif shown.has_stages and shown.versions[version].stage is not stage:
            seen = shown.versions[version].stage
            sentence = f"v{version} is in {stage} by the ledger and shown in {seen}"
            found.append(Difference("stage", sentence, version, stage))
    for stage, alias in ALIASES.items():
        holder, seen_at = state.holder(stage), shown.aliases.get(alias)
        if holder != seen_at and (holder is None or holder in shown.versions):
            wish = f"v{holder}" if holder else "nothing"
            sight = f"v{seen_at}" if seen_at else "nothing"
            sentence = f"alias {alias} is {wish} by the ledger and shows {sight}"
            found.append(Difference("alias", sentence, holder, alias=alias))
    for version in sorted(set(shown.versions) - set(state.stages)):
        found.append(
            Difference(
                "unknown",
                f"v{version} is in MLflow and not in the ledger; "
                f"`understudy register --version {version}` enters it",
                version,
            )
        )
    return tuple(found)


def seen(state: State, shown: Shown, version: int) -> Stage:
    """Where MLflow shows a version; by its alias where its stage says nothing new. Pure."""
    known = state.stages.get(version, Stage.NONE)
    stage = known
    if version in shown.versions and shown.has_stages:
        stage = shown.versions[version].stage
    aliases = [s for s, alias in ALIASES.items() if shown.aliases.get(alias) == version]
    moved = [s for s in aliases if s is not known]
    return moved[0] if moved and stage is known else stage


def read(store: Store, model: str, known: Replay | None = None) -> Replay:
    """The ledger as it stands; with `known`, only what came after it is fetched."""
    after = known.last if known else 0
    return ledger.replay(model, store.entries(model, after), known)


def project(store: Store, model: str, found: Replay, *, unless_overtaken: bool = False) -> Replay:
    """Set what differs, note the head, and begin again until the ledger and MLflow agree.

    `found` is what was read of the ledger; it may be old. With `unless_overtaken` nothing is done
    where a newer entry counts by now: whoever wrote that one sets what all of them want.
    """
    with turn.of(store.uri, f"{model} shown"):
        newer = read(store, model, found)
        if unless_overtaken and newer.head != found.head:
            return newer
        return _settle(store, model, newer, unless_overtaken=unless_overtaken)[0]


def _settle(
    store: Store, model: str, found: Replay, *, unless_overtaken: bool = False
) -> tuple[Replay, Shown]:
    """Look at the ledger, then at MLflow, and mend, until a look finds nothing to mend.

    So the last one to write has seen that it was right, and whoever appends after that look sees
    all that was written before. With `unless_overtaken` a newer entry is left to whoever wrote it,
    so that nobody works for others without end; but only while no head was noted, neither here nor
    for that entry: its writer then has its last look still before it.
    """
    shown = store.shown(model)
    for _ in range(ROUNDS):
        different = [d for d in differences(state_of(found), shown) if d.mendable]
        if shown.head == found.head and not different:
            break
        # An archive that follows from a promotion happens in MLflow in the same step.
        for difference in different:
            shown = _mend(store, model, difference, shown)
        if shown.head != found.head:
            if unless_overtaken:
                newer = read(store, model, found)
                if newer.head != found.head:
                    found, shown = newer, store.shown(model)
                    if shown.head != found.head:
                        break
                    continue
                unless_overtaken = False
            store.set_head(model, found.head)
        found, shown = read(store, model, found), store.shown(model)
    return found, shown


def look(store: Store, model: str) -> tuple[Replay, Shown]:
    """What the ledger says and what MLflow shows, as they are. Raises LedgerBroken."""
    shown = store.shown(model)
    found = read(store, model)  # after the tag: an entry that was shown must be there by now
    if not _has(found, shown.head):
        found = ledger.replay(model, store.entries(model, fresh=True))
    if not _has(found, shown.head):
        raise LedgerBroken(model, found.last + 1, "the entry that was shown last is missing")
    return found, shown


def _has(found: Replay, head: str) -> bool:
    return not head or any(head == w.entry.hash for w in reversed(found.winners))


def catch_up(store: Store, model: str) -> tuple[Replay, Shown]:
    """What is there, after finishing what a crashed writer left between append and projection."""
    found, shown = look(store, model)
    if found.winners and shown.head != found.head:
        with turn.of(store.uri, f"{model} shown"):
            found, shown = _settle(store, model, read(store, model, found))
    return found, shown


def finish(store: Store, model: str, found: Replay, shown: Shown) -> None:
    """Show what a crashed writer left unshown, unless a living one of this machine is at it."""
    if found.winners and shown.head != found.head:
        with turn.of(store.uri, f"{model} shown", patience=0) as mine:
            if mine:
                _settle(store, model, read(store, model, found))


def _mend(store: Store, model: str, difference: Difference, shown: Shown) -> Shown:
    if difference.alias is not None:
        store.set_alias(model, difference.alias, difference.version)
    elif shown.has_stages and difference.version is not None and difference.stage is not None:
        try:
            store.set_stage(model, difference.version, difference.stage)
        except NoStages:
            store.note_no_stages(model)
            return replace(shown, has_stages=False)
    return shown
