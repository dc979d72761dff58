"""Which versions of a model are to run, and who gets how much of the traffic. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from delivery.kubernetes.errors import WeightWithoutChallenger
from registry.errors import DigestUnknown, NothingInStage
from registry.stages import Stage
from registry.state import State
from registry.traffic import Traffic

Role = Literal["production", "challenger", "warm", "staging"]
"""`warm` is the version that was in Production before: a rollback goes there. `staging` waits to be
promoted, and runs so that it answers from the moment in which it is."""


@dataclass(frozen=True)
class Version:
    """A version that is to run."""

    number: int
    digest: str
    """SHA-256 of the manifest of its files, by the ledger."""
    role: Role


@dataclass(frozen=True)
class Live:
    """What of a model is to run."""

    model: str
    head: str
    """Hash of the ledger's last entry."""
    versions: tuple[Version, ...]
    """Production first; each once, whatever else it is."""
    traffic: Traffic | None

    @property
    def production(self) -> Version:
        """The version that answers whoever no experiment takes away."""
        return self.versions[0]

    def of_role(self, role: Role) -> Version | None:
        """The one version with this role, or None."""
        return next((v for v in self.versions if v.role == role), None)


def live(model: str, head: str, state: State, digest_of: Callable[[int], str]) -> Live:
    """What of `model` is to run; `digest_of` gives the ledger's digest of a version, or "".

    Raises NothingInStage, WeightWithoutChallenger, DigestUnknown.
    """
    if state.production is None:
        raise NothingInStage(model, Stage.PRODUCTION)
    traffic = state.traffic
    roles: dict[int, Role] = {state.production: "production"}
    if traffic is not None:
        if problem := _problem(state, traffic):
            raise WeightWithoutChallenger(model, traffic.challenger, traffic.weight, problem)
        roles[traffic.challenger] = "challenger"
    if state.former:
        roles.setdefault(state.former[-1], "warm")
    if state.staging is not None:
        roles.setdefault(state.staging, "staging")
    return Live(
        model, head, tuple(_version(n, digest_of(n), role) for n, role in roles.items()), traffic
    )


def _problem(state: State, traffic: Traffic) -> str | None:
    """Why this traffic has no challenger that could take it, or None."""
    if traffic.champion != state.production:
        return f"beside v{traffic.champion}, which is not in Production"
    if traffic.challenger == state.production:
        return "which is itself in Production"
    stage = state.stages.get(traffic.challenger)
    if stage is None:
        return "which the ledger does not have"
    return "which is archived" if stage is Stage.ARCHIVED else None


def _version(number: int, digest: str, role: Role) -> Version:
    if not digest:
        raise DigestUnknown(number)
    return Version(number, digest, role)
