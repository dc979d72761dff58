"""What the image for AWS Lambda answers, in a process with numpy and onnxruntime alone."""

from __future__ import annotations

import base64
import http.server
import importlib.util
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry import digest
from tests.delivery.mixed import FEATURES, Mixed, opened

pytest.importorskip("skl2onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from tests.delivery.test_onnx import run_alone

BASE = "public.ecr.aws/lambda/python:3.13@sha256:" + "1" * 64
ROW = dict(zip(FEATURES, ("town 3", "ü", 12.5, 2), strict=True))
ASK = """
import json, handler
for event in json.load(open('events.json')):
    print(json.dumps(handler.handler(event, None)))
try:
    import pandas
except ImportError:
    print('alone')
"""


@pytest.fixture(scope="module")
def made(mixed_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with opened(mixed_template, tmp_path_factory.mktemp("lambda")) as mixed:
        mixed("lambda", "--output", "out", "--base", BASE)
        return mixed.root / "out"


@pytest.fixture
def image(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out"))


def event(body: Any, path: str = "/invocations", method: str = "POST", **further: Any) -> Any:
    """As a function URL sends it (payload format 2.0)."""
    text = body if isinstance(body, str) else json.dumps(body)
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": {"Content-Type": "application/json"},
        "requestContext": {"http": {"method": method, "path": path}},
        "body": text,
        "isBase64Encoded": False,
        **further,
    }


def ask(image: Path, *events: Any) -> list[tuple[int, Any]]:
    (image / "events.json").write_text(json.dumps(events))
    *lines, last = run_alone(ASK, image, "numpy", "onnxruntime").splitlines()
    assert last == "alone"
    found = [json.loads(line) for line in lines if line.startswith("{")]
    assert all(f["headers"] == {"content-type": "application/json"} for f in found)
    return [(f["statusCode"], json.loads(f["body"]) if f["body"].strip() else "") for f in found]


def test_every_form_of_the_scoring_protocol(image: Path) -> None:
    sample = json.loads((image / "sample.json").read_text())
    split = sample["dataframe_split"]
    records = [dict(zip(split["columns"], row, strict=True)) for row in split["data"]]
    assert any(None in row.values() for row in records)
    by_column = {name: [row[name] for row in records] for name in FEATURES}
    shuffled = [{**dict(reversed(row.items())), "further": 1} for row in records]
    encoded = base64.b64encode(json.dumps(sample).encode()).decode()
    answers = ask(
        image,
        event(sample),
        event({"dataframe_split": {**split, "index": [9, 8, 7, 6, 5]}}),
        event({"dataframe_records": records}),
        event({"dataframe_records": shuffled}),
        event({"instances": records, "params": {}}),
        event({"inputs": by_column}),
        event({"inputs": records}),
        event(encoded, isBase64Encoded=True),
        event(json.dumps(sample).replace("null", "NaN"), path="/prod/invocations"),
        event(sample, headers={"content-type": "Application/JSON; charset=UTF-8"}),
        event(sample, headers={"content-type": 'application/json; charset="utf-8"'}),
    )
    expected = json.loads((image / "expected.json").read_text())["predictions"]
    for status, body in answers:
        assert status == 200
        assert list(body) == ["predictions"]
        for found, wanted in zip(body["predictions"], expected, strict=True):
            assert found == {
                k: v if k == "prediction" else pytest.approx(v, abs=1e-12)
                for k, v in wanted.items()
            }


def test_health(image: Path) -> None:
    found = ask(image, *(event("", path=p, method="GET") for p in ("/ping", "/health")))
    assert found == [(200, "")] * 2


SECRET = "4711-secret"  # noqa: S105 - what no answer may repeat
BAD: list[tuple[Any, int, str]] = [
    (event("no JSON " + SECRET), 400, "not valid JSON"),
    (event("[" * 100_000), 400, "not valid JSON"),
    (event("\ud800"), 400, "not valid base64 or UTF-8"),
    (event("%%%", isBase64Encoded=True), 400, "not valid base64"),
    (event([ROW]), 400, "exactly one of"),
    (event({}), 400, "exactly one of"),
    (event({"inputs": [ROW], "instances": [ROW]}), 400, "exactly one of"),
    (event({"instances": []}), 400, "no rows"),
    (event({"inputs": {}}), 400, "no rows"),
    (event({"inputs": {"town": ["x"], "kind": []}}), 400, "lists of one length"),
    (event({"instances": [[1, 2, 3, 4]]}), 400, "list of objects"),
    (event({"dataframe_records": SECRET}), 400, "list of objects"),
    (event({"dataframe_split": []}), 400, "a list of columns"),
    (event({"dataframe_split": {"columns": ["town"], "data": [[1, 2]]}}), 400, "as long as"),
    (
        event({"instances": [{k: v for k, v in ROW.items() if k != "town"}]}),
        400,
        "'town' is missing",
    ),
    (event({"instances": [{**ROW, "town": 5}]}), 400, "'town' must hold text"),
    (event({"instances": [{**ROW, "town": "\ud800"}]}), 400, "'town' holds half of a character"),
    (event({"instances": [{**ROW, "wet": SECRET}]}), 400, "'wet' must hold number"),
    (event({"instances": [{**ROW, "wet": True}]}), 400, "'wet' must hold number"),
    (event({"instances": [{**ROW, "wet": 10**400}]}), 400, "too large"),
    (event({"instances": [{**ROW, "wet": [1]}]}), 400, "'wet' must hold number"),
    (event({"instances": [ROW]}, headers={"content-type": "text/csv"}), 415, "Content-Type"),
    (event({"instances": [ROW]}, headers=None), 415, "Content-Type"),
    (event("", method="GET"), 405, "takes POST"),
    (event("", path="/elsewhere/" + SECRET), 404, "/invocations"),
    ({}, 404, "/invocations"),
]


def test_bad_requests_get_a_sentence_and_never_their_own_data(image: Path) -> None:
    found = ask(image, *(bad for bad, _, _ in BAD))
    assert len(found) == len(BAD)
    for (status, body), (_, wanted, why) in zip(found, BAD, strict=True):
        assert (status, set(body)) == (wanted, {"error_code", "message"})
        assert why in body["message"]
        assert SECRET not in json.dumps(body)


def test_a_model_that_fails_says_no_more_than_that(image: Path) -> None:
    said = json.loads((image / "signature.json").read_text())
    said["inputs"][0]["onnx"] = "no such input"
    (image / "signature.json").write_text(json.dumps(said))
    ((status, body),) = ask(image, event({"instances": [ROW]}))
    assert (status, body["error_code"]) == (500, "INTERNAL_ERROR")
    assert body["message"] == "the model failed on this request"


def test_the_context(image: Path) -> None:
    lines = (image / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("FROM ")] == [
        f"FROM {BASE} AS build", f"FROM {BASE}",
    ]  # fmt: skip
    assert "USER 10001:10001" in lines
    assert lines[-1] == 'CMD ["handler.handler"]'
    about = json.loads((image / "understudy.json").read_text())
    assert about["base"] == BASE
    for key in ("version", "digest", "ledger_head"):
        assert any(line.strip(" \\") == f'understudy.{key}="{about[key]}"' for line in lines)
    sums = dict(x.split("  ")[::-1] for x in (image / "SHA256SUMS").read_text().splitlines())
    assert sums == {
        n: digest.of_file(image / n) for n in ("handler.py", "model.onnx", "signature.json")
    }
    names = [x.partition("==")[0] for x in (image / "requirements.txt").read_text().splitlines()]
    assert names == ["numpy", "onnxruntime"]


def test_a_base_that_may_change_is_refused(mixed: Mixed) -> None:
    said = mixed.refused("lambda", "--base", "public.ecr.aws/lambda/python:3.13")
    assert said.startswith("the base image 'public.ecr.aws/lambda/python:3.13' is not pinned;")
    assert "Missing option '--base'" in mixed.refused("lambda", code=2)


# The client crashes where one of them is missing.
HEADERS = {
    "Content-Type": "application/json",
    "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    "Lambda-Runtime-Deadline-Ms": "4102444800000",
    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:f",
    "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
}


ANSWER = f"/2018-06-01/runtime/invocation/{HEADERS['Lambda-Runtime-Aws-Request-Id']}/response"


class Runtime(http.server.BaseHTTPRequestHandler):
    """Lambda's Runtime API for one invocation after the other (version 2018-06-01)."""

    protocol_version = "HTTP/1.1"
    events: queue.Queue[Any] = queue.Queue()
    answers: queue.Queue[Any] = queue.Queue()

    def do_GET(self) -> None:
        assert self.path == "/2018-06-01/runtime/invocation/next"
        body = json.dumps(self.events.get()).encode()
        self.send_response(200)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answers.put((self.path, json.loads(body)))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def runtime() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_through_the_runtime_interface_client(image: Path, runtime: str) -> None:
    if importlib.util.find_spec("awslambdaric") is None:
        pytest.skip("awslambdaric, Lambda's runtime interface client, is not installed")
    env = {**os.environ, "AWS_LAMBDA_RUNTIME_API": runtime, "LAMBDA_TASK_ROOT": str(image)}
    process = subprocess.Popen(
        [sys.executable, "-m", "awslambdaric", "handler.handler"], cwd=image, env=env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for body, status in (({"instances": [ROW]}, 200), ({"instances": [{}]}, 400)):
            Runtime.events.put(event(body))
            path, answer = Runtime.answers.get(timeout=60)
            assert path == ANSWER
            assert answer["statusCode"] == status
    finally:
        process.kill()
        process.wait()
        Runtime.events.put({})  # lets the thread go that waits for the next one
