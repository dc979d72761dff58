"""The prediction log's faults under traffic: answers go on, each is stored or counted as lost."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.flow.gateways import COLUMNS, Gateway, Registry, Traffic, ending, until

pytestmark = pytest.mark.flow

LARGE = 4_000_000
KEPT_FREE = 64_000_000
"""Bytes that may wait for the writer."""


def bound_by_modes() -> tuple[str, ...]:
    """How to start a gateway that even as root may only do what the modes of files allow."""
    serve = ("understudy", "serve")
    if os.getuid():
        return serve
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    drop = "-dac_override,-dac_read_search"
    return (setpriv, f"--bounding-set={drop}", f"--inh-caps={drop}", *serve)


@pytest.fixture(scope="module")
def gateway(
    migrated: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    registry = Registry(tmp_path_factory.mktemp("records"), migrated)
    registry.promote(registry.version())
    file = registry.root / "log" / "predictions.db"
    found = Gateway(registry, environment, rehearse=0, timeout=20, records=f"sqlite:///{file}")
    found.launch = bound_by_modes() or found.launch
    with (registry.root / "params.yaml").open("a") as params:
        params.write("data: {contract: {id: {min: 1.0e+18}}}\n")  # which every row breaks
    with ending(found):
        found.start()
        yield found


@pytest.fixture(scope="module")
def answered(gateway: Gateway) -> list[str]:
    """The ids of all predictions that were ever answered here."""
    return []


def file(gateway: Gateway) -> Path:
    return gateway.registry.root / "log" / "predictions.db"


def said(gateway: Gateway) -> dict[str, Any]:
    """What the gateway's status says of the log."""
    found: dict[str, Any] = gateway.get("/status").json["records"]
    return found


def writes(gateway: Gateway) -> bool:
    """Whether the writer succeeds; that the queue was full is shown for another minute."""
    problem = said(gateway)["problem"]
    return problem == "" or problem.startswith("more is to be logged")


def metrics(gateway: Gateway) -> dict[str, int]:
    text = gateway.get("/metrics").body.decode()
    found = re.findall(
        r'^understudy_records_(?:total\{kind="(\w+)"\}|(queued)) ([\d.e+]+)$', text, re.MULTILINE
    )
    return {kind or other: int(float(count)) for kind, other, count in found}


def writer(gateway: Gateway) -> int:
    """The process that writes the log."""
    assert gateway.process is not None
    parent = f"PPid:\t{gateway.process.pid}\n"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it ended meanwhile
            ours = parent in (entry / "status").read_text()
            if ours and b"serving.record_writer" in (entry / "cmdline").read_bytes():
                return int(entry.name)
    return 0


def kill_writer(gateway: Gateway) -> int:
    victim: int = until(lambda: writer(gateway), gateway)
    os.kill(victim, signal.SIGKILL)
    return victim


def stored(gateway: Gateway) -> set[str]:
    """The ids of the requests in the log; each is there whole, with its own answers."""
    with closing(sqlite3.connect(f"file:{file(gateway)}?mode=ro", uri=True)) as log:
        rows = log.execute(
            "SELECT id, row, json_extract(features, '$.id') IS json_extract(answer, '$.id') "
            "FROM predictions ORDER BY id"
        ).fetchall()
    assert all(same for _, _, same in rows)
    several: dict[str, list[int]] = {}
    single = set()
    for name, row, _ in rows:
        if row is None:
            single.add(name)
        else:
            several.setdefault(name.rpartition("-")[0], []).append(row)
    assert all(sorted(rows) == list(range(len(rows))) for rows in several.values())
    assert not single & set(several)
    return single | set(several)


def require_all_accounted_for(gateway: Gateway, answered: list[str]) -> int:
    """Every answer is in the log, or counted as lost; returns how many are lost."""
    until(lambda: said(gateway)["queued"] == 0, gateway)
    assert writes(gateway)
    counts = said(gateway)
    counts.pop("problem")
    assert metrics(gateway) == counts
    there = stored(gateway)
    assert len(set(answered)) == len(answered) == counts["offered"]
    assert there <= set(answered)
    assert len(there) == counts["written"]
    assert len(answered) - len(there) == counts["lost"]
    return int(counts["lost"])


def test_a_writer_that_is_killed_in_mid_write_costs_no_answer_and_no_record(
    gateway: Gateway, answered: list[str]
) -> None:
    with Traffic(gateway) as traffic:
        for _ in range(4):
            before = said(gateway)["written"]
            until(lambda: said(gateway)["written"] > before + 50, gateway)  # noqa: B023
            victim = kill_writer(gateway)
            until(lambda: writer(gateway) not in (0, victim), gateway)  # noqa: B023
        until(lambda: writes(gateway), gateway)
    answered += traffic.ids
    assert traffic.wrong == []
    assert require_all_accounted_for(gateway, answered) == 0
    with closing(sqlite3.connect(f"file:{file(gateway)}?mode=ro", uri=True)) as log:
        rows = log.execute("SELECT count(*) FROM predictions").fetchone()[0]
    contract = gateway.get("/status").json["models"]["m"]["contract"]
    assert contract == {"checked": rows, "violations": {"id": {"min": rows}}}
    counter = 'understudy_contract_violations_total{column="id",model="m",rule="min"}'
    assert f"{counter} {rows:.1f}" in gateway.get("/metrics").body.decode()
    assert "log not written" in gateway.log.read_text()
    assert "log written again" in gateway.log.read_text()


def test_a_full_disk_costs_no_answer_and_what_is_not_logged_is_counted(
    gateway: Gateway, answered: list[str]
) -> None:
    data = [[1, 1.5, "echo", "a" * LARGE]]
    large = {"dataframe_split": {"columns": [*COLUMNS, "more"], "data": data}}
    full = until(lambda: writer(gateway), gateway)
    with Traffic(gateway, callers=2) as traffic:
        # No file may grow beyond what each of the log's has already: for the writer, a full disk.
        resource.prlimit(full, resource.RLIMIT_FSIZE, (1000, -1))
        until(lambda: "disk" in said(gateway)["problem"], gateway)
        for _ in range(KEPT_FREE // LARGE + 4):
            got = gateway.ask("POST", "/invocations", large)
            assert got.status == 200, got
            answered.append(got.headers["x-understudy-prediction-id"])
        assert said(gateway)["lost"] > 0
        assert metrics(gateway)["lost"] > 0
        assert said(gateway)["queued"] > 0
        assert "disk" in said(gateway)["problem"]
        label = gateway.ask("POST", "/feedback", {"prediction_id": answered[0], "label": 1})
        assert (label.status, label.json["error_code"]) == (503, "LOG_NOT_WRITTEN")
        assert int(label.headers["retry-after"]) >= 1
        resource.prlimit(full, resource.RLIMIT_FSIZE, (-1, -1))
        until(lambda: writes(gateway), gateway)
    answered += traffic.ids
    assert traffic.wrong == []
    assert require_all_accounted_for(gateway, answered) > 0
    assert writer(gateway) == full
    assert "log full" in gateway.log.read_text()
    last = gateway.predict(1).headers["x-understudy-prediction-id"]
    answered.append(last)
    label = gateway.ask("POST", "/feedback", {"prediction_id": last, "label": 1})
    assert label.json == {"labels": [{"result": "stored", "prediction_id": last}]}


@pytest.mark.parametrize(("what", "word"), [("file", "readonly"), ("folder", "unable to open")])
def test_a_log_that_may_not_be_written_costs_no_answer_and_no_record(
    gateway: Gateway, answered: list[str], what: str, word: str
) -> None:
    if not bound_by_modes():
        pytest.skip("root writes to files that are read-only, and there is no setpriv")
    lost = said(gateway)["lost"]
    folder = file(gateway).parent
    closed = list(folder.iterdir()) if what == "file" else [folder]
    with Traffic(gateway, callers=4) as traffic:
        for path in closed:
            path.chmod(0o400 if what == "file" else 0o000)
        kill_writer(gateway)
        until(lambda: word in said(gateway)["problem"], gateway)
        before = len(traffic.answers)
        until(lambda: len(traffic.answers) > before + 100, gateway)
        assert said(gateway)["queued"] >= 100
        assert metrics(gateway)["queued"] >= 100
        for path in closed:
            path.chmod(0o600 if what == "file" else 0o700)
        until(lambda: writes(gateway), gateway)
    answered += traffic.ids
    assert traffic.wrong == []
    assert require_all_accounted_for(gateway, answered) == lost


def test_a_gateway_that_ends_writes_what_it_answered(gateway: Gateway, answered: list[str]) -> None:
    lost = said(gateway)["lost"]
    with Traffic(gateway, callers=4) as traffic:
        until(lambda: len(traffic.ids) > 200, gateway)
    answered += traffic.ids
    assert gateway.stop() == 0
    there = stored(gateway)
    assert there <= set(answered)
    assert len(answered) - len(there) == lost
    log = gateway.log.read_text()
    assert "log incomplete" not in log
    assert "Traceback" not in log
