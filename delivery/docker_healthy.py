"""The health check of a model server's image, where it lies beside check.json; no package needed.

Exit code 0 where the model answers its own example with a finite value for each row. While the
image is built, `healthy.py build` asks the same of the server's application without a socket, so
that an image which could not answer is never made, and the bytecode of all that answering needs
is in it.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, NoReturn

CHECK = "check.json"
"""`{"request": text of a request, "rows": how many answers it must get}`"""
APPLICATION = "mlflow.pyfunc.scoring_server.app:app"
SECONDS = 8.0


def of_server(request: str, port: int) -> tuple[int, bytes]:
    """Status and body of what the server at a port of this machine answers. Raises OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/invocations", request.encode(), headers)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from None
    finally:
        connection.close()


def of_application(request: str, name: str = APPLICATION) -> tuple[int, bytes]:
    """The same of an ASGI application, in this process."""
    import uvicorn  # only the image needs it, and only while it is built

    config = uvicorn.Config(name, log_level="warning")
    config.load()
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": request.encode(), "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": "/invocations", "raw_path": b"/invocations", "query_string": b"",
        "root_path": "", "headers": [(b"content-type", b"application/json")], "state": {},
        "client": ("127.0.0.1", 0), "server": ("127.0.0.1", 0),
    }  # fmt: skip
    asyncio.run(config.loaded_app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def problem(status: int, body: bytes, rows: int) -> str:
    """What is wrong with an answer; empty where nothing is."""
    if status != 200:
        return f"it answered {status}"
    try:
        given = len(json.loads(body, parse_constant=_not_finite)["predictions"])
    except (ValueError, KeyError, TypeError):
        return "its answer holds no predictions, or some that are not finite"
    return "" if given == rows else f"it gave {given} answers to {rows} rows"


def _not_finite(name: str) -> NoReturn:
    raise ValueError(name)


def main(arguments: list[str]) -> str:
    """Why the model is not well; empty where it is."""
    check = json.loads(Path(__file__).with_name(CHECK).read_text())
    try:
        if arguments == ["build"]:
            answer = of_application(check["request"])
        else:
            answer = of_server(check["request"], int(os.environ.get("PORT", "8080")))
    except OSError as error:
        return f"it does not answer ({type(error).__name__})"
    return problem(*answer, check["rows"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
