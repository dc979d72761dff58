"""What a gateway decides by itself, and what it writes down; everything here blocks on the store.

Each decision names what it was made for, so that it changes nothing that somebody began meanwhile.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry import promote
from registry.promote import Outcome, Wish
from registry.sections import GateParams
from registry.stages import Stage
from registry.store import Store
from registry.traffic import Traffic
from serving import experiment_report, sequence

GUARD = "auto:guard"
"""Actor of its entries in the ledger."""

Verdict = Mapping[str, Any]


class Decisions:
    """About one model. Every method raises UnderstudyError."""

    def __init__(self, model: str, uri: str, gates: GateParams) -> None:
        self._model, self._uri, self._gates = model, uri, gates

    def rollback(self, to: int | None, wish: Wish) -> Outcome:
        """Go back, as `understudy rollback` does."""
        return promote.rollback(self._store, self._model, to=to, wish=wish, params=self._gates)

    def roll_back_from(self, traffic: Traffic, verdict: Verdict) -> Outcome:
        """Go back from the version that was promoted, if it still is the live one."""
        return promote.rollback(
            self._store,
            self._model,
            to=traffic.champion,
            wish=_wish(verdict),
            params=self._gates,
            live=traffic.challenger,
            verdict=verdict,
        )

    def stop(self, traffic: Traffic, verdict: Verdict) -> Outcome:
        """All traffic to the champion."""
        return promote.stop(
            self._store,
            self._model,
            wish=_wish(verdict),
            experiment=traffic.experiment,
            verdict=verdict,
        )

    def reweigh(self, traffic: Traffic, weight: float, verdict: Verdict) -> Outcome:
        """The next step of a canary."""
        return promote.reweigh(
            self._store,
            self._model,
            weight,
            wish=_wish(verdict, "the next step of the canary"),
            params=self._gates,
            experiment=traffic.experiment,
            verdict=verdict,
        )

    def promote(self, traffic: Traffic, verdict: Verdict) -> Outcome:
        """The challenger to Production, through the gates."""
        with tempfile.TemporaryDirectory() as folder:
            return promote.promote(
                self._store,
                self._model,
                traffic.challenger,
                to=Stage.PRODUCTION,
                params=self._gates,
                wish=_wish(verdict),
                folder=Path(folder),
                experiment=traffic.experiment,
                evidence={"experiment": dict(verdict)},
            )

    def publish(self, report: Mapping[str, Any]) -> str:
        """A run in the experiment `NAME-experiments` that shows how it went; its id."""
        name = f"{report['mode']} v{report['challenger']} beside v{report['champion']}"
        verdict = report["verdict"] or {}
        return self._store.publish(
            f"{self._model}-experiments",
            name,
            params=experiment_report.params(report),
            metrics=experiment_report.summary(report),
            tags={
                "understudy.experiment": report["experiment"],
                "understudy.decision": str(verdict.get("decision", "")),
            },
            files={
                "report.html": experiment_report.page(report, self._model),
                "confidence_sequence.svg": sequence.svg(report),
            },
        )

    @property
    def _store(self) -> Store:
        return Store(self._uri)


def _wish(verdict: Verdict, reason: str = "") -> Wish:
    return Wish(GUARD, reason or str(verdict.get("reason", ""))[: promote.REASON_LIMIT])
