"""Predictions: from a request to the line of its model, from the model's answer to the caller."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

from serving import wire
from serving.answers import Send, in_our_words, overloaded, refusal, require_token, respond
from serving.audition import Sample
from serving.batch import Refused, Reply, Request
from serving.follow import Follower
from serving.frames import Record
from serving.heads import Bodies, Heads, Receive, require_small
from serving.metrics import Metrics
from serving.protocol import gone, respond_at_once
from serving.recorder import Recorder
from serving.sections import ServeParams
from serving.tokens import Tokens
from serving.wire import NotAccepted

SAMPLE_EVERY = 0.05
"""Seconds between two requests that are kept for rehearsals."""
SAMPLE_BYTES = 100_000


class Predictor:
    """Answers callers of the scoring protocol, and keeps what it answered."""

    def __init__(
        self,
        params: ServeParams,
        tokens: Tokens,
        bodies: Bodies,
        metrics: Metrics,
        recorder: Recorder | None,
    ) -> None:
        self._params, self._tokens, self._bodies = params, tokens, bodies
        self._metrics, self._recorder = metrics, recorder
        self._sampled = 0.0
        self._ids = os.urandom(6).hex()
        self._count = 0

    async def invoke(
        self, follower: Follower, scope: Mapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Answer one request to /invocations of a model."""
        start = time.monotonic()
        heads = Heads(scope["headers"])
        model = follower.model
        if scope.get("state", {}).get("promised"):
            follower.line.promised -= 1
        try:
            require_small(heads)
            self.require(heads)
            request, reply = await self._reply(follower, heads, receive, start)
        except (NotAccepted, Refused) as error:
            self._metrics.refuse(model, error.kind)
            await respond(send, refusal(error), heads.request_id)
            return
        except asyncio.CancelledError:
            # The caller hung up, or the gateway ends; nobody reads what is sent.
            self._metrics.refuse(model, "CANCELLED")
            gone_by = Refused(503, "CANCELLED", "the gateway ends", 1)
            await respond(send, refusal(gone_by), heads.request_id)
            return
        seconds = time.monotonic() - start
        self._metrics.answered(model, reply.version, reply.status, seconds)
        headers = [
            (b"content-type", reply.content_type.encode("latin-1")),
            (b"content-length", str(len(reply.body)).encode()),
            *self.record(follower, heads, request, reply, seconds),
        ]
        if heads.request_id:
            headers.append((b"x-request-id", heads.request_id.encode("latin-1")))
        if reply.status == 200 and respond_at_once(receive, b"200 OK", headers, reply.body):
            return
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(
        self, follower: Follower, heads: Heads, receive: Receive, start: float
    ) -> tuple[Request, Reply]:
        """The answer to a request. Raises NotAccepted, Refused."""
        self._bodies.require_taken(heads)
        self.require_room(follower, max(heads.length, 0))
        kind = wire.media_type(heads.content_type or "application/json")
        body = await self._bodies.read(heads, receive)
        rows = wire.read(body) if kind == wire.JSON else None
        if rows is not None and rows.count > self._params.body_rows:
            sentence = (
                f"{rows.count} rows are more than the {self._params.body_rows} of one request"
            )
            raise NotAccepted("REQUEST_TOO_LARGE", sentence, 413)
        self.require_room(follower, len(body))
        return await self.asked(
            follower, body, heads.content_type or wire.JSON, rows, start, receive
        )

    async def asked(
        self,
        follower: Follower,
        body: bytes,
        content_type: str,
        rows: wire.Rows | None,
        start: float,
        receive: Receive,
    ) -> tuple[Request, Reply]:
        """The answer of the model, once its turn came. Raises Refused."""
        request = Request(
            body,
            content_type,
            rows,
            start + self._params.timeout,
            asyncio.get_running_loop().create_future(),
            gone(receive),
        )
        follower.line.put(request)
        reply = await request.reply
        if reply.status != 200:
            reply = in_our_words(reply)
        elif start - self._sampled > SAMPLE_EVERY and len(body) < SAMPLE_BYTES:
            self._sampled = start
            follower.samples.append(Sample(body, request.content_type, reply.body))
        return request, reply

    def record(
        self, follower: Follower, heads: Heads, request: Request, reply: Reply, seconds: float
    ) -> list[tuple[bytes, bytes]]:
        """Hand an answer to the prediction log; returns the headers that tell of it."""
        self._count += 1
        prediction = f"{self._ids}{self._count:08x}"
        if self._recorder is not None and reply.status == 200:
            record = Record(
                prediction,
                time.time() - seconds,
                follower.model,
                reply.version,
                "",
                heads.key,
                request.body,
                request.content_type,
                request.rows.count if request.rows else 0,
                reply.body,
                seconds * 1000,
                reply.status,
            )
            self._recorder.put(record)
        return [
            (b"x-understudy-model", follower.model.encode()),
            (b"x-understudy-version", str(reply.version).encode()),
            (b"x-understudy-prediction-id", prediction.encode()),
        ]

    def require_room(self, follower: Follower, size: int) -> None:
        """Raises Refused where nothing more may wait, or nothing answers."""
        if follower.live is None:
            problem = follower.facts.problem and "; the gateway's status says why"
            raise Refused(503, "NOT_READY", f"no version answers yet{problem}", 2)
        if not follower.line.has_room(size, time.monotonic()):
            raise overloaded()

    def require(self, heads: Heads) -> None:
        """Raises Refused for who may not ask for predictions."""
        if self._tokens.predicting_needs_one:
            require_token(self._tokens, heads, "predict")
