"""The flights of July to December as they happen, and the faults that may be planted in them."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import pandas as pd

from pipelines import flights

FIRST = 7
"""The month after those of the first model."""
FEATURES = [
    "carrier", "origin", "dest", "distance", "weekday", "departure_minute", "arrival_minute",
    *flights.WEATHER,
]  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong in one month, and is mended once somebody was told of it."""

    name: str
    month: int
    sentence: str


CELSIUS = Fault("celsius", 9, "the temperature comes in Celsius")
RENAMED = Fault("renamed", 10, "carrier B6 comes as JB")
FLIPPED = Fault("flipped", 11, "labels of the first seven days are flipped")
HALVED = Fault("halved", 11, "the data version with this month lost every second row")
FAULTS = (CELSIUS, RENAMED, FLIPPED, HALVED)


class World:
    """Flights by their scheduled departure, in a world with these faults."""

    def __init__(self, faults: Collection[Fault] = (), share: float = 1.0) -> None:
        """`share` of the flights happen, evenly spread."""
        self.faults = frozenset(faults)
        texts = [_text(f"2013-{month:02}") for month in range(FIRST, 13)]
        rows = pd.concat([pd.read_csv(io.StringIO(text)) for text in texts], ignore_index=True)
        self._step = step = max(1, round(1 / share))
        rows = rows.iloc[::step].reset_index(drop=True)
        rows["departs"] = pd.to_datetime(rows["scheduled_departure"])
        rows["lands"] = rows["flight_id"].map(flights.landings())
        rows["month"] = rows["departs"].dt.month
        self.truth = rows
        """With the features and labels that are right."""
        sent = rows.copy()
        for fault in self.faults:
            _plant(fault, sent)
        self.sent = sent
        """As the gateway sees them, and as their labels come."""

    def days(self, month: int) -> list[pd.DataFrame]:
        """The flights of a month, day by day, as they are sent."""
        own = self.sent[self.sent["month"] == month]
        return [day for _, day in own.groupby(own["departs"].dt.normalize())]

    def files(self, through: int, mended: Collection[Fault]) -> dict[str, str]:
        """The data version through a month: name to content; faults that are mended are not in it.

        Months of before are those that the first model knows.
        """
        halved = HALVED in self.faults and HALVED not in mended and through == HALVED.month
        found = {}
        for month in range(1, through + 1):
            step = f"2013-{month:02}"
            text = _text(step)
            rows = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
            planted = [f for f in self.faults if f.month == month and f not in mended]
            for fault in planted:
                _plant(fault, rows)
            if halved:
                rows = rows.iloc[::2]
            thinned = self._step > 1
            if thinned:
                rows = rows.iloc[:: self._step]
            if planted or halved or thinned:
                text = str(rows.to_csv(index=False, lineterminator="\n"))
            found[flights.name(step)] = text
        return found


@cache
def _text(step: str) -> str:
    """A month's rows; making them takes a second."""
    return flights.text(step)


def _plant(fault: Fault, rows: pd.DataFrame) -> None:
    """Into rows whose cells are numbers or texts."""
    month = rows["scheduled_departure"].str[5:7].astype(int) == fault.month
    if fault == CELSIUS:
        numbers = pd.to_numeric(rows.loc[month, "temp"], errors="coerce")
        celsius = ((numbers - 32) * 5 / 9).round(2)
        if rows["temp"].dtype == object:
            rows.loc[month, "temp"] = [("" if pd.isna(v) else str(v)) for v in celsius]
        else:
            rows.loc[month, "temp"] = celsius
    elif fault == RENAMED:
        rows.loc[month & (rows["carrier"] == "B6"), "carrier"] = "JB"
    elif fault == FLIPPED:
        week = month & (rows["scheduled_departure"].str[8:10].astype(int) <= 7)
        turned = rows.loc[week, "arrival"].map({"late": "on_time", "on_time": "late"})
        rows.loc[week, "arrival"] = turned.where(turned.notna(), rows.loc[week, "arrival"])
