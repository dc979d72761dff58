"""Responses that are whole, and how the gateway says what went wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from serving import wire
from serving.batch import Refused, Reply
from serving.heads import ID_LIMIT, Heads
from serving.tokens import Scope, Tokens
from serving.wire import NotAccepted

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
"""ASGI's."""

LATER = 2
"""Seconds after which to ask again for what is away at present."""
_MODEL_SAYS = {
    400: "the model does not accept this request; /openapi.json says what it takes",
    404: "the model does not know what is asked for",
    413: "the request is too large for the model",
    415: "the model does not take this Content-Type",
    422: "the model does not accept this request; /openapi.json says what it takes",
    504: "the model did not answer in time",
}


def require_token(tokens: Tokens, heads: Heads, scope: Scope) -> None:
    """Raises Refused for who may not."""
    if not tokens.allows(heads.authorization, scope):
        sentence = "an API token is needed: Authorization: Bearer TOKEN"
        raise Refused(401, "UNAUTHENTICATED", sentence)


class NotSo(Refused):
    """Another method is needed."""

    def __init__(self, allowed: str) -> None:
        super().__init__(405, "METHOD_NOT_ALLOWED", f"this path takes {allowed}")
        self.allowed = allowed


class Answered:
    """A response that is whole."""

    __slots__ = ("allowed", "body", "content_type", "headers", "retry_after", "status")

    def __init__(
        self, status: int, body: bytes, content_type: str = "application/json", retry_after: int = 0
    ) -> None:
        self.status, self.body, self.content_type = status, body, content_type
        self.retry_after, self.allowed = retry_after, ""
        self.headers: list[tuple[bytes, bytes]] = []
        """Further ones."""


def refusal(error: NotAccepted | Refused) -> Answered:
    """An error as it is sent."""
    retry = error.retry_after if isinstance(error, Refused) else LATER * (error.status == 503)
    found = Answered(error.status, wire.error(error.kind, str(error)), retry_after=retry)
    found.allowed = error.allowed if isinstance(error, NotSo) else ""
    return found


def in_our_words(reply: Reply) -> Reply:
    """What the scoring server says of an error repeats the request and the schema; we do not."""
    status = reply.status if reply.status in _MODEL_SAYS else 400 if reply.status < 500 else 502
    kinds = {400: "BAD_REQUEST", 404: "NOT_FOUND", 413: "REQUEST_TOO_LARGE"}
    kind = kinds.get(status, "BAD_REQUEST" if status < 500 else "MODEL_FAILED")
    sentence = _MODEL_SAYS.get(status, "the model failed at this request")
    return Reply(status, wire.JSON, wire.error(kind, sentence), reply.version, reply.batch)


def overloaded() -> Refused:
    """As many wait as may."""
    return Refused(503, "OVERLOADED", "too many requests wait already", 1)


def whole(error: Refused, request_id: bytes) -> bytes:
    """A refusal as HTTP/1.1 has it, for who writes it without a request's machinery."""
    body = wire.error(error.kind, str(error))
    back = b"x-request-id: %s\r\n" % request_id[:ID_LIMIT] if request_id else b""
    return (
        b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        b"retry-after: %d\r\n%s\r\n%s"
    ) % (
        error.status, HTTPStatus(error.status).phrase.encode(), len(body), error.retry_after,
        back, body,
    )  # fmt: skip


async def respond(send: Send, answered: Answered, request_id: str, *, head: bool = False) -> None:
    """Send it."""
    headers = [
        (b"content-type", answered.content_type.encode()),
        (b"content-length", str(len(answered.body)).encode()),
        *answered.headers,
    ]
    if answered.retry_after:
        headers.append((b"retry-after", str(answered.retry_after).encode()))
    if answered.allowed:
        headers.append((b"allow", answered.allowed.encode()))
    if answered.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if request_id:
        headers.append((b"x-request-id", request_id.encode("latin-1")))
    if answered.content_type.startswith("text/html"):
        policy = b"default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:"
        headers.append((b"content-security-policy", policy))
    await send({"type": "http.response.start", "status": answered.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answered.body})
