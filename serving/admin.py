"""The admin interface: whoever holds the token looks anew and rolls back through the gateway."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from registry.promote import Wish
from serving.answers import Answered, NotSo, require_token
from serving.batch import Refused
from serving.follow import Follower
from serving.heads import Bodies, Heads, Receive
from serving.sections import ServeParams
from serving.tokens import Tokens
from serving.wire import NotAccepted

PATHS = ("/admin/refresh", "/admin/rollback")


class Admin:
    """Answers below /admin/ for all models."""

    def __init__(
        self,
        followers: Mapping[str, Follower],
        params: ServeParams,
        tokens: Tokens,
        bodies: Bodies,
    ) -> None:
        self._followers, self._params = followers, params
        self._tokens, self._bodies = tokens, bodies
        self._default = next(iter(followers.values()))

    async def answer(self, method: str, path: str, heads: Heads, receive: Receive) -> Answered:
        """A request to a path below /admin/. Raises Refused, NotAccepted, UnderstudyError."""
        self._require_near(heads)
        require_token(self._tokens, heads, "admin")
        if path not in PATHS:
            raise Refused(404, "NOT_FOUND", "there is nothing at this path")
        if method != "POST":
            raise NotSo("POST")
        body = await self._bodies.read(heads, receive)
        try:
            asked = orjson.loads(body or b"{}")
            if type(asked) is not dict:
                raise ValueError
        except ValueError:
            raise NotAccepted("BAD_REQUEST", "the body must be a JSON object") from None
        name = asked.get("model", self._default.model)
        follower = self._followers.get(name) if isinstance(name, str) else None
        if follower is None:
            raise Refused(404, "NOT_FOUND", f"the models here are {', '.join(self._followers)}")
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
        done = await follower.rollback(to, Wish(actor, reason))
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
        try:
            host = urlsplit(f"//{heads.host}").hostname
            origin = urlsplit(heads.origin).netloc
        except ValueError:  # an address that is none
            host = origin = None
        if host not in own:
            raise Refused(
                403, "HOST_REFUSED", "this Host is not one of the gateway's (serve.hosts)"
            )
        if heads.origin and origin != heads.host:
            raise Refused(403, "ORIGIN_REFUSED", "pages of other origins may not decide")
