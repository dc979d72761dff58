"""Sends flights to a gateway one by one, and their outcomes as they land."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import aiohttp
import pandas as pd

from benchmarks.year.world import FEATURES

CALLERS = 24
LABELS = 500
"""In one request."""


class Sender:
    """A client of one gateway, which remembers what was answered."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.answers: dict[str, tuple[str, int, float]] = {}
        """By flight: prediction id, version, probability of being late."""
        self.failed = 0
        self.refused_labels = 0

    def fly(self, flights: pd.DataFrame) -> None:
        """Ask about each flight; each caller has one at a time."""
        rows = flights[FEATURES].astype(object).where(flights[FEATURES].notna(), None)
        asked = list(zip(flights["flight_id"], rows.to_numpy().tolist(), strict=True))
        asyncio.run(self._fly(asked))

    async def _fly(self, asked: Sequence[tuple[str, list[Any]]]) -> None:
        queue = iter(asked)
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._caller(session, queue) for _ in range(CALLERS)))

    async def _caller(self, session: aiohttp.ClientSession, queue: Any) -> None:
        for flight, row in queue:
            body = json.dumps({"dataframe_split": {"columns": FEATURES, "data": [row]}})
            heads = {"Content-Type": "application/json", "X-Understudy-Key": flight}
            async with session.post(
                f"{self._address}/invocations", data=body, headers=heads
            ) as answer:
                if answer.status != 200:
                    self.failed += 1
                    continue
                (found,) = (await answer.json())["predictions"]
                self.answers[flight] = (
                    answer.headers["X-Understudy-Prediction-Id"],
                    int(answer.headers["X-Understudy-Version"]),
                    found["probability_late"],
                )

    def land(self, flights: pd.DataFrame) -> None:
        """Tell the outcomes of flights; those that were never answered have none to tell."""
        items = [
            {"prediction_id": self.answers[flight][0], "label": label}
            for flight, label in zip(flights["flight_id"], flights["arrival"], strict=True)
            if flight in self.answers
        ]
        asyncio.run(self._land(items))

    async def _land(self, items: Sequence[dict[str, str]]) -> None:
        async with aiohttp.ClientSession() as session:
            for start in range(0, len(items), LABELS):
                some = items[start : start + LABELS]
                async with session.post(f"{self._address}/feedback", json=some) as answer:
                    if answer.status != 200:
                        raise RuntimeError(f"labels were refused: {await answer.text()}")
                    said = (await answer.json())["labels"]
                    self.refused_labels += sum(s["result"] not in ("stored", "late") for s in said)
