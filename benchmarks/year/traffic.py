"""Sends flights to a gateway one by one, and their outcomes as they land."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson
import pandas as pd
import uvloop

from benchmarks.year.world import FEATURES

CALLERS = 64
LABELS = 500
"""In one request."""


class _Connection:
    """HTTP/1.1 over one connection; a client with more abilities takes longer than the gateway."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes, *heads: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by their names in small letters, and body of the answer."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {self._host}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *heads,
        ]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        first, *rest = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        named = (line.partition(":") for line in rest if line)
        found = {name.lower(): value.strip() for name, _, value in named}
        answer = await self._reader.readexactly(int(found["content-length"]))
        return int(first.split()[1]), found, answer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Sender:
    """A client of one gateway, which remembers what was answered."""

    def __init__(self, address: str) -> None:
        where = urlsplit(address)
        self._where = str(where.hostname), int(where.port or 80)
        self.answers: dict[str, tuple[str, int, float]] = {}
        """By flight: prediction id, version, probability of being late."""
        self.failed = 0
        self.refused_labels = 0

    def fly(self, flights: pd.DataFrame) -> None:
        """Ask about each flight; each caller has one at a time."""
        rows = flights[FEATURES].astype(object).where(flights[FEATURES].notna(), None)
        asked = list(zip(flights["flight_id"], rows.to_numpy().tolist(), strict=True))
        uvloop.run(self._fly(asked))

    async def _fly(self, asked: Sequence[tuple[str, list[Any]]]) -> None:
        queue = iter(asked)
        await asyncio.gather(*(self._caller(queue) for _ in range(min(CALLERS, len(asked)))))

    async def _caller(self, queue: Iterator[tuple[str, list[Any]]]) -> None:
        connection = _Connection(*self._where)
        for flight, row in queue:
            body = orjson.dumps({"dataframe_split": {"columns": FEATURES, "data": [row]}})
            key = f"X-Understudy-Key: {flight}"
            status, heads, answer = await connection.post("/invocations", body, key)
            if status != 200:
                self.failed += 1
                continue
            (found,) = orjson.loads(answer)["predictions"]
            self.answers[flight] = (
                heads["x-understudy-prediction-id"],
                int(heads["x-understudy-version"]),
                found["probability_late"],
            )
        connection.close()

    def land(self, flights: pd.DataFrame) -> None:
        """Tell the outcomes of flights; those that were never answered have none to tell."""
        items = [
            {"prediction_id": self.answers[flight][0], "label": label}
            for flight, label in zip(flights["flight_id"], flights["arrival"], strict=True)
            if flight in self.answers
        ]
        uvloop.run(self._land(items))

    async def _land(self, items: Sequence[dict[str, str]]) -> None:
        connection = _Connection(*self._where)
        for start in range(0, len(items), LABELS):
            body = orjson.dumps(items[start : start + LABELS])
            status, _, answer = await connection.post("/feedback", body)
            if status != 200:
                raise RuntimeError(f"labels were refused: {answer.decode()}")
            said = orjson.loads(answer)["labels"]
            self.refused_labels += sum(s["result"] not in ("stored", "late") for s in said)
        connection.close()
