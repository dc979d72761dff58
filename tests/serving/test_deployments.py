"""MLflow's own client speaks to a gateway, from Python and from its command line."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn

pytest.importorskip("mlflow")

from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException

from serving import deployments, wire
from serving.deployments import NotDone

KNOWN = "a-token"
STATUS = {
    "default": "flights",
    "seconds_up": 1.0,
    "models": {
        "flights": {"model": "flights", "ready": True, "version": 4, "understudy": 3},
        "other": {"model": "other", "ready": False, "version": None, "understudy": None},
    },
}


class Answers:
    """A small gateway: doubles column `a`; remembers what it was asked."""

    def __init__(self) -> None:
        self.status: Any = STATUS
        self.seen: list[Any] = []
        self.token = ""
        self.instead: tuple[int, bytes] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        status, said = self.instead or self._answer(scope, body)
        headers = [(b"location", b"http://127.0.0.1:9/")] if status == 302 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": said})

    def _answer(self, scope: Any, body: bytes) -> tuple[int, bytes]:
        path, heads = scope["path"], dict(scope["headers"])
        if path == "/status":
            return 200, json.dumps(self.status).encode()
        if path not in ("/invocations", "/models/flights/invocations"):
            return 404, wire.error("NOT_FOUND", "there is nothing at this path")
        if self.token and heads.get(b"authorization") != f"Bearer {self.token}".encode():
            return 401, wire.error("UNAUTHENTICATED", "an API token is needed")
        asked = json.loads(body)
        self.seen.append(asked)
        split = asked.get("dataframe_split")
        rows = split["data"] if split else []
        if any(not isinstance(row[0], int | float) for row in rows):
            return 400, wire.error("BAD_REQUEST", "the model does not accept this request")
        return 200, json.dumps({"predictions": [2 * row[0] for row in rows]}).encode()


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def running(answers: Answers) -> Iterator[str]:
    """The address of a small gateway, a real server."""
    config = uvicorn.Config(answers, port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def client(running: str, answers: Answers) -> Any:
    answers.status, answers.token, answers.instead, answers.seen = STATUS, "", None, []
    return get_deploy_client(f"understudy:{running}")


def test_mlflow_finds_the_plug_in(client: Any) -> None:
    assert isinstance(client, deployments.UnderstudyClient)
    assert "understudy:http://HOST:PORT" in deployments.target_help()


def test_models_are_listed_and_described(client: Any) -> None:
    listed = client.list_deployments()
    assert [(d["name"], d["version"], d["ready"]) for d in listed] == [
        ("flights", 4, True),
        ("other", None, False),
    ]
    assert client.get_deployment("flights")["understudy"] == 3
    with pytest.raises(NotDone, match="serves no model 'x'; it serves flights, other"):
        client.get_deployment("x")


@pytest.mark.parametrize("name", ["flights", None])
def test_a_data_frame_is_predicted(client: Any, name: str | None) -> None:
    rows = pd.DataFrame({"a": [1.5, 2.5]})
    found = client.predict(name, rows)
    assert found.get_predictions("ndarray").tolist() == [3.0, 5.0]
    assert json.loads(found.to_json()) == {"predictions": [3.0, 5.0]}


@pytest.mark.parametrize(
    ("inputs", "sent"),
    [
        ({"a": [1.5]}, {"inputs": {"a": [1.5]}}),
        ({"a": np.array([1.5])}, {"inputs": {"a": [1.5]}}),
        ({"instances": [1]}, {"instances": [1]}),
        (np.array([[1.5]]), {"inputs": [[1.5]]}),
        ([{"a": 1.5}], {"inputs": [{"a": 1.5}]}),
        ('{"inputs": [1]}', {"inputs": [1]}),
    ],
)
def test_other_inputs_are_sent_as_mlflow_has_them(
    client: Any, answers: Answers, inputs: Any, sent: Any
) -> None:
    client.predict("flights", inputs)
    assert answers.seen == [sent]


def test_a_token_is_sent(client: Any, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    answers.token = KNOWN
    rows = pd.DataFrame({"a": [1.0]})
    with pytest.raises(NotDone, match="set UNDERSTUDY_TOKEN") as caught:
        client.predict("flights", rows)
    assert caught.value.error_code == "UNAUTHENTICATED"
    monkeypatch.setenv("UNDERSTUDY_TOKEN", KNOWN)
    assert client.predict("flights", rows)["predictions"] == [2.0]
    monkeypatch.setenv("UNDERSTUDY_TOKEN", "a\r\nX-Other: 1")
    with pytest.raises(NotDone, match="one line of ASCII"):
        client.predict("flights", rows)


def test_what_the_gateway_refuses_is_told_in_its_words(client: Any) -> None:
    with pytest.raises(NotDone, match=r"accept this request \(BAD_REQUEST, status 400\)"):
        client.predict("flights", pd.DataFrame({"a": ["x"]}))
    with pytest.raises(NotDone, match="serves no model 'a/b'"):
        client.predict("a/b", pd.DataFrame({"a": [1.0]}))
    with pytest.raises(NotDone, match="no inputs"):
        client.predict("flights")
    with pytest.raises(NotDone, match="type object cannot be sent"):
        client.predict("flights", object())


@pytest.mark.parametrize("instead", [(200, b"<html>"), (200, b"[1]"), (500, b"oops"), (302, b"")])
def test_another_server_is_not_taken_for_a_gateway(
    client: Any, answers: Answers, instead: Any
) -> None:
    answers.instead = instead
    for ask in (client.list_deployments, lambda: client.predict("m", [1])):
        with pytest.raises(NotDone, match="is no Understudy gateway"):
            ask()


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda c: c.create_deployment("m", "models:/m/1"), "understudy promote VERSION"),
        (lambda c: c.update_deployment("m"), "understudy rollback --model m"),
        (lambda c: c.delete_deployment("m"), "end `understudy serve`"),
        (lambda _: deployments.run_local("understudy", "m", "models:/m/1"), "understudy serve"),
        (lambda c: c.predict("m", [1], endpoint="e"), "no endpoints"),
    ],
)
def test_what_the_registry_decides_is_said_in_a_sentence(
    client: Any, ask: Callable[[Any], Any], says: str
) -> None:
    with pytest.raises(MlflowException, match=says):
        ask(client)


def test_a_gateway_that_is_away() -> None:
    client = get_deploy_client("understudy:http://127.0.0.1:9")
    with pytest.raises(NotDone, match=r"no gateway answers at http://127.0.0.1:9 \(.*refused"):
        client.list_deployments()


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("understudy", "http://127.0.0.1:8080"),
        ("understudy:http://h:1", "http://h:1"),
        ("understudy:https://h/", "https://h"),
    ],
)
def test_targets(target: str, address: str) -> None:
    assert deployments.address(target) == address


@pytest.mark.parametrize("target", ["x", "ftp://h", "http://", "http://h:x", "http://u:p@h", "/p"])
def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(NotDone, match="is no target"):
        deployments.address(f"understudy:{target}")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).parent / "mlflow")
    return subprocess.run(
        [program, "deployments", *command], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_command_line(client: Any, running: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text('[{"a": 1.5}, {"a": 2.5}]')
    target = ("-t", f"understudy:{running}")
    done = run("predict", *target, "--name", "flights", "--input-path", str(rows))
    assert json.loads(done.stdout) == {"predictions": [3.0, 5.0]}, done.stderr
    refused = run("create", *target, "--name", "flights", "-m", "models:/flights/1")
    assert refused.returncode == 1
    assert "understudy promote VERSION" in refused.stderr
    assert "Traceback" not in refused.stderr
