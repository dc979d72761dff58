"""Routes, health and metadata. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from serving.oip.datatypes import ANSWER, OF_TYPE
from serving.signature import Column
from serving.wire import NotAccepted


@dataclass(frozen=True, slots=True)
class Route:
    """What a path below /v2/models asks for."""

    model: str
    version: str = ""
    """Empty where the path names none."""
    verb: str = ""
    """`infer`, `ready`, or empty for the metadata."""


def route(path: str) -> Route | None:
    """The parts of /v2/models/NAME[/versions/V][/infer|/ready]; None for any other path."""
    parts = path.split("/")
    if parts[:3] != ["", "v2", "models"] or not all(parts[1:]):
        return None
    model, rest = (parts[3:4] or [""])[0], parts[4:]
    version = ""
    if rest[:1] == ["versions"]:
        version, rest = (rest[1:2] or [""])[0], rest[2:]
        if not version:
            return None
    if not model or rest not in ([], ["infer"], ["ready"]):
        return None
    return Route(model, version, rest[0] if rest else "")


def require_version(asked: str, live: int | None, model: str) -> None:
    """Raises NotAccepted where a path names another version than the one that answers."""
    if asked and asked != str(live):
        now = f"version {live} answers" if live is not None else "no version answers yet"
        raise NotAccepted("NOT_FOUND", f"that version of {model} is not served; {now}", 404)


def server(version: str) -> bytes:
    """GET /v2."""
    return orjson.dumps({"name": "understudy", "version": version, "extensions": []})


def live() -> bytes:
    """GET /v2/health/live; whoever can answer lives."""
    return orjson.dumps({"live": True})


def ready(*, is_ready: bool) -> bytes:
    """GET /v2/health/ready; to be sent with 200 or 503.

    The specification's text calls the member `live` here too, its servers call it `ready`.
    """
    return orjson.dumps({"live": True, "ready": is_ready})


def model_ready(model: str, *, is_ready: bool) -> bytes:
    """GET /v2/models/NAME[/versions/V]/ready; to be sent with 200 or 503."""
    return orjson.dumps({"name": model, "ready": is_ready})


def metadata(
    model: str, versions: Sequence[int], inputs: Sequence[Column], outputs: Sequence[Column]
) -> bytes:
    """GET /v2/models/NAME[/versions/V]; `versions` are those that a path may name."""
    return orjson.dumps(
        {
            "name": model,
            "versions": [str(v) for v in versions],
            "platform": "mlflow_pyfunc",
            "inputs": [_described(c) for c in inputs],
            "outputs": [_described(c) for c in outputs],
        }
    )


def _described(column: Column) -> dict[str, Any]:
    datatype = OF_TYPE.get(column.type, "BYTES")
    return {"name": column.name or ANSWER, "datatype": datatype, "shape": list(column.shape)}
