"""Makes MLflow's stages and aliases show what the ledger says; idempotent, and safe to repeat."""

from __future__ import annotations

from dataclasses import dataclass

from registry import ledger
from registry.errors import LedgerBroken
from registry.ledger import Replay
from registry.stages import ALIASES, Stage
from registry.state import State, state_of
from registry.store import Shown, Store


@dataclass(frozen=True)
class Difference:
    """Something MLflow shows that the ledger does not say."""

    sentence: str
    version: int | None = None
    stage: Stage | None = None
    alias: str | None = None

    @property
    def mendable(self) -> bool:
        """Whether setting a stage or an alias puts it right."""
        return self.stage is not None or self.alias is not None


def differences(state: State, shown: Shown) -> tuple[Difference, ...]:
    """Every stage and alias that is not as the ledger says, in the order to mend them. Pure.

    Production comes first, so that the live version is right as early as may be.
    """
    found: list[Difference] = []
    order = {Stage.PRODUCTION: 0, Stage.STAGING: 1}
    for version, stage in sorted(state.stages.items(), key=lambda x: (order.get(x[1], 2), x[0])):
        if version not in shown.versions:
            found.append(Difference(f"v{version} is in the ledger ({stage}) and gone from MLflow"))
        elif shown.versions[version].stage is not stage:
            seen = shown.versions[version].stage
            found.append(
                Difference(
                    f"v{version} is in {stage} by the ledger and shown in {seen}", version, stage
                )
            )
    for stage, alias in ALIASES.items():
        holder, seen_at = state.holder(stage), shown.aliases.get(alias)
        if holder != seen_at and (holder is None or holder in shown.versions):
            wish = f"v{holder}" if holder else "nothing"
            sight = f"v{seen_at}" if seen_at else "nothing"
            found.append(
                Difference(
                    f"alias {alias} is {wish} by the ledger and shows {sight}", holder, alias=alias
                )
            )
    for version in sorted(set(shown.versions) - set(state.stages)):
        found.append(
            Difference(
                f"v{version} is in MLflow and not in the ledger; "
                f"`understudy register --version {version}` enters it"
            )
        )
    return tuple(found)


def read(store: Store, model: str) -> Replay:
    """The ledger as it stands."""
    return ledger.replay(model, store.entries(model))


def project(store: Store, model: str) -> Replay:
    """Set what differs, note the head, and begin again if the ledger moved meanwhile."""
    while True:
        found = read(store, model)
        shown = store.shown(model)
        # An archive that follows from a promotion happens in MLflow in the same step.
        for difference in differences(state_of(found), shown):
            _mend(store, model, difference)
        if shown.head != found.head:
            store.set_head(model, found.head)
        if read(store, model).head == found.head:
            return found


def catch_up(store: Store, model: str) -> tuple[Replay, Shown]:
    """What is there, after finishing what a crashed writer left between append and projection."""
    shown = store.shown(model)
    found = read(store, model)  # after the tag: an entry that was shown must be there by now
    if shown.head and shown.head not in (w.entry.hash for w in found.winners):
        last = found.winners[-1].number if found.winners else 0
        raise LedgerBroken(model, last + 1, "the entry that was shown last is missing")
    if found.winners and shown.head != found.head:
        found = project(store, model)
        shown = store.shown(model)
    return found, shown


def _mend(store: Store, model: str, difference: Difference) -> None:
    if difference.alias is not None:
        store.set_alias(model, difference.alias, difference.version)
    elif difference.version is not None and difference.stage is not None:
        store.set_stage(model, difference.version, difference.stage)
