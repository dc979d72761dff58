"""The routes of the Open Inference Protocol, which share the line with the scoring protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import orjson

from serving import oip, wire
from serving.answers import Answered, NotSo, refusal
from serving.batch import Refused
from serving.follow import Follower
from serving.heads import Bodies, Heads, Receive
from serving.metrics import Metrics
from serving.predict import Predictor
from serving.sections import ServeParams
from serving.wire import NotAccepted


class Inference:
    """Answers below /v2/ for all models."""

    def __init__(
        self,
        followers: Mapping[str, Follower],
        params: ServeParams,
        predictor: Predictor,
        bodies: Bodies,
        metrics: Metrics,
    ) -> None:
        self._followers, self._params, self._bodies = followers, params, bodies
        self._predictor, self._metrics = predictor, metrics

    def ready(self) -> Answered:
        """GET /v2/health/ready."""
        ready = all(f.ready for f in self._followers.values())
        return Answered(200 if ready else 503, oip.ready(is_ready=ready))

    async def answer(self, method: str, path: str, heads: Heads, receive: Receive) -> Answered:
        """A request to a path below /v2/; errors have the protocol's form."""
        try:
            return await self._answer(method, path, heads, receive)
        except (NotAccepted, Refused) as error:
            found = refusal(error)
            found.body = oip.error_body(str(error))
            return found

    async def _answer(self, method: str, path: str, heads: Heads, receive: Receive) -> Answered:
        route = oip.route(path)
        follower = self._followers.get(route.model) if route else None
        if route is None or follower is None:
            raise Refused(404, "NOT_FOUND", "there is nothing at this path")
        wanted = "POST" if route.verb == "infer" else "GET"
        if method not in (wanted, "HEAD" if wanted == "GET" else wanted):
            raise NotSo(wanted)
        live, name = follower.live.version if follower.live else None, follower.model
        oip.require_version(route.version, live, name)
        if route.verb == "ready":
            status = 200 if follower.ready else 503
            return Answered(status, oip.model_ready(name, is_ready=follower.ready))
        known = follower.signature
        if not route.verb:
            versions = [live] if live is not None else []
            return Answered(200, oip.metadata(name, versions, known.inputs, known.outputs))
        try:
            return await self._infer(follower, route.version, heads, receive)
        except (NotAccepted, Refused) as error:
            self._metrics.refuse(name, error.kind)
            raise
        except asyncio.CancelledError:
            # The caller hung up, or the gateway ends; nobody reads what is sent.
            self._metrics.refuse(name, "CANCELLED")
            raise Refused(503, "CANCELLED", "the gateway ends", 1) from None

    async def _infer(
        self, follower: Follower, version: str, heads: Heads, receive: Receive
    ) -> Answered:
        start, known, name = time.monotonic(), follower.signature, follower.model
        self._predictor.require(heads)
        self._bodies.require_taken(heads)
        self._predictor.require_room(follower, max(heads.length, 0))
        body = await self._bodies.read(heads, receive)
        asked = oip.infer(body, known.inputs)
        if asked.rows > self._params.body_rows:
            raise NotAccepted("REQUEST_TOO_LARGE", "there are too many rows in one request", 413)
        self._predictor.require_room(follower, len(asked.body))
        rows = wire.read(asked.body)
        heard = await self._predictor.asked(
            follower, heads, asked.body, wire.JSON, rows, start, receive
        )
        reply = heard.answer
        oip.require_version(version, reply.version, name)  # it may have changed meanwhile
        seconds = time.monotonic() - start
        self._metrics.answered(name, reply.version, reply.status, seconds)
        headers = self._predictor.record(follower, heard, reply, seconds)
        if reply.status != 200:
            found = Answered(reply.status, oip.error_body(orjson.loads(reply.body)["message"]))
            found.headers = headers
            return found
        try:
            said = oip.answer(reply.body, asked, name, reply.version, known.outputs)
        except ValueError:
            raise Refused(502, "BAD_ANSWER", "the model's answer cannot be used") from None
        found = Answered(200, said)
        found.headers = headers
        return found
