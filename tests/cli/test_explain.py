"""explain, as a person or a script meets it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry.sections import GATES
from serving import record_store, record_tables
from serving.explain import put_live
from serving.feedback import Item
from serving.frames import Record
from serving.unpack import unpack
from tests.cli.conftest import Shell

BODY = b'{"dataframe_records":[{"a":0.5,"b":-1}]}'


def record(name: str, **facts: Any) -> Record:
    usual: dict[str, Any] = {
        "time": time.time(), "model": "m", "version": 1, "arm": "champion", "key": "order 7",
        "body": BODY, "content_type": "application/json", "rows": 1,
        "answer": b'{"predictions":["yes"]}', "milliseconds": 3.25, "status": 200,
    }  # fmt: skip
    return Record(id=name, **{**usual, **facts})


@pytest.fixture
def logged(registered: Shell) -> Shell:
    """`m` whose version 1, then 2, then 1 again was live, with a log."""
    gates = [gate for gate in GATES if gate != "loads"]
    (registered.root / "params.yaml").write_text(
        yaml.safe_dump({"registry": {"model": "m"}, "gate": {"skip": gates}})
    )
    registered("promote", "1", "--to", "production", "--reason", "the first")
    url = f"sqlite:///{registered.root}/.understudy/predictions.db"
    engine = record_tables.engine(url)
    record_tables.create(engine)
    two = record("two", body=b'{"inputs":[[1],[2]]}', answer=b'{"predictions":[1,2]}')
    some = [
        record("early", time=time.time() - 1000),
        record("p", time=time.time() + 1),
        record("gone", version=9),
        two,
    ]
    with engine.begin() as connection:
        for one in some:
            record_store.insert(connection, record_store.values(one, unpack(one)))
        for label in ("no", "yes"):
            record_store.label(connection, [Item(label, "p")], now=time.time(), days=1)
    engine.dispose()
    return registered


def test_from_an_answer_to_all_it_came_from(logged: Shell) -> None:
    found = logged.json("explain", "p")
    assert found["prediction"]["features"] == {"a": 0.5, "b": -1}
    assert found["prediction"]["answer"] == "yes"
    assert (found["prediction"]["version"], found["prediction"]["arm"]) == (1, "champion")
    assert [(x["label"], x["counts"]) for x in found["labels"]] == [("no", False), ("yes", True)]
    assert datetime.fromisoformat(found["time"]).tzinfo == UTC
    origin = found["origin"]
    assert (origin["decision"]["number"], origin["decision"]["kind"]) == (4, "promote")
    assert origin["decision"]["reason"] == "the first"
    assert origin["gate"]["passed"]
    lineage = logged.json("lineage", "1")
    assert origin["git_commit"] == lineage["code"]["commit"]
    assert re.fullmatch("[0-9a-f]{40}", origin["git_commit"])
    assert origin["data_md5"] == lineage["data"]["md5"]
    assert found["problem"] == ""


def test_it_reads_on_a_terminal(logged: Shell) -> None:
    told = logged("explain", "p").stdout
    for line in (
        "prediction   p by m v1, arm champion",
        "status 200 in 3.2 ms, key order 7",
        "inputs       a = 0.5",
        "answer       yes",
        "label        no (replaced)",
        "decided      entry 4, promote by tester",
        "gates passed: location, intact, lineage, loads",
        "origin       commit ",
        "now Production",
        "next: understudy lineage 1",
    ):
        assert line in told


def test_a_version_that_was_not_live_then_is_said_to_be_none(logged: Shell) -> None:
    assert logged.json("explain", "early")["origin"]["decision"] is None
    assert "no entry put it into Production before it answered" in logged("explain", "early").stdout


def test_what_the_registry_does_not_know_leaves_what_the_log_knows(
    logged: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = logged.json("explain", "gone")
    assert (found["origin"], found["prediction"]["answer"]) == (None, "yes")
    assert "m has no version 9" in found["problem"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/mlflow.db")
    assert "there is no MLflow store" in logged("explain", "p").stdout


def test_what_cannot_be_explained(logged: Shell, tmp_path: Path) -> None:
    assert "there is no prediction 'q' in the log" in logged.refused("explain", "q")
    assert "each has an id of its own: two-0 to two-1" in logged.refused("explain", "two")
    assert logged.json("explain", "two-1")["prediction"]["features"] == {"0": 2}
    missing = f"sqlite:///{tmp_path}/none.db"
    assert "there is no prediction log at" in logged.refused("explain", "p", "--log", missing)
    refused = logged.refused("explain", "p", "--log", "nonsense")
    assert refused.startswith("serve.records is 'nonsense'")
    database = logged.tiny.uri
    assert "there is no prediction log at" in logged.refused("explain", "p", "--log", database)
    params = {"registry": {"model": "m"}, "serve": {"records": "off"}}
    (logged.root / "params.yaml").write_text(yaml.safe_dump(params))
    assert "serve.records of params.yaml is 'off'" in logged.refused("explain", "p")


def test_the_decision_is_the_one_that_was_in_force(logged: Shell) -> None:
    import understudy

    logged("promote", "2", "--to", "production")
    logged("rollback")
    known = understudy.lineage(1)
    first, again = (s.begin for s in known.stays if s.stage == "Production")
    start = datetime.fromisoformat(first.time).timestamp()
    assert put_live(known, start - 1) is None
    assert put_live(known, start) in (first, again)
    decision = put_live(known, start + 1000)
    assert decision is not None
    assert decision.kind == "rollback"
