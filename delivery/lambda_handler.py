"""Ships inside an image for AWS Lambda: answers MLflow's scoring protocol with onnxruntime.

Needs nothing but numpy and onnxruntime. Events are those of function URLs and of HTTP APIs (payload
format 2.0). An error never repeats what was sent.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
UTF_8 = ("charset=utf-8", 'charset="utf-8"')
FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")


class NotAccepted(Exception):
    """A request that cannot be answered; `status` is for HTTP, the text for the caller."""

    def __init__(self, sentence: str, status: int = 400, kind: str = "BAD_REQUEST") -> None:
        super().__init__(sentence)
        self.status, self.kind = status, kind


class Model:
    """The ONNX model beside this file, with its signature."""

    def __init__(self, folder: Path = HERE) -> None:
        signature = json.loads((folder / "signature.json").read_text(encoding="utf-8"))
        self.inputs = signature["inputs"]
        self.outputs = [output["name"] for output in signature["outputs"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def predict(self, rows: list[dict[str, Any]]) -> list[Any]:
        """An answer for each row: a number, or of a classifier a mapping. Raises NotAccepted."""
        feeds = {column["onnx"]: _cells(column, rows) for column in self.inputs}
        values = self._session.run(self.outputs, feeds)
        columns = [array.reshape(-1).tolist() for array in values]
        if len(columns) == 1:
            return list(columns[0])
        return [dict(zip(self.outputs, row, strict=True)) for row in zip(*columns, strict=True)]


def _cells(column: dict[str, Any], rows: list[dict[str, Any]]) -> Any:
    name, text = column["name"], column["type"] == "text"
    cells = []
    for row in rows:
        if name not in row and column["required"]:
            raise NotAccepted(f"the column {name!r} is missing")
        cell = row.get(name)
        if cell is None or cell != cell:
            if not column["may_be_missing"]:
                raise NotAccepted(f"the column {name!r} must have a value in every row")
            cell = "" if text else np.nan
        if not isinstance(cell, str if text else int | float) or isinstance(cell, bool):
            raise NotAccepted(f"the column {name!r} must hold {column['type']}")
        if isinstance(cell, str) and any("\ud800" <= c <= "\udfff" for c in cell):
            raise NotAccepted(f"the column {name!r} holds half of a character")
        cells.append(cell)
    try:
        return np.array(cells, dtype=object if text else float).reshape(-1, 1)
    except OverflowError:
        raise NotAccepted(f"the column {name!r} holds a number that is too large") from None


def rows_of(body: bytes) -> list[dict[str, Any]]:
    """The rows of a request in JSON, as mappings from column to cell. Raises NotAccepted."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise NotAccepted("the body is not valid JSON in UTF-8") from None
    given = [form for form in FORMS if form in found] if isinstance(found, dict) else []
    if len(given) != 1:
        raise NotAccepted(f"the body must be a JSON object with exactly one of {', '.join(FORMS)}")
    rows = _rows(given[0], found[given[0]])
    if not rows:
        raise NotAccepted("the body holds no rows")
    return rows


def _rows(form: str, value: Any) -> list[dict[str, Any]]:
    if form == "dataframe_split":
        return _split(value)
    if form == "inputs" and isinstance(value, dict):
        columns = list(value.values())
        if any(type(c) is not list or len(c) != len(columns[0]) for c in columns):
            raise NotAccepted("inputs must hold lists of one length, by column")
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise NotAccepted(f"{form} must be a list of objects, each with the columns' names")
    return value


def _split(value: Any) -> list[dict[str, Any]]:
    names = value.get("columns") if isinstance(value, dict) else None
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise NotAccepted("dataframe_split must have a list of columns")
    if not isinstance(data, list) or any(type(r) is not list or len(r) != len(names) for r in data):
        raise NotAccepted("dataframe_split must have data, a list of rows as long as the columns")
    return [dict(zip(names, row, strict=True)) for row in data]


def _body(event: dict[str, Any]) -> bytes:
    headers = {str(k).lower(): str(v) for k, v in (event.get("headers") or {}).items()}
    kind, _, further = headers.get("content-type", "").lower().partition(";")
    if kind.strip() != "application/json" or further.strip() not in ("", *UTF_8):
        raise NotAccepted(
            "the Content-Type must be application/json", 415, "UNSUPPORTED_MEDIA_TYPE"
        )
    body = event.get("body") or ""
    try:
        encoded = bool(event.get("isBase64Encoded"))
        return base64.b64decode(body, validate=True) if encoded else body.encode()
    except ValueError:  # no base64, or half of a character
        raise NotAccepted("the body is not valid base64 or UTF-8") from None


def answer(event: dict[str, Any]) -> tuple[int, str]:
    """Status and body. Raises NotAccepted."""
    http = (event.get("requestContext") or {}).get("http") or {}
    method, path = http.get("method"), "/" + (event.get("rawPath") or "").rpartition("/")[2]
    allowed = {"/ping": "GET", "/health": "GET", "/invocations": "POST"}.get(path)
    if allowed is None:
        raise NotAccepted("there are /ping, /health and /invocations", 404, "NOT_FOUND")
    if method != allowed:
        raise NotAccepted(f"{path} takes {allowed}", 405, "METHOD_NOT_ALLOWED")
    if path != "/invocations":
        return 200, "\n"
    predictions = MODEL.predict(rows_of(_body(event)))
    return 200, json.dumps({"predictions": predictions}, allow_nan=False)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's
    """What AWS Lambda calls."""
    try:
        status, body = answer(event)
    except NotAccepted as error:
        status, body = error.status, _error(error.kind, str(error))
    except Exception as error:  # the log of the function says more than its caller may know
        print(f"not answered: {type(error).__name__}: {error}")
        status, body = 500, _error("INTERNAL_ERROR", "the model failed on this request")
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": body}


def _error(kind: str, sentence: str) -> str:
    return json.dumps({"error_code": kind, "message": sentence})


MODEL = Model()
