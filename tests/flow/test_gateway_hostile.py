"""What no caller should send, too many callers, and who may not: a gateway of two models."""

from __future__ import annotations

import datetime
import gzip
import http.client
import ipaddress
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from registry.sections import GateParams
from serving import nearby, run
from serving.sections import ServeParams
from tests.flow.gateways import (
    Gateway,
    Got,
    Registry,
    Traffic,
    ending,
    rows,
    talk,
    until,
)

pytestmark = pytest.mark.flow

LARGE = 100_000_000
ASKING = ("/invocations", "/v2/models/m/infer", "/feedback")
ROW = {"id": 1, "x": 1.5, "do": "echo"}
TENSORS = [
    {"name": "id", "shape": [1], "datatype": "INT64", "data": [1]},
    {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.5]},
    {"name": "do", "shape": [1], "datatype": "BYTES", "data": ["echo"]},
]


@pytest.fixture(scope="module")
def registry(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Two models; n has no Production version yet."""
    found = Registry(tmp_path_factory.mktemp("hostile"), migrated, "m", "n")
    found.promote(found.version())
    found.version(model="n")
    return found


@pytest.fixture(scope="module")
def gateway(registry: Registry, environment: dict[str, str]) -> Iterator[Gateway]:
    found = Gateway(registry, environment, waiting=16, batch_rows=4, timeout=20)
    found.launch = ("understudy", "serve", "--model", "m", "--model", "n")
    with ending(found):
        found.start(wait_for="/ping")
        yield found


@pytest.fixture(scope="module")
def dawdler(gateway: Gateway) -> Iterator[socket.socket]:
    """Who promises a body and sends none; asked for first, so that its time runs meanwhile."""
    with socket.create_connection(("127.0.0.1", gateway.port)) as found:
        found.sendall(b"POST /feedback HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        yield found


def about(gateway: Gateway, model: str) -> dict[str, Any]:
    found: dict[str, Any] = gateway.get("/status").json["models"][model]
    return found


def peak(gateway: Gateway) -> int:
    """The most memory that the gateway ever had, in bytes."""
    assert gateway.process is not None
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1000


# Two models


def test_a_model_without_a_version_does_not_stop_the_other(
    gateway: Gateway, registry: Registry, dawdler: socket.socket
) -> None:
    until(lambda: about(gateway, "m")["version"] == 1, gateway)
    assert gateway.predict(1).headers["x-understudy-model"] == "m"
    assert gateway.ask("POST", "/models/m/invocations", rows(2)).version == 1
    waiting = gateway.ask("POST", "/models/n/invocations", rows(3))
    assert (waiting.status, waiting.json["error_code"]) == (503, "NOT_READY")
    assert int(waiting.headers["retry-after"]) >= 1
    said = gateway.get("/ready")
    assert (said.status, said.json) == (503, {"ready": False, "not_ready": ["n"]})
    assert gateway.get("/v2/health/ready").status == 503
    assert gateway.get("/v2/models/m/ready").status == 200
    assert gateway.get("/v2/models/n/ready").status == 503
    assert b'understudy_ready{model="n"} 0.0' in gateway.get("/metrics").body
    with Traffic(gateway, callers=2) as traffic:
        registry.promote(1, model="n")
        until(lambda: gateway.get("/ready").status == 200, gateway)
    assert traffic.wrong == []
    assert set(traffic.versions) == {1}
    got = gateway.ask("POST", "/models/n/invocations", rows(4))
    assert (got.status, got.headers["x-understudy-model"]) == (200, "n")
    assert about(gateway, "m")["counts"]["swaps"] == about(gateway, "n")["counts"]["swaps"] == 1


# Whatever the document allows, and what it does not

CASES, CASES_OF_TENSORS = 125, 70
"""For each operation with a body, and each mode; those of tensors take long to think of."""
CHECKS = (
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
)
MARKER = "Xq7-not-to-be-repeated"


def marked(value: Any) -> Any:
    """The same with the marker in every text and as a further key of every object."""
    if isinstance(value, str):
        return f"{MARKER}{value}"
    if isinstance(value, dict):
        return {**{k: marked(v) for k, v in value.items()}, MARKER: MARKER}
    return [marked(v) for v in value] if isinstance(value, list) else value


class Fuzz:
    """Sends cases, and keeps what is not as the document says."""

    def __init__(self, gateway: Gateway) -> None:
        self._base = f"http://127.0.0.1:{gateway.port}"
        self._session = requests.Session()
        self._token = {"Authorization": f"Bearer {gateway.token}"}
        self.sent: Counter[tuple[str, GenerationMode]] = Counter()
        self.statuses: dict[str, set[int]] = {}
        self.wrong: list[str] = []

    def try_out(self, operation: Any, mode: GenerationMode) -> None:
        """Send as many cases as an operation has, up to its share."""
        count = CASES_OF_TENSORS if operation.label.endswith("/infer") else CASES
        fixed = mode is GenerationMode.POSITIVE and "{version}" in operation.label
        strategy = operation.as_strategy(
            generation_mode=mode, path_parameters={"version": "1"} if fixed else None
        )

        @seed(4)
        @settings(
            max_examples=count if operation.method == "post" else 10,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def send(case: Any) -> None:
            self._send(operation.label, mode, case)

        with suppress(Unsatisfiable):  # an operation that takes nothing can be given no wrong
            send()

    def _send(self, label: str, mode: GenerationMode, case: Any) -> None:
        self.sent[label, mode] += 1
        number = self.sent[label, mode]
        if mode is GenerationMode.NEGATIVE and number % 2:
            case.body = marked(case.body)
        elif mode is GenerationMode.POSITIVE and number % 4 == 0 and label.endswith("/infer"):
            # No schema can say that shapes and data agree, so that few of its own ever do.
            case.body = {**case.body, "inputs": TENSORS, "outputs": [{"name": "x"}]}
        response = case.call(base_url=self._base, session=self._session, headers=self._token)
        self.statuses.setdefault(label, set()).add(response.status_code)
        try:
            case.validate_response(response, checks=list(CHECKS))
        except Exception as error:  # of any check, each has a class of its own
            self.wrong.append(f"{label}: {error}")
        if response.status_code >= 400 and MARKER in response.text:
            self.wrong.append(f"{label} repeats: {response.text}")
        if "Traceback" in response.text or "site-packages" in response.text:
            self.wrong.append(f"{label} tells too much: {response.text}")


def test_thousands_of_requests_by_the_document_get_answers_by_the_document(
    gateway: Gateway,
) -> None:
    fuzz = Fuzz(gateway)
    document = schemathesis.openapi.from_dict(gateway.get("/openapi.json").json)
    operations = [found.ok() for found in document.get_all_operations()]
    for operation in operations:
        for mode in GenerationMode:
            fuzz.try_out(operation, mode)
    labels = [operation.label for operation in operations]
    assert fuzz.wrong == []
    assert sum(fuzz.sent.values()) >= 2000
    assert {label for label, _ in fuzz.sent} == set(labels)
    answered = {label for label, found in fuzz.statuses.items() if 200 in found}
    assert answered == set(labels) - {"POST /admin/rollback"}  # v1 is all there is
    assert 409 in fuzz.statuses["POST /admin/rollback"]
    asked = [label for label in labels if label.endswith(("/infer", "/invocations", "/feedback"))]
    assert all(400 in fuzz.statuses[label] for label in asked)
    assert about(gateway, "m")["version"] == 1


# Bodies


def infer(**changed: Any) -> dict[str, Any]:
    """A request of the inference protocol whose column x is changed."""
    return {"inputs": [TENSORS[0], {**TENSORS[1], **changed}, TENSORS[2]]}


def texts() -> Iterator[tuple[str, bytes]]:
    """Path and body; none is a request that can be answered."""
    secret = json.dumps(MARKER)
    for path in ASKING:
        for body in (b"", b"null", b"[]", b"{}", b"NaN", b"1e400", b"\x00", secret.encode()):
            yield path, body
        yield path, b"[" * 100_000
        yield path, b'{"inputs":' * 20_000
        yield path, b'[{"label":' * 20_000
        yield path, f"{{{secret}: {secret}}}".encode()
        yield path, f'[{secret}, {{"a": {secret}}}]'.encode()
        yield path, b'{"a": ' + b"9" * 10_000 + b"}"
        yield path, ('{"a": "' + "\ud83d\ude00" + MARKER + '\\ud800"}').encode("utf-8", "replace")
    data = {
        "null": [[None, 1.5, "echo"]],
        "types": [[MARKER, MARKER, MARKER]],
        "object": [[{MARKER: 1}, 1.5, "echo"]],
    }
    for some in data.values():
        split = {"columns": ["id", "x", "do"], "data": some}
        yield "/invocations", json.dumps({"dataframe_split": split}).encode()
    twice = {"columns": ["id", "id", "x"], "data": [[1, 1, MARKER]]}
    yield "/invocations", json.dumps({"dataframe_split": twice}).encode()
    for changed in (
        {"data": []},
        {"shape": [0], "data": []},
        {"shape": [2**62, 2**62]},
        {"shape": [-1]},
        {"shape": MARKER},
        {"datatype": MARKER},
        {"data": [MARKER]},
        {"data": [[[[[[1.5]]]]]]},
        {"data": {MARKER: 1}},
        {"name": MARKER},
        {"name": "id"},
        {"parameters": MARKER},
    ):
        yield "/v2/models/m/infer", json.dumps(infer(**changed)).encode()
    for number in (b"1e400", b"NaN", b"-Infinity"):
        asked = json.dumps(infer(data=["?"])).encode().replace(b'"?"', number)
        yield "/v2/models/m/infer", asked
        yield "/feedback", b'{"key": "k", "label": %s}' % number
        yield "/feedback", b'{"key": "k", "label": 1, "time": %s}' % number
    label = {"key": "k", "label": 1}
    for changed in (
        {"label": None},
        {"label": [MARKER]},
        {"key": ""},
        {"key": MARKER * 100},
        {"key": "\x00"},
        {"key": [MARKER]},
        {"prediction_id": MARKER},
        {"time": MARKER},
        {"time": 1e300},
        {"model": {MARKER: 1}},
        {MARKER: 1},
    ):
        yield "/feedback", json.dumps({**label, **changed}).encode()
    yield "/feedback", json.dumps([label] * 10_001).encode()


def require_a_sentence(got: Got, path: str) -> None:
    assert set(got.json) == ({"error"} if path.startswith("/v2/") else {"error_code", "message"})
    for never in (
        MARKER.encode(),
        b"Traceback",
        b"site-packages",
        b"File ",
        str(Path.cwd()).encode(),
    ):
        assert never not in got.body


def test_no_body_is_so_wrong_that_it_gets_more_than_a_sentence(gateway: Gateway) -> None:
    several = list(texts())
    assert len(several) > 80
    with closing(gateway.connection()) as there, Traffic(gateway, callers=1) as traffic:
        for path, body in several:
            for kind in ("application/json", ""):
                head = {"Content-Type": kind} if kind else {}
                got = talk(there, "POST", path, body, head)
                assert 400 <= got.status < 500, (path, body[:100], got)
                require_a_sentence(got, path)
    assert traffic.wrong == []


def test_no_row_gets_no_prediction_as_from_mlflow(gateway: Gateway) -> None:
    got = gateway.ask("POST", "/invocations", rows())
    assert (got.status, got.json) == (200, {"predictions": []})


@pytest.mark.parametrize("path", ASKING)
def test_what_is_right_is_read_without_a_content_type(gateway: Gateway, path: str) -> None:
    bodies: dict[str, Any] = {
        "/invocations": rows(1),
        "/v2/models/m/infer": infer(),
        "/feedback": {"key": "nobody's", "label": 1},
    }
    got = gateway.ask("POST", path, json.dumps(bodies[path]).encode(), Content_Type="")
    assert got.status == 200, got
    if path != "/feedback":
        assert (got.headers["x-understudy-model"], got.version) == ("m", 1)
        assert got.headers["x-understudy-prediction-id"]


@pytest.mark.parametrize("path", ASKING)
def test_a_hundred_megabytes_cost_the_gateway_none(gateway: Gateway, path: str) -> None:
    before, part = peak(gateway), b" " * 1_000_000
    with Traffic(gateway, callers=1) as traffic:
        for length in (LARGE, None):
            with closing(gateway.connection()) as there:
                there.putrequest("POST", path)
                if length:
                    there.putheader("Content-Length", str(length))
                else:
                    there.putheader("Transfer-Encoding", "chunked")
                there.endheaders()
                for _ in range(LARGE // len(part)):
                    there.send(part if length else b"%x\r\n%b\r\n" % (len(part), part))
                if not length:
                    there.send(b"0\r\n\r\n")
                response = there.getresponse()
                got = Got(response.status, dict(response.getheaders()), response.read())
            assert got.status == 413, got
            require_a_sentence(got, path)
        bomb = gzip.compress(b"0" * 20_000_000)
        got = gateway.ask("POST", path, bomb, Content_Encoding="gzip")
        assert got.status == 415
        require_a_sentence(got, path)
    assert traffic.wrong == []
    # One body of 16 MB may be held until its end shows that it is too long, and be copied once.
    assert peak(gateway) - before < 50_000_000


def test_bodies_that_come_slowly_share_the_room_of_what_waits(gateway: Gateway) -> None:
    before, refused = peak(gateway), 0
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 15000000\r\n\r\n"
    with ExitStack() as several:
        slow = [
            several.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 20))
            for _ in range(12)
        ]
        for one in slow:
            one.sendall(head + b" " * 14_000_000)
        for one in slow:
            one.settimeout(2)
            with suppress(TimeoutError):
                refused += one.recv(100).startswith(b"HTTP/1.1 503")
    assert refused >= 12 - 64 // 14
    assert peak(gateway) - before < 150_000_000
    until(lambda: gateway.predict(1).status == 200, gateway)


HARDLY = {
    "a host that is none": (b"POST /admin/refresh HTTP/1.1\r\nHost: [\r\n\r\n", 403),
    "an origin that is none": (
        b"POST /admin/refresh HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[\r\n\r\n",
        403,
    ),
    "a tunnel": (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no path": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "a path of no text": (b"GET /%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "a path of bytes": (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "an id that cannot be sent back": (b"GET /ping HTTP/1.1\r\nX-Request-Id: \x7f\r\n\r\n", 400),
    "a socket": (b"GET /ping HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
    "a length of 5000 digits": (
        b"POST /feedback HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        400,
    ),
    "a length of 64 bits": (
        b"POST /feedback HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n",
        413,
    ),
    "two lengths": (
        b"POST /feedback HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "a chunk of no length": (
        b"POST /feedback HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
    ),
    "a token behind the body": (
        b"POST /admin/refresh HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\nAuthorization: Bearer TOKEN\r\n\r\n",
        401,
    ),
}


@pytest.mark.parametrize("what", HARDLY)
def test_what_is_hardly_http_gets_a_status(gateway: Gateway, what: str) -> None:
    said, status = HARDLY[what]
    own = f"\r\nAuthorization: Bearer {gateway.token}\r\n\r\n".encode()
    if status == 403:
        said = said.replace(b"\r\n\r\n", own)
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as there:
        there.sendall(said.replace(b"TOKEN", gateway.token.encode()))
        assert there.recv(1000).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("end", [b"a: b\r\n", b"a"])
def test_what_follows_a_body_without_end_is_cut_off(gateway: Gateway, end: bytes) -> None:
    """Trailers: many of them, or one that is long."""
    before = peak(gateway)
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as there:
        there.sendall(head + b"2\r\n{}\r\n0\r\na: ")
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            there.sendall(end * (LARGE // len(end)))
    assert peak(gateway) - before < 5_000_000


def test_who_hangs_up_on_the_inference_protocol_leaves_no_trace(gateway: Gateway) -> None:
    body = json.dumps({"inputs": [*TENSORS[:2], {**TENSORS[2], "data": ["wait"]}]}).encode()
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with Traffic(gateway, callers=1) as traffic:
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", gateway.port)) as one:
                one.sendall(head + body)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: gateway.status["waiting"] == 0, gateway)
    assert traffic.wrong == []
    assert "Traceback" not in gateway.log.read_text()


# Too many


def test_whom_there_is_no_room_for_is_told_so_at_once(gateway: Gateway) -> None:
    until(lambda: gateway.predict(1).status == 200, gateway)
    before, answers, begin = peak(gateway), [], threading.Barrier(300)
    again: list[tuple[int, Got]] = []

    def call(number: int) -> None:
        body = (
            {**rows(number, do="wait"), "params": {"a": "b" * 100_000}}
            if number % 3 == 0
            else (rows(number, do="wait"))
        )
        sent, quick = json.dumps(body).encode(), json.dumps(rows(number)).encode()
        with closing(gateway.connection()) as there:
            there.connect()
            begin.wait(30)
            start = time.monotonic()
            head = {"Content-Type": "application/json", "X-Request-Id": f"n{number}"}
            got = talk(there, "POST", "/invocations", sent, head)
            answers.append((number, got, time.monotonic() - start))
            begin.wait(60)
            while got.status == 503:  # over the same connection, until there is room
                time.sleep(0.1 + number / 150)
                got = talk(there, "POST", "/invocations", quick, head)
                again.append((number, got))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 300
    taken = {number: got for number, got, _ in answers if got.status == 200}
    refused = [(got, took) for _, got, took in answers if got.status != 200]
    assert len(taken) >= 16
    for number, got in taken.items():
        assert got.json["predictions"] == [{"id": number, "x": number + 0.5, "version": 1}]
    assert len(refused) > 200
    for got, _ in refused:
        assert (got.status, got.json["error_code"]) == (503, "OVERLOADED")
        assert int(got.headers["retry-after"]) >= 1
    assert max(took for _, took in refused) < 10  # who waited for room would wait for 20 s
    assert all(got.headers["x-request-id"] == f"n{n}" for n, got, _ in answers)
    assert all(got.headers["x-request-id"] == f"n{n}" for n, got in again)
    assert sum(got.status == 200 for _, got in again) == len(refused)
    for number, got in again:
        if got.status == 200:
            assert got.json["predictions"] == [{"id": number, "x": number + 0.5, "version": 1}]
    assert peak(gateway) - before < 50_000_000
    assert gateway.predict(1).status == 200


# Tokens


def test_tokens_are_needed_and_taken_away_while_it_runs(gateway: Gateway) -> None:
    def predict(token: str) -> Got:
        return gateway.predict(1, Authorization=f"Bearer {token}" if token else "")

    assert predict("").status == 200
    website = gateway.command("token", "website").strip()
    until(lambda: predict("").status == 401, gateway)
    refused = predict("")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json["error_code"] == "UNAUTHENTICATED"
    for wrong in ("x", website[:-1], f"{website}x", website.swapcase(), "\xff", " "):
        assert predict(wrong).status == 401
    assert gateway.predict(1, Authorization=f"Basic {website}").status == 401
    assert predict(website).status == 200
    assert gateway.predict(1, Authorization=f"bearer {website}").status == 200
    for path in ("/models/n/invocations", "/v2/models/m/infer", "/feedback"):
        assert gateway.ask("POST", path, {}).status == 401
        assert gateway.ask("POST", path, {}, Authorization=f"Bearer {website}").status == 400
    refresh = gateway.ask("POST", "/admin/refresh", {}, Authorization=f"Bearer {website}")
    assert refresh.status == 401
    deciding = gateway.command("token", "ops", "--admin").strip()
    until(lambda: predict(deciding).status == 200, gateway)
    refresh = gateway.ask("POST", "/admin/refresh", {}, Authorization=f"Bearer {deciding}")
    assert refresh.status == 200
    assert gateway.get("/openapi.json").json["paths"]["/invocations"]["post"]["security"] == [
        {"bearer": []}
    ]
    other = json.loads(gateway.command("token", "other", "--json"))["token"]
    until(lambda: predict(other).status == 200, gateway)
    gateway.command("token", "website", "--remove")
    until(lambda: predict(website).status == 401, gateway)
    assert predict(other).status == predict(deciding).status == 200
    gateway.command("token", "ops", "--remove")
    until(lambda: predict(deciding).status == 401, gateway)
    gateway.command("token", "other", "--remove")
    until(lambda: predict("").status == 200, gateway)
    kept = (gateway.folder / "tokens.json").read_text() + gateway.log.read_text()
    assert not any(token in kept for token in (website, deciding, other, gateway.token))


# Rolling back from the shell


def test_a_rollback_from_the_shell_is_the_gateways(gateway: Gateway, registry: Registry) -> None:
    second, undisturbed = registry.version(model="n"), about(gateway, "m")
    other = Traffic(gateway, callers=1)
    with Traffic(gateway, callers=4, path="/models/n/invocations") as traffic, other:
        registry.promote(second, model="n")
        until(lambda: about(gateway, "n")["version"] == second, gateway)
        until(lambda: about(gateway, "n")["rollback_ready"], gateway)
        said = json.loads(
            gateway.command("rollback", "--model", "n", "--json", "--reason", "late at noon")
        )
        since = time.monotonic()
        until(lambda: sum(sent > since for sent, *_ in traffic.answers) > 10, gateway)
    assert traffic.wrong == other.wrong == []
    assert set(traffic.versions) == {1, second}
    assert all(version == 1 for sent, _, _, version in traffic.answers if sent > since)
    # The other model did not notice.
    assert set(other.versions) == {1}
    for fact in ("swaps", "restarts", "ledger"):
        assert about(gateway, "m")[fact] == undisturbed[fact]
    # Only a gateway says who answers, and after how long.
    assert (said["version"], said["answers"], said["dry_run"]) == (1, 1, False)
    assert said["milliseconds"] < 5000
    document = gateway.get("/openapi.json").json
    answer = document["paths"]["/admin/rollback"]["post"]["responses"]["200"]["content"]
    pointer = answer["application/json"]["schema"]["$ref"].split("/")[1:]
    schema: Any = document
    for key in pointer:
        schema = schema[key]
    Draft202012Validator({**schema, "components": document["components"]}).validate(said)
    entry = about(gateway, "n")["entries"][-1]
    assert (entry["kind"], entry["actor"], entry["reason"]) == (
        "rollback",
        "tester",
        "late at noon",
    )


# TLS


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"), "ours")


@pytest.fixture(scope="module")
def closed(
    gateway: Gateway,
    registry: Registry,
    environment: dict[str, str],
    ours: tuple[Path, Path],
    dawdler: socket.socket,
) -> Iterator[Gateway]:
    """The gateway anew, now with TLS; it looks at the ledger by itself once a minute."""
    dawdler.settimeout(60)
    assert dawdler.recv(100).startswith(b"HTTP/1.1 408")
    gateway.stop()
    assert "Traceback" not in gateway.log.read_text()
    registry.promote(registry.version())
    found = Gateway(
        registry, environment, poll=60, certificate=str(ours[0]), key=str(ours[1]), timeout=20
    )
    found.trusting = ssl.create_default_context(cafile=str(ours[0]))
    with ending(found):
        found.start()
        found.until_ready(1)
        yield found


def test_tls_is_spoken_and_nothing_else(closed: Gateway) -> None:
    assert closed.predict(7).json["predictions"][0] == {"id": 7, "x": 7.5, "version": 2}
    plain = http.client.HTTPConnection("127.0.0.1", closed.port, timeout=10)
    with closing(plain), pytest.raises((http.client.HTTPException, OSError)):
        talk(plain, "GET", "/ping", None, {})
    strange = http.client.HTTPSConnection(
        "127.0.0.1", closed.port, timeout=10, context=ssl.create_default_context()
    )
    with closing(strange), pytest.raises(ssl.SSLCertVerificationError):
        talk(strange, "GET", "/ping", None, {})
    assert "Traceback" not in closed.log.read_text()


class Impostor:
    """Listens with a certificate of its own where the gateway is said to be; keeps what it gets."""

    def __init__(self, files: tuple[Path, Path]) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*files)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Impostor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._socket.close()

    def _listen(self) -> None:
        there, _ = self._socket.accept()
        with there, self._context.wrap_socket(there, server_side=True) as spoken, suppress(OSError):
            self.heard.append(spoken.recv(10_000))


def test_commands_know_their_gateway_by_its_certificate(
    closed: Gateway, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    monkeypatch.chdir(registry.root)
    here = f"https://127.0.0.1:{closed.port}"
    until(lambda: nearby.poke("m") == [here], closed)
    (known,) = nearby.running(registry.root, "m")
    with Impostor(certificate(tmp_path, "theirs")) as impostor:
        elsewhere = replace(known, address=f"https://127.0.0.1:{impostor.port}")
        with pytest.raises(ConnectionError, match="another certificate"):
            elsewhere.post("/admin/refresh", {"model": "m"}, 5)
    assert not any(impostor.heard)


def test_a_promotion_and_a_rollback_reach_a_gateway_with_tls(
    closed: Gateway, registry: Registry
) -> None:
    with Traffic(closed, callers=2) as traffic:
        said = closed.command("rollback", "--reason", "late at noon")
        since = time.monotonic()
        until(lambda: sum(sent > since for sent, *_ in traffic.answers) > 3, closed)
    assert traffic.wrong == []
    assert re.search(r"^the gateway answers with v1, after [\d.]+ ms$", said, re.MULTILINE)
    assert "v2: Production -> Archived" in said
    assert all(version == 1 for sent, _, _, version in traffic.answers if sent > since)


def no_file(folder: Path) -> tuple[Path | None, Path | None]:
    return folder / "none.pem", folder / "none.key"


def no_certificate(folder: Path) -> tuple[Path | None, Path | None]:
    path = folder / "text.pem"
    path.write_text("this is no certificate")
    return path, path


def no_key(folder: Path) -> tuple[Path | None, Path | None]:
    return certificate(folder, "alone")[0], None


def another_key(folder: Path) -> tuple[Path | None, Path | None]:
    return certificate(folder, "one")[0], certificate(folder, "other")[1]


def secret_key(folder: Path) -> tuple[Path | None, Path | None]:
    public, private = certificate(folder, "secret")
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    return public, private


@pytest.mark.parametrize("files", [no_file, no_certificate, no_key, another_key, secret_key])
def test_files_with_which_tls_cannot_be_spoken_are_named(
    tmp_path: Path, files: Callable[[Path], tuple[Path | None, Path | None]]
) -> None:
    public, private = files(tmp_path)
    params = ServeParams(
        port=0, certificate=str(public) if public else None, key=str(private) if private else None
    )
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    setting = run.Setting(["m"], uri, tmp_path / "kept", params, GateParams())
    with pytest.raises(run.CertificateRefused) as refused:
        run.run(setting)
    assert str(public) in str(refused.value)
    assert re.search(r"\([A-Za-z][^()]{5,}\)", str(refused.value))


def test_the_shell_says_so_too(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "params.yaml").write_text(
        "registry: {model: m}\nserve: {port: 0, certificate: none.pem, key: none.key}\n"
    )
    done = subprocess.run(
        ["understudy", "serve"],
        cwd=tmp_path,
        env={**environment, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1
    assert "none.pem' and serve.key" in done.stderr
    assert "Traceback" not in done.stderr
    assert not os.path.lexists(tmp_path / ".understudy" / "gateways")
