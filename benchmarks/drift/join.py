"""One window out of a large prediction log: `python -m benchmarks.drift.join`.

A log of 5,000,000 predictions of 16 features over 30 days, made by fifty lives of a gateway, and
4,000,000 labels that came one to six hours later, in the order of their coming; in the real tables,
filled by SQL in a temporary folder. The window is 20,000 predictions in the middle, read with their
labels as pandas tables by `serving.records.Log.tables`. Scenarios:

sqlite        median of 5; cold: the file's pages are taken out of the page cache before each read
postgresql    the same log in a PostgreSQL of its own, warm only; skipped where there is none

Seeds: SQLite's and PostgreSQL's own random numbers, which decide over values only. Writes
results-join.json beside this file; scenarios that were not chosen keep what they had.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa

from benchmarks.pipeline.run import machine
from serving import record_tables
from serving.records import Log, Window
from tests.flow.servers import NotThere, postgres

HERE = Path(__file__).parent
PREDICTIONS, LABELS, ROWS = 5_000_000, 4_000_000, 20_000
LIVES = 50
BEGIN, DAYS = 1_700_000_000.0, 30
APART = DAYS * 86_400 / PREDICTIONS
READS = 5

NUMBERS = (
    "distance", "weekday", "departure_minute", "arrival_minute", "temp", "dewp", "humid",
    "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
)  # fmt: skip
TEXTS = ("carrier", "origin", "dest")
FEATURES = "{" + ",".join([f'"{n}":"%s"' for n in TEXTS] + [f'"{n}":%s' for n in NUMBERS]) + "}"
ANSWER = '{"prediction":"on_time","probability_late":%s,"probability_on_time":%s}'


def _values(dialect: str) -> tuple[str, str, str]:
    """Features and answer as SQL, and a random number from 0 to 1."""
    if dialect == "sqlite":
        chance, call = "(abs(random()) / 9223372036854775808.0)", "printf"
        number = f"round({chance} * 1000, 2)"
        text = "substr('EWRJFKLGAATLBOSORDLAXSFO', 1 + 3 * (abs(random()) % 8), 3)"
    else:
        chance, call = "random()", "format"
        number = "round((random() * 1000)::numeric, 2)"
        text = "substr('EWRJFKLGAATLBOSORDLAXSFO', 1 + 3 * floor(random() * 8)::int, 3)"
    features = ", ".join([f"'{FEATURES}'", *[text] * len(TEXTS), *[number] * len(NUMBERS)])
    return f"{call}({features})", f"{call}('{ANSWER}', {chance}, {chance})", chance


def fill(engine: sa.Engine) -> None:
    """Make the tables and their rows."""
    record_tables.create(engine)
    dialect = engine.dialect.name
    features, answer, chance = _values(dialect)
    if dialect == "sqlite":
        numbers = (
            "WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s "  # noqa: S608
            f"WHERE n < {PREDICTIONS - 1})"
        )
        # A gateway's ids are a random beginning and a counter.
        name = f"printf('%012x%08x', (n * {LIVES} / {PREDICTIONS}) * 7919 % 101 * 1000003, n)"
        yes, no = "1", "0"
    else:
        numbers = f"WITH s(n) AS (SELECT generate_series(0::bigint, {PREDICTIONS - 1}))"
        lives = f"(n * {LIVES} / {PREDICTIONS}) * 7919 % 101 * 1000003"
        name = f"lpad(to_hex({lives}), 12, '0') || lpad(to_hex(n), 8, '0')"
        yes, no = "true", "false"
    with engine.begin() as connection:
        if dialect == "sqlite":
            connection.exec_driver_sql("PRAGMA cache_size=-1000000")
        connection.exec_driver_sql(
            f"INSERT INTO predictions (id, time, model, version, arm, features, answer, "  # noqa: S608
            f"milliseconds, status) {numbers} SELECT {name}, {BEGIN} + n * {APART}, 'flights', 3, "
            f"'', {features}, {answer}, 5.0, 200 FROM s".replace("%", _escaped(dialect))
        )
        connection.exec_driver_sql(
            f"INSERT INTO labels (prediction, label, time, received, late, counts) "  # noqa: S608
            f"SELECT id, '\"on_time\"', came, came, {no}, {yes} FROM (SELECT id, time + 3600 + "
            f"18000 * {chance} AS came FROM predictions ORDER BY {chance} LIMIT {LABELS}) AS them "
            "ORDER BY came"
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if dialect == "sqlite":
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            connection.exec_driver_sql("VACUUM ANALYZE")  # as autovacuum does
    engine.dispose()


def _escaped(dialect: str) -> str:
    """psycopg2 wants the sign of a format doubled."""
    return "%" if dialect == "sqlite" else "%%"


def middle() -> Window:
    """20,000 predictions."""
    since = BEGIN + (PREDICTIONS // 2 - 0.5) * APART
    return Window(since=since, until=since + ROWS * APART, model="flights")


def read(url: str) -> tuple[float, float]:
    """Seconds to read the window, and of them those of this process on a core."""
    start, on_core = time.perf_counter(), time.process_time()
    facts, features = Log(url).tables(middle())
    took = time.perf_counter() - start, time.process_time() - on_core
    assert len(facts) == len(features) == ROWS  # noqa: S101
    assert features.shape[1] == len(TEXTS) + len(NUMBERS)  # noqa: S101
    assert 0.75 < facts["label"].notna().mean() < 0.85  # noqa: S101
    return took


def evict(file: Path) -> None:
    """Take a file out of the page cache."""
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def plan(url: str) -> list[str]:
    """How the database goes about it: the statement of `Log`, explained."""
    from serving.records import _asked

    engine = record_tables.engine(url, reading=True)
    asked = _asked(middle()).limit(5000)
    text = str(asked.compile(engine, compile_kwargs={"literal_binds": True}))
    how = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        return [str(row[-1]) for row in connection.execute(sa.text(f"{how} {text}"))]


def in_sqlite() -> dict[str, Any]:
    """A file."""
    with tempfile.TemporaryDirectory(prefix="join-") as name:
        file = Path(name) / "predictions.db"
        url = f"sqlite:///{file}"
        start = time.perf_counter()
        fill(record_tables.engine(url))
        took = time.perf_counter() - start
        read(url)
        warm = [read(url) for _ in range(READS)]
        cold = []
        for _ in range(READS):
            evict(file)
            cold.append(read(url))
        return {**_figures(warm=warm, cold=cold), "made in": round(took),
                "megabytes": round(file.stat().st_size / 1e6), "plan": plan(url)}  # fmt: skip


def in_postgresql() -> dict[str, Any]:
    """A server of its own."""
    try:
        with postgres() as url:
            start = time.perf_counter()
            fill(record_tables.engine(url))
            took = time.perf_counter() - start
            read(url)
            warm = [read(url) for _ in range(READS)]
            return {**_figures(warm=warm), "made in": round(took), "plan": plan(url)}
    except NotThere as error:
        return {"skipped": str(error)}


def _figures(**reads: list[tuple[float, float]]) -> dict[str, Any]:
    return {
        f"seconds, {name}": {
            "median": round(statistics.median(took for took, _ in some), 3),
            "longest": round(max(took for took, _ in some), 3),
            "median on a core": round(statistics.median(core for _, core in some), 3),
            "processes that wanted a core": round(os.getloadavg()[0], 1),
        }
        for name, some in reads.items()
    }


SCENARIOS: dict[str, Callable[[], dict[str, Any]]] = {
    "sqlite": in_sqlite,
    "postgresql": in_postgresql,
}


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)))
def main(scenarios: tuple[str, ...]) -> None:
    """Run SCENARIOS, all of them unless named, and write results-join.json."""
    path = HERE / "results-join.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    kept["machine"] = machine()
    for scenario in scenarios or SCENARIOS:
        kept[scenario] = {
            "predictions": PREDICTIONS, "labels": LABELS, "rows": ROWS, **SCENARIOS[scenario]()
        }  # fmt: skip
        click.echo(f"{scenario}: {json.dumps(kept[scenario])}")
        path.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
