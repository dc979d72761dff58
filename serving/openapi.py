"""The OpenAPI 3.1 document of a gateway; requests as the live versions' signatures have them. Pure.

Every model has paths of its own, because every model takes something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving import schemas, state_schemas
from serving.feedback import ITEMS, LABEL_LIMIT, NAME_LIMIT, RESULTS
from serving.schemas import Schema
from serving.signature import Signature

_SAYS = {
    400: "The request is not one that the model takes, or no JSON.",
    401: "An API token is needed, or a better one.",
    403: "The Host or the Origin is not one of the gateway's.",
    404: "There is no such model, version or path.",
    405: "The path takes another method.",
    408: "The body did not come in time.",
    409: "The registry's state does not allow it; the sentence says why.",
    413: "The body is too large, or has too many rows.",
    415: "The Content-Type is none that models take, or the body is compressed.",
    422: "The model does not accept the request.",
    431: "The head is too large; nothing is read of it, and the connection is closed.",
    502: "The model failed at the request.",
    503: "No version answers yet, too much waits already, or the registry is away.",
    504: "The model did not answer in time.",
}
PREDICTING = (400, 401, 404, 408, 413, 415, 422, 502, 503, 504)
DECIDING = (400, 401, 403, 404, 408, 409, 413, 415, 503)
ANY = (405, 431)
"""What any path may answer, being called in a wrong way."""

_HEADERS = {
    "X-Understudy-Model": ("string", "The registered model that answered."),
    "X-Understudy-Version": ("integer", "Its version."),
    "X-Understudy-Prediction-Id": ("string", "Names this answer: for POST /feedback."),
}


@dataclass(frozen=True)
class Served:
    """What the document says of the gateway, beside the models."""

    default: str
    """The model of /invocations."""
    version: str
    """Of the gateway."""
    body_rows: int = 100_000
    token_needed: bool = False
    """Whether predicting needs a token; deciding always does."""
    feedback: bool = True
    """Whether labels are taken."""


def document(served: Served, models: Mapping[str, Signature]) -> dict[str, Any]:
    """The document for models by name, each with the signature of the version that answers."""
    paths: dict[str, Any] = {"/invocations": _invocations(served, served.default, "default model")}
    for name in models:
        paths[f"/models/{name}/invocations"] = _invocations(served, name, f"model {name}")
    paths |= _plain() | _admin()
    if served.feedback:
        paths["/feedback"] = _feedback(served)
    paths |= _inference(served, models)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Understudy gateway",
            "version": served.version,
            "description": "MLflow's scoring protocol and the Open Inference Protocol, for the "
            "versions that the ledger has in Production.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _components(served, models),
            "responses": {str(status): _failure(status) for status in _SAYS},
            "headers": {
                name: {"description": says, "required": True, "schema": {"type": kind}}
                for name, (kind, says) in _HEADERS.items()
            },
            "parameters": _PARAMETERS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _components(served: Served, models: Mapping[str, Signature]) -> dict[str, Schema]:
    found: dict[str, Schema] = {
        "Error": {
            "type": "object",
            "required": ["error_code", "message"],
            "properties": {
                "error_code": {"type": "string", "description": "The class of the error."},
                "message": {"type": "string", "description": "A sentence for a person."},
            },
        },
        "InferenceError": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"type": "string"}},
        },
        "InferenceRequest": schemas.inference_request(),
        "InferenceResponse": schemas.inference_response(),
        "Label": _LABEL,
        **state_schemas.COMPONENTS,
    }
    for name, signature in models.items():
        found[_key(name, "Request")] = schemas.request(signature, served.body_rows)
        found[_key(name, "Answer")] = schemas.answer(signature)
    return found


def _key(model: str, part: str) -> str:
    """A model's name has only characters that a component's name may have."""
    return f"{model}.{part}"


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


def _schema(name: str) -> Schema:
    return _ref("schemas", name)


def _failure(status: int) -> dict[str, Any]:
    says: dict[str, Any] = {"description": _SAYS[status]}
    if status == 431:
        return says
    says["content"] = _json(_schema("Error"))
    if status == 503:
        seconds = {"type": "integer", "minimum": 1}
        after = {"description": "Seconds.", "required": True, "schema": seconds}
        says["headers"] = {"Retry-After": after}
    if status == 401:
        bearer = {"required": True, "schema": {"const": "Bearer"}}
        says["headers"] = {"WWW-Authenticate": bearer}
    return says


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _failures(*statuses: int) -> dict[str, Any]:
    return {str(s): _ref("responses", str(s)) for s in sorted({*statuses, *ANY})}


def _who(served: Served) -> list[dict[str, list[str]]]:
    return [{"bearer": []}] if served.token_needed else [{}, {"bearer": []}]


_PARAMETERS: dict[str, Any] = {
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Comes back with the answer.",
        "schema": {"type": "string", "maxLength": 128},
    },
    "Key": {
        "name": "X-Understudy-Key",
        "in": "header",
        "description": "What the request is about, in the caller's words: labels may name it.",
        "schema": {"type": "string", "maxLength": 128},
    },
    "Version": {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "The version that answers; any other is not found.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
}


def _invocations(served: Served, model: str, whose: str) -> dict[str, Any]:
    bodies: dict[str, Any] = _json(_schema(_key(model, "Request")))
    bodies["text/csv"] = {"schema": {"type": "string"}}
    bodies["application/vnd.apache.parquet"] = {"schema": {"type": "string", "format": "binary"}}
    own = "default" if whose == "default model" else model
    return {
        "post": {
            "operationId": f"predict.{own}",
            "summary": f"Predictions of the {whose}.",
            "tags": ["predict"],
            "security": _who(served),
            "parameters": [_ref("parameters", "RequestId"), _ref("parameters", "Key")],
            "requestBody": {"required": True, "content": bodies},
            "responses": {
                "200": {
                    "description": "One prediction for each row, in their order.",
                    "headers": {name: _ref("headers", name) for name in _HEADERS},
                    "content": _json(_schema(_key(model, "Answer"))),
                },
                **_failures(*PREDICTING),
            },
        }
    }


def _get(name: str, summary: str, content: dict[str, Any], *more: int) -> dict[str, Any]:
    answers = {"200": {"description": summary, "content": content}, **_failures(*more)}
    operation = {"operationId": name, "summary": summary, "tags": ["state"], "security": []}
    return {"get": {**operation, "responses": answers}}


_TEXT = {"text/plain": {"schema": {"type": "string"}}}


def _plain() -> dict[str, Any]:
    # As MLflow has it: called JSON, and an empty line or a bare version, which is none.
    nothing: dict[str, Any] = {"application/json": {}}
    readiness = _or_not(_get("ready", "Whether every model answers.", _json(_schema("Ready"))))
    document = _get("openapi", "This document.", _json({"type": "object"}))
    return {
        "/": _get("page", "The page for people.", {"text/html": {"schema": {"type": "string"}}}),
        "/ping": _get("ping", "The gateway runs.", nothing),
        "/health": _get("health", "The gateway runs.", nothing),
        "/version": _get("version", "The version of MLflow.", nothing),
        "/ready": readiness,
        "/metrics": _get("metrics", "Counters for Prometheus.", _TEXT),
        "/status": _get("status", "What is live, in JSON.", _json(_schema("Status"))),
        "/openapi.json": document,
    }


def _admin() -> dict[str, Any]:
    model = {"model": {"type": "string", "description": "Default: the gateway's default model."}}
    asked = {
        "to": {"type": ["integer", "null"], "description": "Default: the version before."},
        "actor": {"type": "string"},
        "reason": {"type": "string"},
    }
    return {
        "/admin/refresh": _decide("refresh", "Look at the ledger now.", model, "ModelStatus"),
        "/admin/rollback": _decide(
            "rollback", "Roll back in the ledger, and here at once.", model | asked, "RolledBack"
        ),
    }


def _decide(name: str, summary: str, properties: dict[str, Any], said: str) -> dict[str, Any]:
    body: Schema = {"type": "object", "properties": properties}
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "tags": ["decide"],
            "security": [{"bearer": []}],
            "requestBody": {"required": False, "content": _json(body)},
            "responses": {
                "200": {"description": "Done.", "content": _json(_schema(said))},
                **_failures(*DECIDING),
            },
        }
    }


_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": NAME_LIMIT}
_WHICH = {"prediction_id": "Of an answer's header.", "key": "Of the request's header."}
_LABEL: Schema = {
    "type": "object",
    "required": ["label"],
    "oneOf": [{"required": [name]} for name in _WHICH],
    "properties": {
        **{name: {**_NAME, "description": says} for name, says in _WHICH.items()},
        "model": _NAME,
        "label": {
            "anyOf": [
                {"type": ["number", "boolean"]},
                {"type": "string", "maxLength": LABEL_LIMIT},
            ]
        },
        "time": {
            "type": ["number", "string", "null"],
            "description": "When the outcome was there: seconds since 1970, or ISO 8601 with its "
            "offset to UTC.",
        },
    },
    "additionalProperties": False,
}


def _feedback(served: Served) -> dict[str, Any]:
    several = {"type": "array", "minItems": 1, "maxItems": ITEMS, "items": _schema("Label")}
    return {
        "post": {
            "operationId": "feedback",
            "summary": "Labels of earlier predictions, one or many.",
            "description": f"Each label becomes one of: {', '.join(RESULTS)}.",
            "tags": ["predict"],
            "security": _who(served),
            "requestBody": {
                "required": True,
                "content": _json({"anyOf": [_schema("Label"), several]}),
            },
            "responses": {
                "200": {
                    "description": "What became of each label.",
                    "content": _json(_schema("Labelled")),
                },
                **_failures(400, 401, 404, 408, 413, 415, 503),
            },
        }
    }


# The Open Inference Protocol


def _inference(served: Served, models: Mapping[str, Signature]) -> dict[str, Any]:
    server, live, ready, metadata, model_ready = (
        _json(_schema(name)) for name in ("Server", "Live", "AllReady", "Metadata", "ModelReady")
    )
    found: dict[str, Any] = {
        "/v2": _get("v2", "The server.", server),
        "/v2/health/live": _get("v2.live", "The gateway runs.", live),
        "/v2/health/ready": _or_not(_get("v2.ready", "Every model answers.", ready)),
    }
    for name in models:
        for path, more in ((f"/v2/models/{name}", ""), (_versioned(name), "version.")):
            names = f"v2.{more}{name}"
            about = _get(names, "What the model takes and gives.", metadata)
            answers = _or_not(_get(f"{names}.ready", "The model answers.", model_ready))
            infer = _infer(served, f"{names}.infer")
            for suffix, item in (("", about), ("/ready", answers), ("/infer", infer)):
                found[path + suffix] = _v2(item, with_version=bool(more))
    return found


def _versioned(name: str) -> str:
    return f"/v2/models/{name}/versions/{{version}}"


def _or_not(item: dict[str, Any]) -> dict[str, Any]:
    """An operation that says the same with 503, where it is not so."""
    answers = item["get"]["responses"]
    answers["503"] = {"description": "Not yet.", "content": answers["200"]["content"]}
    return item


def _infer(served: Served, name: str) -> dict[str, Any]:
    return {
        "post": {
            "operationId": name,
            "summary": "Predictions, as tensors.",
            "tags": ["predict"],
            "security": _who(served),
            "parameters": [_ref("parameters", "RequestId"), _ref("parameters", "Key")],
            "requestBody": {"required": True, "content": _json(_schema("InferenceRequest"))},
            "responses": {
                "200": {
                    "description": "One or more tensors.",
                    "headers": {name: _ref("headers", name) for name in _HEADERS},
                    "content": _json(_schema("InferenceResponse")),
                },
                **_failures(*PREDICTING),
            },
        }
    }


def _v2(item: dict[str, Any], *, with_version: bool) -> dict[str, Any]:
    """An operation of the protocol: its errors are written as the protocol has them."""
    for operation in item.values():
        answers = operation["responses"]
        statuses = {int(s) for s in answers if s != "200"} | {404}
        for status in statuses:
            if "$ref" in answers.get(str(status), {"$ref": ""}) and status not in ANY:
                said = {**_failure(status), "content": _json(_schema("InferenceError"))}
                answers[str(status)] = said
        operation["tags"] = ["Open Inference Protocol"]
    if with_version:
        item["parameters"] = [_ref("parameters", "Version")]
    return item
