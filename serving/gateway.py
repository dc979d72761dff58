"""The ASGI application: MLflow's scoring protocol outside, lines of waiting requests inside."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import orjson

from registry.errors import RegistryUnreachable, UnderstudyError
from registry.promote import Wish
from registry.sections import GateParams
from serving import oip, openapi, page, wire
from serving.audition import Sample
from serving.batch import Refused, Reply, Request
from serving.feedback import parse_feedback
from serving.follow import Follower
from serving.frames import Record
from serving.metrics import Metrics
from serving.protocol import HEAD_BYTES, gone
from serving.recorder import Recorder
from serving.sections import ServeParams
from serving.tokens import Scope, Tokens
from serving.wire import NotAccepted

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
BODY_SECONDS = 30.0
SAMPLE_EVERY = 0.05
"""Seconds between two requests that are kept for rehearsals."""
SAMPLE_BYTES = 100_000
ID_LIMIT = 128

_MODEL_SAYS = {
    400: "the model does not accept this request; /openapi.json says what it takes",
    404: "the model does not know what is asked for",
    413: "the request is too large for the model",
    415: "the model does not take this Content-Type",
    422: "the model does not accept this request; /openapi.json says what it takes",
    504: "the model did not answer in time",
}


class Heads:
    """What the gateway reads of a request's head."""

    __slots__ = (
        "authorization",
        "content_type",
        "encoding",
        "host",
        "key",
        "length",
        "origin",
        "request_id",
        "size",
    )

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.content_type = self.authorization = self.request_id = self.key = ""
        self.host = self.origin = self.encoding = ""
        self.length, self.size = -1, 0
        for name, value in headers:
            self.size += len(name) + len(value)
            if name == b"content-type":
                self.content_type = value.decode("latin-1")
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() else -1
            elif name == b"x-request-id":
                self.request_id = value.decode("latin-1")[:ID_LIMIT]
            elif name == b"x-understudy-key":
                self.key = value.decode("latin-1")[:ID_LIMIT]
            elif name == b"authorization":
                self.authorization = value.decode("latin-1")
            elif name == b"content-encoding":
                self.encoding = value.decode("latin-1")
            elif name == b"host":
                self.host = value.decode("latin-1")
            elif name == b"origin":
                self.origin = value.decode("latin-1")


class Gateway:
    """Answers HTTP; knows models by name, the first of them by `/invocations`."""

    def __init__(
        self,
        followers: Mapping[str, Follower],
        params: ServeParams,
        gates: GateParams,
        tokens: Tokens,
        metrics: Metrics,
        recorder: Recorder | None = None,
    ) -> None:
        self.followers, self.metrics, self._recorder = followers, metrics, recorder
        self._params, self._gates, self._tokens = params, gates, tokens
        self._default = next(iter(followers.values()))
        self._sampled = 0.0
        self._ids = os.urandom(6).hex()
        self._count = 0
        self.started = time.time()
        self._plain: dict[tuple[str, str], Callable[[], Awaitable[Answered] | Answered]] = {
            ("GET", "/ping"): self._ping,
            ("GET", "/health"): self._ping,
            ("GET", "/version"): self._version,
            ("GET", "/ready"): self._ready,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/status"): self._status,
            ("GET", "/"): self._page,
            ("GET", "/openapi.json"): self._openapi,
            ("GET", "/v2"): lambda: Answered(200, oip.server(version("understudy"))),
            ("GET", "/v2/health/live"): lambda: Answered(200, oip.live()),
            ("GET", "/v2/health/ready"): self._v2_ready,
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if method == "POST":
            if path == "/invocations":
                await self._invoke(self._default, scope, receive, send)
                return
            if path.startswith("/models/") and path.endswith("/invocations"):
                follower = self.followers.get(path[8:-12])
                if follower is not None:
                    await self._invoke(follower, scope, receive, send)
                    return
        await self._other(scope, receive, send)

    # Predicting

    async def _invoke(
        self, follower: Follower, scope: Mapping[str, Any], receive: Receive, send: Send
    ) -> None:
        start = time.monotonic()
        heads = Heads(scope["headers"])
        model = follower.model
        try:
            _require_small(heads)
            self._require(heads, "predict")
            request, reply = await self._reply(follower, heads, receive, start)
        except (NotAccepted, Refused) as error:
            self.metrics.refuse(model, error.kind)
            await _send(send, refusal(error), heads.request_id)
            return
        except asyncio.CancelledError:
            # The caller hung up, or the gateway ends; nobody reads what is sent.
            self.metrics.refuse(model, "CANCELLED")
            gone_by = Refused(503, "CANCELLED", "the gateway ends", 1)
            await _send(send, refusal(gone_by), heads.request_id)
            return
        seconds = time.monotonic() - start
        self.metrics.answered(model, reply.version, reply.status, seconds)
        prediction = self._record(follower, heads, request, reply, seconds)
        headers = [
            (b"content-type", reply.content_type.encode("latin-1")),
            (b"content-length", str(len(reply.body)).encode()),
            (b"x-understudy-model", model.encode()),
            (b"x-understudy-version", str(reply.version).encode()),
            (b"x-understudy-prediction-id", prediction.encode()),
        ]
        if heads.request_id:
            headers.append((b"x-request-id", heads.request_id.encode("latin-1")))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(
        self, follower: Follower, heads: Heads, receive: Receive, start: float
    ) -> tuple[Request, Reply]:
        """The answer to a request. Raises NotAccepted, Refused."""
        self._require_room(follower, max(heads.length, 0))
        if heads.encoding and heads.encoding.lower() != "identity":
            raise NotAccepted("UNSUPPORTED_MEDIA_TYPE", "compressed bodies are not taken", 415)
        kind = wire.media_type(heads.content_type or "application/json")
        body = await self._body(heads, receive)
        rows = wire.read(body) if kind == wire.JSON else None
        if rows is not None and rows.count > self._params.body_rows:
            sentence = (
                f"{rows.count} rows are more than the {self._params.body_rows} of one request"
            )
            raise NotAccepted("REQUEST_TOO_LARGE", sentence, 413)
        self._require_room(follower, len(body))
        return await self._asked(
            follower, body, heads.content_type or wire.JSON, rows, start, receive
        )

    async def _asked(
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
            reply = _in_our_words(reply)
        elif start - self._sampled > SAMPLE_EVERY and len(body) < SAMPLE_BYTES:
            self._sampled = start
            follower.samples.append(Sample(body, request.content_type, reply.body))
        return request, reply

    def _record(
        self, follower: Follower, heads: Heads, request: Request, reply: Reply, seconds: float
    ) -> str:
        """Hand an answer to the prediction log; returns its id."""
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
        return prediction

    def _require_room(self, follower: Follower, size: int) -> None:
        """Raises Refused where nothing more may wait, or nothing answers."""
        if follower.live is None:
            problem = follower.facts.problem and "; the gateway's status says why"
            raise Refused(503, "NOT_READY", f"no version answers yet{problem}", 2)
        if follower.line.full(size):
            follower.line.expire(time.monotonic())
            if follower.line.full(size):
                raise Refused(503, "OVERLOADED", "too many requests wait already", 1)

    async def _body(self, heads: Heads, receive: Receive) -> bytes:
        """The whole body. Raises NotAccepted for one too large, too slow or broken off."""
        limit = self._params.body_bytes
        if heads.length > limit:
            raise _too_large(limit)
        message = await receive()
        if not message.get("more_body") and message["type"] == "http.request":
            body: bytes = message["body"]
            if len(body) > limit:
                raise _too_large(limit)
            return body
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await _rest(message, receive, limit)
        except TimeoutError:
            raise NotAccepted("REQUEST_TIMEOUT", "the body did not come in time", 408) from None

    def _require(self, heads: Heads, scope: Scope) -> None:
        """Raises Refused for who may not."""
        if scope == "predict" and not self._tokens.predicting_needs_one:
            return
        if not self._tokens.allows(heads.authorization, scope):
            sentence = "an API token is needed: Authorization: Bearer TOKEN"
            raise Refused(401, "UNAUTHENTICATED", sentence)

    # Everything else

    async def _other(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        heads = Heads(scope["headers"])
        path, method = scope["path"], scope["method"]
        try:
            _require_small(heads)
            answered = await self._answer(method, path, heads, receive)
        except (NotAccepted, Refused) as error:
            answered = refusal(error)
        except UnderstudyError as error:
            status = 503 if isinstance(error, RegistryUnreachable) else 409
            answered = Answered(status, wire.error(type(error).__name__, str(error)))
        await _send(send, answered, heads.request_id, head=method == "HEAD")

    async def _answer(self, method: str, path: str, heads: Heads, receive: Receive) -> Answered:
        found = self._plain.get(("GET" if method == "HEAD" else method, path))
        if found is not None:
            answered = found()
            return answered if isinstance(answered, Answered) else await answered
        if path == "/feedback" and method == "POST":
            return await self._feedback(heads, receive)
        if path.startswith("/v2/"):
            return await self._v2(method, path, heads, receive)
        if path.startswith("/admin/"):
            return await self._admin(method, path, heads, receive)
        allowed = sorted(m for m, p in (*self._plain, *_POSTS) if p == path)
        if self._asks(path):
            allowed = ["POST"]
        if allowed:
            raise NotSo(", ".join(allowed))
        raise Refused(404, "NOT_FOUND", "there is nothing at this path; / shows what there is")

    def _asks(self, path: str) -> bool:
        """Whether a path is one of a model's predictions."""
        named = path.startswith("/models/") and path.endswith("/invocations")
        return path == "/invocations" or (named and path[8:-12] in self.followers)

    def _ping(self) -> Answered:
        return Answered(200, b"\n")

    def _version(self) -> Answered:
        return Answered(200, version("mlflow").encode())

    def _ready(self) -> Answered:
        waiting = [f.model for f in self.followers.values() if not f.ready]
        said = {"ready": not waiting, "not_ready": waiting}
        return Answered(503 if waiting else 200, orjson.dumps(said))

    def _metrics(self) -> Answered:
        self.gauge()
        return Answered(200, self.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")

    def gauge(self) -> None:
        """Take what is not counted as it happens."""
        for follower in self.followers.values():
            name, found = follower.model, follower.status()
            self.metrics.waiting.labels(name).set(found["waiting"])
            self.metrics.live.labels(name).set(found["version"] or 0)
            self.metrics.standing_by.labels(name).set(found["understudy"] or 0)
            self.metrics.rollback_ready.labels(name).set(found["rollback_ready"])
            self.metrics.ready.labels(name).set(found["ready"])
            for kind, count in {**found["counts"], "restarts": found["restarts"]}.items():
                self.metrics.events.labels(name, kind).set(count)
        if self._recorder is not None:
            for kind, count in self._recorder.counts().items():
                self.metrics.records.labels(kind).set(count)

    def status(self) -> dict[str, Any]:
        """Everything that can be said in JSON."""
        kept = self._recorder
        return {
            "records": {**kept.counts(), "problem": kept.problem} if kept else None,
            "default": self._default.model,
            "seconds_up": round(time.time() - self.started, 1),
            "models": {name: f.status() for name, f in self.followers.items()},
        }

    def _status(self) -> Answered:
        return Answered(200, orjson.dumps(self.status()))

    def _page(self) -> Answered:
        minutes = {name: self.metrics.last_minutes(name) for name in self.followers}
        return Answered(
            200, page.render(self.status(), minutes).encode(), "text/html; charset=utf-8"
        )

    def _openapi(self) -> Answered:
        served = openapi.Served(
            self._default.model,
            version("understudy"),
            self._params.body_rows,
            self._tokens.predicting_needs_one,
            self._recorder is not None,
        )
        known = {name: f.signature for name, f in self.followers.items()}
        return Answered(200, orjson.dumps(openapi.document(served, known)))

    async def _feedback(self, heads: Heads, receive: Receive) -> Answered:
        self._require(heads, "predict")
        if self._recorder is None:
            raise Refused(404, "NOT_FOUND", "no predictions are kept (serve.records is off)")
        items = parse_feedback(await self._body(heads, receive))
        answers = await self._recorder.feedback(items)
        return Answered(200, orjson.dumps({"labels": answers}))

    # The Open Inference Protocol

    def _v2_ready(self) -> Answered:
        ready = all(f.ready for f in self.followers.values())
        return Answered(200 if ready else 503, oip.ready(is_ready=ready))

    async def _v2(self, method: str, path: str, heads: Heads, receive: Receive) -> Answered:
        try:
            return await self._v2_answer(method, path, heads, receive)
        except (NotAccepted, Refused) as error:
            found = refusal(error)
            found.body = oip.error_body(str(error))
            return found

    async def _v2_answer(self, method: str, path: str, heads: Heads, receive: Receive) -> Answered:
        route = oip.route(path)
        follower = self.followers.get(route.model) if route else None
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
        start = time.monotonic()
        self._require(heads, "predict")
        self._require_room(follower, max(heads.length, 0))
        asked = oip.infer(await self._body(heads, receive), known.inputs)
        if asked.rows > self._params.body_rows:
            raise NotAccepted("REQUEST_TOO_LARGE", "there are too many rows in one request", 413)
        rows = wire.read(asked.body)
        request, reply = await self._asked(follower, asked.body, wire.JSON, rows, start, receive)
        seconds = time.monotonic() - start
        self.metrics.answered(name, reply.version, reply.status, seconds)
        if reply.status != 200:
            raise Refused(reply.status, "BAD_REQUEST", orjson.loads(reply.body)["message"])
        self._record(follower, heads, request, reply, seconds)
        try:
            said = oip.answer(reply.body, asked, name, reply.version, known.outputs)
        except ValueError:
            raise Refused(502, "BAD_ANSWER", "the model's answer cannot be used") from None
        return Answered(200, said)

    async def _admin(self, method: str, path: str, heads: Heads, receive: Receive) -> Answered:
        self._require_near(heads)
        self._require(heads, "admin")
        if ("POST", path) not in _POSTS:
            raise Refused(404, "NOT_FOUND", "there is nothing at this path")
        if method != "POST":
            raise NotSo("POST")
        body = await self._body(heads, receive)
        try:
            asked = orjson.loads(body or b"{}")
            if type(asked) is not dict:
                raise ValueError
        except ValueError:
            raise NotAccepted("BAD_REQUEST", "the body must be a JSON object") from None
        name = asked.get("model", self._default.model)
        follower = self.followers.get(name) if isinstance(name, str) else None
        if follower is None:
            raise Refused(404, "NOT_FOUND", f"the models here are {', '.join(self.followers)}")
        if path == "/admin/refresh":
            await follower.look_now()
            return Answered(200, orjson.dumps(follower.status()))
        return await self._rollback(follower, asked)

    async def _rollback(self, follower: Follower, asked: Mapping[str, Any]) -> Answered:
        to, actor, reason = asked.get("to"), asked.get("actor", ""), asked.get("reason", "")
        if (
            not (to is None or type(to) is int)
            or not isinstance(actor, str)
            or not isinstance(reason, str)
        ):
            raise NotAccepted("BAD_REQUEST", "`to` is a number, `actor` and `reason` are texts")
        start = time.monotonic()
        done = await follower.rollback(to, Wish(actor, reason), self._gates)
        plan = done.plan
        said = {
            "model": plan.model,
            "action": plan.kind,
            "version": plan.version,
            "from": plan.source,
            "to": plan.target,
            "moves": [
                {"version": m.version, "source": m.source, "target": m.target} for m in plan.moves
            ],
            "sentence": plan.sentence,
            "ledger_entry": done.number,
            "answers": follower.live.version if follower.live else None,
            "milliseconds": round((time.monotonic() - start) * 1000, 1),
        }
        return Answered(200, orjson.dumps(said))

    def _require_near(self, heads: Heads) -> None:
        """The admin interface is not to be reached through a stranger's page or name."""
        own = {"localhost", "127.0.0.1", "::1", self._params.host, *self._params.hosts}
        if urlsplit(f"//{heads.host}").hostname not in own:
            raise Refused(
                403, "HOST_REFUSED", "this Host is not one of the gateway's (serve.hosts)"
            )
        if heads.origin and urlsplit(heads.origin).netloc != heads.host:
            raise Refused(403, "ORIGIN_REFUSED", "pages of other origins may not decide")


_POSTS = {("POST", "/admin/refresh"), ("POST", "/admin/rollback"), ("POST", "/feedback")}


class NotSo(Refused):
    """Another method is needed."""

    def __init__(self, allowed: str) -> None:
        super().__init__(405, "METHOD_NOT_ALLOWED", f"this path takes {allowed}")
        self.allowed = allowed


class Answered:
    """A response that is whole."""

    __slots__ = ("allowed", "body", "content_type", "retry_after", "status")

    def __init__(
        self, status: int, body: bytes, content_type: str = "application/json", retry_after: int = 0
    ) -> None:
        self.status, self.body, self.content_type = status, body, content_type
        self.retry_after, self.allowed = retry_after, ""


def refusal(error: NotAccepted | Refused) -> Answered:
    """An error as it is sent."""
    retry = error.retry_after if isinstance(error, Refused) else 0
    found = Answered(error.status, wire.error(error.kind, str(error)), retry_after=retry)
    found.allowed = error.allowed if isinstance(error, NotSo) else ""
    return found


def _in_our_words(reply: Reply) -> Reply:
    """What the scoring server says of an error repeats the request and the schema; we do not."""
    status = reply.status if reply.status in _MODEL_SAYS else 400 if reply.status < 500 else 502
    kinds = {400: "BAD_REQUEST", 404: "NOT_FOUND", 413: "REQUEST_TOO_LARGE"}
    kind = kinds.get(status, "BAD_REQUEST" if status < 500 else "MODEL_FAILED")
    sentence = _MODEL_SAYS.get(status, "the model failed at this request")
    return Reply(status, wire.JSON, wire.error(kind, sentence), reply.version, reply.batch)


def _require_small(heads: Heads) -> None:
    if heads.size > HEAD_BYTES:
        sentence = f"the headers are larger than {HEAD_BYTES} bytes"
        raise NotAccepted("HEADERS_TOO_LARGE", sentence, 431)


def _too_large(limit: int) -> NotAccepted:
    return NotAccepted("REQUEST_TOO_LARGE", f"the body is larger than {limit} bytes", 413)


async def _rest(message: Mapping[str, Any], receive: Receive, limit: int) -> bytes:
    parts, size = [], 0
    while True:
        if message["type"] != "http.request":
            raise NotAccepted("CANCELLED", "the caller hung up", 400)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


async def _send(send: Send, answered: Answered, request_id: str, *, head: bool = False) -> None:
    headers = [
        (b"content-type", answered.content_type.encode()),
        (b"content-length", str(len(answered.body)).encode()),
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
