"""The gateway with real scoring servers: it follows, loses nothing, and keeps a way back."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry import scoring
from tests.flow.gateways import (
    COLUMNS,
    Gateway,
    Registry,
    Traffic,
    pids,
    post,
    rows,
    running,
    send,
    until,
)

pytestmark = pytest.mark.flow


@pytest.fixture(scope="module")
def registry(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Versions 1 and 2 echo; 1 was live, 2 is."""
    found = Registry(tmp_path_factory.mktemp("gateway"), migrated)
    for _ in range(2):
        found.promote(found.version())
    return found


@pytest.fixture(scope="module")
def gateway(registry: Registry, environment: dict[str, str]) -> Iterator[Gateway]:
    with running(registry, environment, timeout=60, slow_ms=300, body_bytes=2_000_000) as found:
        found.until_ready(1)
        yield found


def test_it_speaks_mlflows_protocol(gateway: Gateway) -> None:
    got = gateway.predict(7, 8, X_Request_Id="mine")
    assert got.json == {
        "predictions": [{"id": 7, "x": 7.5, "version": 2}, {"id": 8, "x": 8.5, "version": 2}]
    }
    assert (got.version, got.headers["x-understudy-model"]) == (2, "m")
    assert got.headers["x-request-id"] == "mine"
    assert (
        got.headers["x-understudy-prediction-id"]
        != gateway.predict(7).headers["x-understudy-prediction-id"]
    )
    named = gateway.ask("POST", "/models/m/invocations", rows(1))
    assert named.json["predictions"][0]["id"] == 1
    csv = gateway.ask("POST", "/invocations", b"id,x,do\n5,5.5,echo\n", Content_Type="text/csv")
    assert csv.json["predictions"][0]["id"] == 5
    assert gateway.get("/ping").status == gateway.get("/health").status == 200
    assert gateway.get("/version").body.decode()[0] == "3"
    assert gateway.get("/ready").json == {"ready": True, "not_ready": []}
    assert b'understudy_version_live{model="m"} 2.0' in gateway.get("/metrics").body
    assert gateway.get("/").headers["content-type"] == "text/html; charset=utf-8"


def bodies() -> Iterator[tuple[str, bytes]]:
    """Requests of every form, right and wrong; Content-Type and body."""
    drawn = random.Random(4)  # noqa: S311 - a seeded test
    odd: list[Any] = [
        None,
        "x",
        "",
        True,
        2**63,
        2**70,
        -1,
        1.5,
        1e308,
        [1],
        {"a": 1},
        "2020-01-01",
    ]
    for number in range(60):
        count = drawn.choice((1, 1, 2, 5))
        data = [[number + i, drawn.uniform(-9, 9), "echo"] for i in range(count)]
        columns = list(COLUMNS)
        if number % 3 == 1:
            data[drawn.randrange(count)][drawn.randrange(3)] = drawn.choice(odd)
        if number % 3 == 2:
            change = drawn.choice(("drop", "add", "order", "twice", "ragged"))
            if change == "drop":
                columns, data = columns[:2], [row[:2] for row in data]
            elif change == "add":
                columns, data = [*columns, "more"], [[*row, 1] for row in data]
            elif change == "order":
                columns, data = columns[::-1], [row[::-1] for row in data]
            elif change == "twice":
                columns = ["id", "id", "do"]
            else:
                data[0] = data[0][:2]
        records = [dict(zip(columns, row, strict=False)) for row in data]
        by_name = {c: [row[i] for row in data if i < len(row)] for i, c in enumerate(columns)}
        for body in (
            {"dataframe_split": {"columns": columns, "data": data}},
            {"dataframe_split": {"index": list(range(count)), "columns": columns, "data": data}},
            {"dataframe_records": records},
            {"inputs": by_name},
            {"instances": records},
        ):
            yield "application/json", json.dumps(body).encode()
    for text in ("", "id,x,do\n1,2.5,echo\n", "id,x\n1,2.5\n", "id,x,do\nq,2.5,echo\n", "\0"):
        yield "text/csv", text.encode()
    for text in ("", "x", "[]", "{}", "null", '{"inputs": 1, "instances": 2}', '{"data": [[1]]}',
                 '{"dataframe_split": {"columns": ["id"], "data": [[1]], "other": 1}}',
                 '{"dataframe_split": 3}', '{"dataframe_records": {}}',
                 '{"dataframe_split": {"columns": ["id","x","do"], "data": [[1, NaN, "echo"]]}}',
                 '{"dataframe_split": {"columns": ["id","x","do"], "data": [[1, 1e400, "echo"]]}}',
                 '{"dataframe_split": {"columns": ["id","x","do"], "data": []}}'):  # fmt: skip
        yield "application/json", text.encode()
    yield "text/plain", b"x"
    yield "application/json; charset=latin-1", b"{}"


def test_answers_are_those_of_bare_mlflow(
    gateway: Gateway, registry: Registry, tmp_path: Path
) -> None:
    files = shutil.copytree(registry.files(2), tmp_path / "model")
    example = json.dumps(rows(1)).encode()
    with scoring.served(files, (example, 1), manager="local", folder=tmp_path / "bare") as bare:
        asked = list(bodies())
        assert len(asked) >= 300
        different = []
        for kind, body in asked:
            theirs = post(bare.port, body, kind)
            ours = gateway.ask("POST", "/invocations", body, Content_Type=kind)
            if theirs.status // 100 != ours.status // 100:
                different.append((kind, body, theirs.status, ours.status))
            elif ours.status == 200 and theirs.json != ours.json:
                # NaN differs from itself.
                if repr(theirs.json) != repr(ours.json):
                    different.append((kind, body, theirs.json, ours.json))
            elif ours.status != 200:
                assert set(ours.json) == {"error_code", "message"}
    assert different == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "kind"),
    [
        (b"[" * 200_000, {}, 400, "BAD_REQUEST"),
        (b'{"inputs":' * 5000, {}, 400, "BAD_REQUEST"),
        (b" " * 3_000_000, {}, 413, "REQUEST_TOO_LARGE"),
        (gzip.compress(b"0" * 10_000_000), {"Content_Encoding": "gzip"}, 415, None),
        (b"{}", {"X_Request_Id": "a" * 40_000}, 431, None),
        (b"\xff\xfe", {}, 400, "BAD_REQUEST"),
        (b'{"dataframe_split": {"columns": ["secret"], "data": [["secret"]]}}', {}, 400, None),
    ],
)
def test_hostile_requests_get_a_sentence_without_an_echo(
    gateway: Gateway, body: bytes, headers: dict[str, str], status: int, kind: str | None
) -> None:
    got = gateway.ask("POST", "/invocations", body, **headers)
    assert got.status == status
    assert kind is None or got.json["error_code"] == kind
    assert b"secret" not in got.body
    assert b"Traceback" not in got.body


def test_a_body_without_a_content_type_is_read_as_json(gateway: Gateway) -> None:
    sent = json.dumps(rows(3)).encode()
    assert send(gateway.port, "POST", "/invocations", sent, {}).json["predictions"][0]["id"] == 3


def test_thousands_who_hang_up_and_some_who_dawdle_disturb_nobody(gateway: Gateway) -> None:
    whole = json.dumps(rows(1, do="echo")).encode()
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    request = head + b"Content-Length: %d\r\n\r\n" % len(whole) + whole
    dawdling = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(50)]
    for one in dawdling:
        one.sendall(b"POST /invocations HTTP/1.1\r\nHost: ")
    with Traffic(gateway, callers=2) as traffic:
        for number in range(10_000):
            with socket.create_connection(("127.0.0.1", gateway.port)) as one:
                one.sendall(request if number % 2 else request[: number % len(request)])
        until(lambda: gateway.status["waiting"] == 0, gateway)
    assert traffic.wrong == []
    for one in dawdling:
        one.settimeout(15)
        assert one.recv(100).startswith(b"HTTP/1.1 408")
        one.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/invocations", 405),
        ("POST", "/status", 405),
        ("POST", "/models/other/invocations", 404),
        ("POST", "/admin/nothing", 401),
        ("DELETE", "/", 405),
    ],
)
def test_what_is_not_there(gateway: Gateway, method: str, path: str, status: int) -> None:
    got = gateway.ask(method, path)
    assert got.status == status
    assert set(got.json) == {"error_code", "message"}


def test_who_may_not_decide(gateway: Gateway) -> None:
    good = f"Bearer {gateway.token}"
    assert gateway.ask("POST", "/admin/refresh", {}).status == 401
    assert gateway.ask("POST", "/admin/refresh", {}, Authorization="Bearer x").status == 401
    elsewhere = gateway.ask("POST", "/admin/refresh", {}, Authorization=good, Host="evil.example")
    assert elsewhere.json["error_code"] == "HOST_REFUSED"
    page = gateway.ask(
        "POST", "/admin/refresh", {}, Authorization=good, Origin="http://evil.example"
    )
    assert page.json["error_code"] == "ORIGIN_REFUSED"
    assert gateway.admin("refresh").json["version"] == 2


def test_promotions_and_rollbacks_lose_no_request(gateway: Gateway, registry: Registry) -> None:
    third = registry.version()
    with Traffic(gateway) as traffic:
        registry.promote(third)
        gateway.until_live(third)
        gateway.until_ready(2)
        start = time.monotonic()
        back = gateway.admin("rollback", actor="ana", reason="worse")
        took = time.monotonic() - start
        assert back.status == 200, back.body
        assert back.json["answers"] == 2
        since = time.monotonic()
        gateway.until_ready(1)
    assert traffic.wrong == []
    assert len(traffic.answers) > 200
    assert set(traffic.versions) == {2, third}
    assert all(v == 2 for sent, _, _, v in traffic.answers if sent > since)
    assert took < 15  # a start takes longer on a busy machine, and nothing had to start


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("fail to load", "the scoring server"),
        ("fail", "the scoring server answered 400"),
        ("nan", "values that are not finite numbers"),
        ("other form", "another form than those of the live version"),
        ("slow", "300 ms are allowed"),
        ("too few", "answers to 2 rows"),
    ],
)
def test_a_version_that_is_no_good_never_answers(
    gateway: Gateway, registry: Registry, does: str, says: str
) -> None:
    gateway.until_live(2)
    bad = registry.version(does)
    with Traffic(gateway, callers=2) as traffic:
        registry.promote(bad)
        until(lambda: says in gateway.status["problem"], gateway)
        assert gateway.status["version"] == 2
        assert gateway.status["ledger"]["production"] == bad
        registry.rollback()
        until(lambda: gateway.status["problem"] == "", gateway)
    assert traffic.wrong == []
    assert set(traffic.versions) == {2}


def test_an_altered_artifact_is_refused_and_named(gateway: Gateway, registry: Registry) -> None:
    bad = registry.version()
    (registry.files(bad) / "python_env.yaml").write_text("python: 3.11.0\n")
    registry.promote(bad)
    until(lambda: "is not what was registered" in gateway.status["problem"], gateway)
    assert f"the artifact of v{bad}" in gateway.status["problem"]
    assert gateway.predict(1).version == 2
    registry.rollback()
    until(lambda: gateway.status["problem"] == "", gateway)


def test_a_bad_row_fails_alone(gateway: Gateway) -> None:
    with Traffic(gateway, callers=4) as traffic:
        for number in range(20):
            got = gateway.predict(number, do="raise")
            assert got.status == 400
            assert "bad" not in got.json["message"]
    assert traffic.wrong == []


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_served_process_that_is_killed_or_stopped_is_replaced(
    gateway: Gateway, sign: signal.Signals
) -> None:
    gateway.until_ready(1)
    with Traffic(gateway) as traffic:
        time.sleep(0.3)
        (victim,) = gateway.served(2)
        os.kill(victim, sign)
        until(lambda: gateway.served(2) not in ([], [victim]), gateway)
        until(lambda: gateway.status["processes"] == 1, gateway)
        time.sleep(0.3)
    assert traffic.wrong == []
    assert set(traffic.versions) == {2}


def test_promote_roll_back_promote_within_one_look(gateway: Gateway, registry: Registry) -> None:
    gateway.until_ready(1)
    one, other = registry.version(), registry.version()
    with Traffic(gateway, callers=2) as traffic:
        registry.promote(one)
        registry.rollback()
        registry.promote(other)
        gateway.until_live(other)
        gateway.until_ready(2)
        registry.rollback()
        gateway.until_live(2)
    assert traffic.wrong == []
    assert set(traffic.versions) == {2, other}


def test_a_version_that_is_rolled_back_while_it_starts_never_answers(
    gateway: Gateway, registry: Registry
) -> None:
    gateway.until_ready(1)
    late = registry.version()
    with Traffic(gateway, callers=2) as traffic:
        registry.promote(late)
        until(lambda: gateway.status["starting"] == late, gateway)
        registry.rollback()
        gateway.until_ready(1)
        time.sleep(0.3)
    assert traffic.wrong == []
    assert set(traffic.versions) == {2}
    assert all(swap["version"] != late for swap in gateway.status["swaps"])


def test_the_light_goes_out_with_the_version_that_stands_by(gateway: Gateway) -> None:
    gateway.until_ready(1)
    digest = json.loads((gateway.folder / "serve/m/last.json").read_text())["former"]["digest"]
    files = gateway.folder / "serve/m/models" / digest
    os.utime(files, (0, 0))
    until(lambda: files.stat().st_mtime, gateway)  # so that another gateway does not forget it
    for victim in pids(f"serve/m/models/{digest}"):
        os.kill(victim, signal.SIGKILL)
    until(lambda: not gateway.status["rollback_ready"], gateway)
    gateway.until_ready(1)


def copy_database(source: Path, target: Path) -> None:
    """As a backup and its return are made while others read and write: as one transaction."""
    opened = (contextlib.closing(sqlite3.connect(path)) for path in (source, target))
    with next(opened) as one, next(opened) as other:
        one.backup(other)


def test_while_the_registry_is_away_or_older(gateway: Gateway, registry: Registry) -> None:
    gateway.until_live(2)
    backup = registry.database.with_suffix(".backup")
    copy_database(registry.database, backup)
    with Traffic(gateway, callers=2) as traffic:
        with contextlib.closing(sqlite3.connect(registry.database)) as there:
            there.execute("ALTER TABLE model_versions RENAME TO elsewhere")
        until(lambda: "no such table" in gateway.status["ledger"]["reason"], gateway)
        assert not gateway.status["ledger"]["followed"]
        assert gateway.predict(1).version == 2
        copy_database(backup, registry.database)
        until(lambda: gateway.status["ledger"]["followed"], gateway)
        gateway.command("rollback", "--reason", "from outside")
        gateway.until_live(1)
        gateway.until_ready(None)
        copy_database(backup, registry.database)
        until(lambda: "is gone from the registry" in gateway.status["ledger"]["reason"], gateway)
        assert gateway.predict(1).version == 1
    assert traffic.wrong == []
    # A gateway that starts now knows what it followed, and that the registry shows less.
    gateway.stop()
    gateway.start()
    assert gateway.predict(1).version == 1
    assert "followed before, is not in the ledger" in gateway.status["ledger"]["reason"]


def test_nothing_is_left_of_a_gateway_that_is_killed(gateway: Gateway) -> None:
    assert pids(str(gateway.folder))
    gateway.stop(signal.SIGKILL)
    until(lambda: pids(str(gateway.folder)) == [])
    gateway.start()
    assert gateway.stop() == 0
    assert pids(str(gateway.folder)) == []
    assert "Traceback" not in gateway.log.read_text()
