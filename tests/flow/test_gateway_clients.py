"""Other clients of a real gateway: MLflow's deployments, the V2 protocol's tables, a reader."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from serving import oip, schemas, signature
from tests.flow.gateways import Gateway, Registry, running

pytestmark = pytest.mark.flow


@pytest.fixture(scope="module")
def gateway(
    migrated: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    registry = Registry(tmp_path_factory.mktemp("clients"), migrated)
    registry.promote(registry.version())
    with running(registry, environment) as found:
        yield found


@pytest.fixture(scope="module")
def taken(gateway: Gateway) -> signature.Signature:
    """From the gateway's own verified copy of what it serves."""
    (files,) = (gateway.folder / "serve" / "m" / "models").glob("*/MLmodel")
    return signature.read(files.parent)


def deployments(gateway: Gateway, environment: dict[str, str], *command: str) -> str:
    target = ("-t", f"understudy:http://127.0.0.1:{gateway.port}")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "mlflow"), "deployments", *command, *target],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_mlflows_own_client(gateway: Gateway, environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"id": 7, "x": 7.5, "do": "echo"}]))
    said = deployments(gateway, environment, "predict", "--name", "m", "--input-path", str(path))
    assert json.loads(said) == {"predictions": [{"id": 7, "x": 7.5, "version": 1}]}
    assert "'name': 'm'" in deployments(gateway, environment, "list")
    assert "version: 1" in deployments(gateway, environment, "get", "--name", "m")


def test_tensors_are_answered_as_the_table_is(gateway: Gateway, taken: signature.Signature) -> None:
    assert [(c.name, c.type) for c in taken.inputs] == [
        ("id", "long"),
        ("x", "double"),
        ("do", "string"),
    ]
    inputs = [
        {"name": "id", "shape": [2, 1], "datatype": "INT64", "data": [7, 8]},
        {"name": "x", "shape": [2], "datatype": "FP64", "data": [7, 8.5]},
        {"name": "do", "shape": [2], "datatype": "BYTES", "data": ["echo", "echo"]},
    ]
    body = orjson.dumps({"id": "1", "inputs": inputs})
    assert Draft202012Validator(schemas.inference_request()).is_valid(orjson.loads(body))
    asked = oip.infer(body, taken.inputs)
    got = gateway.ask("POST", "/invocations", json.loads(asked.body))
    found = orjson.loads(oip.answer(got.body, asked, "m", got.version, taken.outputs))
    assert found["id"] == "1"
    outputs = {o["name"]: (o["datatype"], o["data"]) for o in found["outputs"]}
    assert outputs["id"] == ("INT64", [7, 8])
    assert outputs["x"] == ("FP64", [7.0, 8.5])


def test_the_schema_of_a_request_holds_for_one_that_is_answered(
    gateway: Gateway, taken: signature.Signature
) -> None:
    schema = Draft202012Validator(schemas.request(taken, 100))
    record = {"id": 7, "x": 7.5, "do": "echo"}
    columns: dict[str, Any] = {name: [value] for name, value in record.items()}
    split = {"columns": list(record), "data": [list(record.values())]}
    for body in (
        {"dataframe_split": split},
        {"dataframe_records": [record]},
        {"inputs": columns},
        {"inputs": [record]},
        {"instances": [record]},
    ):
        assert schema.is_valid(body)
        got = gateway.ask("POST", "/invocations", body)
        assert got.status == 200
        assert Draft202012Validator(schemas.answer(taken)).is_valid(got.json)


class Text(HTMLParser):
    """What of a page is read."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.feed(source)

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def test_the_page_shows_what_is_live(gateway: Gateway) -> None:
    got = gateway.ask("GET", "/")
    assert got.status == 200
    assert "default-src 'none'" in got.headers["content-security-policy"]
    text = " ".join(Text(got.body.decode()).words)
    assert "Live v1 1 process" in text
    assert "Rollback not ready No former Production version" in text
    assert "v1 to Production by ana" in text
