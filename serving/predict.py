"""Predictions: from a request to the line of its model, from the model's answer to the caller."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving import unpack, wire
from serving.answers import Send, in_our_words, overloaded, refusal, require_token, respond
from serving.audition import Sample
from serving.batch import Refused, Reply, Request
from serving.follow import Follower
from serving.frames import Record
from serving.heads import Bodies, Heads, Receive, require_small
from serving.metrics import Metrics
from serving.protocol import gone, respond_at_once
from serving.record_tables import SHADOW
from serving.recorder import Recorder
from serving.sections import ServeParams
from serving.split import BROKE, Draw, Split, fault_of
from serving.tokens import Tokens
from serving.wire import NotAccepted

SAMPLE_EVERY = 0.05
"""Seconds between two requests that are kept for rehearsals."""
SAMPLE_BYTES = 100_000


@dataclass(eq=False, slots=True)
class Heard:
    """A request, and what became of it."""

    request: Request
    key: str
    split: Split | None
    draw: Draw | None
    """None where no experiment goes on, or it is no part of it."""
    reply: Reply | None = None

    @property
    def answer(self) -> Reply:
        """The reply, once it is there."""
        if self.reply is None:
            raise RuntimeError("nobody answered")
        return self.reply


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
            heard = await self._reply(follower, heads, receive, start)
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
        reply = heard.answer
        seconds = time.monotonic() - start
        self._metrics.answered(model, reply.version, reply.status, seconds)
        headers = [
            (b"content-type", reply.content_type.encode("latin-1")),
            (b"content-length", str(len(reply.body)).encode()),
            *self.record(follower, heard, reply, seconds),
        ]
        if heads.request_id:
            headers.append((b"x-request-id", heads.request_id.encode("latin-1")))
        if reply.status == 200 and respond_at_once(receive, b"200 OK", headers, reply.body):
            return
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(
        self, follower: Follower, heads: Heads, receive: Receive, start: float
    ) -> Heard:
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
            follower, heads, body, heads.content_type or wire.JSON, rows, start, receive
        )

    async def asked(
        self,
        follower: Follower,
        heads: Heads,
        body: bytes,
        content_type: str,
        rows: wire.Rows | None,
        start: float,
        receive: Receive,
    ) -> Heard:
        """The answer of the version whose turn it is, once it came. Raises Refused."""
        column = self._params.key_column
        key = heads.key
        if column and not key:
            key = wire.key(rows, column) if rows else unpack.key(body, content_type, column)
        split = follower.split
        draw = split.draw(key, start, calm=follower.line.calm) if split is not None else None
        alone = draw is not None and draw.alone
        left, timeout = gone(receive), self._params.timeout
        loop = asyncio.get_running_loop()

        def request(seconds: float) -> Request:
            return Request(
                body, content_type, rows, start + seconds, loop.create_future(), left, alone
            )

        heard = Heard(request(timeout), key, split, draw)
        if split is None or draw is None:
            heard.reply = await self._live(follower, heard.request, start)
            return heard
        try:
            if draw.challenger:
                # Half of the time, so that the champion can still be asked.
                heard.reply = await split.ask(draw, request(timeout / 2))
            if heard.reply is None:
                reply = heard.reply = await self._live(follower, heard.request, start)
                fault = fault_of(reply)
                if not draw.challenger:
                    draw.fault = fault
                elif reply.status != 200 and reply.status < 500:
                    draw.fault = ""  # what no version accepts is the caller's
                draw.shared = bool(fault)
        except Refused as error:
            draw.fault, draw.shared = draw.fault or BROKE, True
            self._record_fault(follower, heard, error.status, start)
            raise
        finally:
            split.over(draw)
        return heard

    async def _live(self, follower: Follower, request: Request, start: float) -> Reply:
        """The live version's answer. Raises Refused."""
        follower.line.put(request)
        reply = await request.reply
        if reply.status != 200:
            return in_our_words(reply)
        if start - self._sampled > SAMPLE_EVERY and len(request.body) < SAMPLE_BYTES:
            self._sampled = start
            follower.samples.append(Sample(request.body, request.content_type, reply.body))
        return reply

    def record(
        self, follower: Follower, heard: Heard, reply: Reply, seconds: float
    ) -> list[tuple[bytes, bytes]]:
        """Hand an answer to the prediction log; returns the headers that tell of it."""
        prediction = self._prediction()
        headers = [
            (b"x-understudy-model", follower.model.encode()),
            (b"x-understudy-version", str(reply.version).encode()),
            (b"x-understudy-prediction-id", prediction.encode()),
        ]
        split, draw = heard.split, heard.draw
        if split is not None and draw is not None:
            if draw.copied:
                self._copy(follower, heard, prediction)
            else:
                headers.append((b"x-understudy-arm", split.arm(draw).encode()))
        if reply.status == 200 or (draw is not None and draw.counts):
            self._keep(follower, heard, prediction, reply, seconds)
        return headers

    def _prediction(self) -> str:
        self._count += 1
        return f"{self._ids}{self._count:08x}"

    def _keep(
        self, follower: Follower, heard: Heard, prediction: str, reply: Reply, seconds: float
    ) -> None:
        """A row of the log; of a request that got no answer there is only what became of it."""
        if self._recorder is None:
            return
        request, good = heard.request, reply.status == 200
        record = Record(
            prediction,
            time.time() - seconds,
            follower.model,
            reply.version,
            "",
            heard.key,
            request.body if good else b"",
            request.content_type,
            request.rows.count if request.rows else 0,
            reply.body if good else b"",
            seconds * 1000,
            reply.status,
        )
        if heard.split is not None and heard.draw is not None:
            record.arm = heard.split.arm(heard.draw)
            record.experiment = heard.split.traffic.experiment
            record.weight = heard.draw.weight if heard.draw.counts else None
            record.fault = heard.draw.fault
        self._recorder.put(record)

    def _record_fault(self, follower: Follower, heard: Heard, status: int, start: float) -> None:
        """A request of an experiment that nobody answered."""
        live = follower.live.version if follower.live else 0
        reply = Reply(status, wire.JSON, b"", live, 1)
        prediction = self._prediction()
        if heard.draw is not None and heard.draw.copied:
            self._copy(follower, heard, prediction)
        self._keep(follower, heard, prediction, reply, time.monotonic() - start)

    def _copy(self, follower: Follower, heard: Heard, prediction: str) -> None:
        """Let the version that is not heard see a request, once the caller has the answer."""
        split, draw, request = heard.split, heard.draw, heard.request
        if split is None or draw is None:
            return
        several = "-0" if request.count > 1 else ""
        begin = time.time()

        def keep(other: Reply | None, fault: str) -> None:
            if self._recorder is None:
                return
            good = other is not None and other.status == 200
            record = Record(
                f"s{prediction}" if good else f"s{prediction}{several}",
                begin,
                follower.model,
                split.crew.version,
                SHADOW,
                heard.key,
                b"",
                wire.JSON,
                request.rows.count if request.rows else 0,
                other.body if other is not None and good else b"",
                (time.time() - begin) * 1000,
                other.status if other is not None else 502,
                split.traffic.experiment,
                fault=fault,
            )
            self._recorder.put(record)

        loop = asyncio.get_running_loop()
        loop.call_soon(split.copy, draw, request, heard.reply, keep)

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
