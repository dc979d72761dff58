"""The ASGI application: which path is whose, and what the gateway says of itself."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import orjson

from registry.errors import RegistryUnreachable, UnderstudyError
from serving import admin, oip, openapi, page, wire
from serving.admin import Admin
from serving.answers import LATER, Answered, NotSo, Send, overloaded, refusal, respond, whole
from serving.batch import Refused
from serving.feedback import parse_feedback
from serving.follow import Follower
from serving.heads import Bodies, Heads, Receive, require_small
from serving.inference import Inference
from serving.metrics import Metrics
from serving.predict import Predictor
from serving.recorder import Recorder
from serving.sections import ServeParams
from serving.tokens import Tokens
from serving.wire import NotAccepted

_POSTS = [("POST", path) for path in (*admin.PATHS, "/feedback")]


class Gateway:
    """Answers HTTP; knows models by name, the first of them by `/invocations`."""

    def __init__(
        self,
        followers: Mapping[str, Follower],
        params: ServeParams,
        tokens: Tokens,
        metrics: Metrics,
        recorder: Recorder | None = None,
    ) -> None:
        self.followers, self.metrics, self._recorder = followers, metrics, recorder
        self._params, self._tokens = params, tokens
        self._default = next(iter(followers.values()))
        together = params.waiting_bytes
        self._bodies = Bodies(min(params.body_bytes, together), together)
        self._predictor = Predictor(params, tokens, self._bodies, metrics, recorder)
        self._inference = Inference(followers, params, self._predictor, self._bodies, metrics)
        self._admin = Admin(followers, params, tokens, self._bodies)
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
            ("GET", "/v2/health/ready"): self._inference.ready,
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if method == "POST":
            if path == "/invocations":
                await self._predictor.invoke(self._default, scope, receive, send)
                return
            if path.startswith("/models/") and path.endswith("/invocations"):
                follower = self.followers.get(path[8:-12])
                if follower is not None:
                    await self._predictor.invoke(follower, scope, receive, send)
                    return
        await self._other(scope, receive, send)

    def at_once(
        self, method: bytes, path: bytes, headers: Sequence[tuple[bytes, bytes]]
    ) -> bytes | None:
        """The refusal of a prediction for which there is no room, whole.

        Empty where there is room, and that is kept until Predictor.invoke; None for all else.
        Under overload thousands of requests in a second are refused, and what that costs is taken
        from those that are answered: no task and no body, just this.
        """
        if method != b"POST" or path != b"/invocations" or self._default.live is None:
            return None
        said = self.no_room(next((v for k, v in headers if k == b"x-request-id"), b""))
        if said is None:
            self._default.line.promised += 1
            return b""
        return said

    @property
    def crowded(self) -> bool:
        """Whether as many requests wait as may, of whom some may have gone."""
        return self._default.live is not None and self._default.line.full(0)

    def no_room(self, request_id: bytes) -> bytes | None:
        """The refusal of a prediction for which there is no room, whole; None where there is."""
        if self._default.line.has_room(0, time.monotonic()):
            return None
        self.metrics.refuse(self._default.model, "OVERLOADED")
        return whole(overloaded(), request_id)

    # Everything else

    async def _other(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        heads = Heads(scope["headers"])
        path, method = scope["path"], scope["method"]
        try:
            require_small(heads)
            answered = await self._answer(method, path, heads, receive)
        except (NotAccepted, Refused) as error:
            answered = refusal(error)
        except UnderstudyError as error:
            status, after = (503, LATER) if isinstance(error, RegistryUnreachable) else (409, 0)
            said = wire.error(type(error).__name__, str(error))
            answered = Answered(status, said, retry_after=after)
        await respond(send, answered, heads.request_id, head=method == "HEAD")

    async def _answer(self, method: str, path: str, heads: Heads, receive: Receive) -> Answered:
        found = self._plain.get(("GET" if method == "HEAD" else method, path))
        if found is not None:
            answered = found()
            return answered if isinstance(answered, Answered) else await answered
        if path == "/feedback" and method == "POST":
            return await self._feedback(heads, receive)
        if path.startswith("/v2/"):
            return await self._inference.answer(method, path, heads, receive)
        if path.startswith("/admin/"):
            return await self._admin.answer(method, path, heads, receive)
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
            for kind, count in found["counts"].items():
                self.metrics.events[name, kind] = count
            self._gauge_experiment(follower)
        if self._recorder is not None:
            counts = self._recorder.counts()
            self.metrics.queued.set(counts.pop("queued"))
            self.metrics.records.update(counts)
            self.metrics.violations = self._recorder.contracts.violations()

    def _gauge_experiment(self, follower: Follower) -> None:
        split, name = follower.split, follower.model
        self.metrics.challenger.labels(name).set(split.traffic.challenger if split else 0)
        self.metrics.weight.labels(name).set(split.traffic.weight if split else 0)

    def status(self) -> dict[str, Any]:
        """Everything that can be said in JSON."""
        kept = self._recorder
        return {
            "records": {**kept.counts(), "problem": kept.problem} if kept else None,
            "default": self._default.model,
            "seconds_up": round(time.time() - self.started, 1),
            "models": {
                name: {**f.status(), "contract": kept.contracts.of(name) if kept else None}
                for name, f in self.followers.items()
            },
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
        self._predictor.require(heads)
        if self._recorder is None:
            raise Refused(404, "NOT_FOUND", "no predictions are kept (serve.records is off)")
        items = parse_feedback(await self._bodies.read(heads, receive))
        answers = await self._recorder.feedback(items)
        return Answered(200, orjson.dumps({"labels": answers}))
