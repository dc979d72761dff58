"""The gateways that run on this machine, for the commands; it imports next to nothing."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from registry.errors import UnderstudyError
from registry.settings import find_root, tracking_uri

RUNNING = "gateways"
"""Folder of the files that running gateways leave, below their own folder."""
FOLDER = ".understudy"


class GatewayRefused(UnderstudyError):
    """A gateway that runs here said no; the sentence is its own."""


@dataclass(frozen=True)
class Nearby:
    """A gateway that runs on this machine, and the token it gave this user."""

    pid: int
    address: str
    token: str
    uri: str
    models: tuple[str, ...]
    certificate: str = ""
    """The SHA-256 of the one it shows, where it speaks TLS."""

    def post(self, path: str, body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """What it answers. Raises OSError, HTTPException, GatewayRefused."""
        return self._ask("POST", path, json.dumps(body), seconds)

    def get(self, path: str, seconds: float) -> dict[str, Any]:
        """What it answers. Raises OSError, HTTPException, GatewayRefused."""
        return self._ask("GET", path, None, seconds)

    def _ask(self, method: str, path: str, body: str | None, seconds: float) -> dict[str, Any]:
        """The token is sent to nobody who does not show the gateway's own certificate."""
        where = urlsplit(self.address)
        host, port = where.hostname or "127.0.0.1", where.port or 80
        there = http.client.HTTPConnection(host, port, timeout=seconds)
        if where.scheme == "https":
            # Not by its name or signer, which need not fit this machine: it must be the very one.
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            there = http.client.HTTPSConnection(host, port, timeout=seconds, context=trusting)
        with contextlib.closing(there):
            there.connect()
            if isinstance(there.sock, ssl.SSLSocket):
                self._require_own(there.sock)
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
            there.request(method, path, body, headers)
            response = there.getresponse()
            try:
                said = json.loads(response.read())
                if not isinstance(said, dict):
                    raise ValueError
            except ValueError:
                raise OSError("it does not answer as a gateway") from None
        if response.status != 200:
            raise GatewayRefused(str(said.get("message", f"it answered {response.status}")))
        found: dict[str, Any] = said
        return found

    def _require_own(self, sock: ssl.SSLSocket) -> None:
        """Raises ConnectionError where somebody else listens there."""
        shown = sock.getpeercert(binary_form=True) or b""
        if not hmac.compare_digest(hashlib.sha256(shown).hexdigest(), self.certificate):
            raise ConnectionError("another certificate is shown than the gateway's")


@dataclass(frozen=True)
class Heard:
    """What a gateway says of a model's experiment."""

    address: str
    report: dict[str, Any] | None = None
    """As serving.guard makes it; None where it knows of none."""
    problem: str = ""
    """Why it says nothing."""


def running(root: Path, model: str) -> list[Nearby]:
    """Those that serve a model of the project in `root` from the registry this user asks."""
    found = []
    for path in sorted((root / FOLDER / RUNNING).glob("*.json")):
        try:
            raw = json.loads(path.read_text())
            one = Nearby(
                int(raw["pid"]),
                raw["address"],
                raw["token"],
                raw["uri"],
                tuple(raw["models"]),
                raw.get("certificate", ""),
            )
            os.kill(one.pid, 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)  # of one that was killed
        except (OSError, ValueError, KeyError, TypeError):
            continue
        else:
            if model in one.models and one.uri == tracking_uri(root):
                found.append(one)
    return found


def poke(model: str) -> list[str]:
    """Let every gateway that serves a model look at the ledger now; the addresses of those that do.

    Says nothing of failures: they look by themselves a moment later.
    """
    try:
        gateways = running(find_root(), model)
    except UnderstudyError:
        return []
    found = []
    for gateway in gateways:
        with contextlib.suppress(OSError, http.client.HTTPException, UnderstudyError):
            gateway.post("/admin/refresh", {"model": model}, 2.0)
            found.append(gateway.address)
    return found


def experiments(model: str) -> list[Heard]:
    """What every gateway that serves a model knows of its experiment."""
    try:
        gateways = running(find_root(), model)
    except UnderstudyError:
        return []
    return [_heard(gateway, model) for gateway in gateways]


def _heard(gateway: Nearby, model: str) -> Heard:
    try:
        report = gateway.get("/status", 2.0)["models"][model].get("experiment")
    except (OSError, http.client.HTTPException, GatewayRefused) as error:
        return Heard(gateway.address, problem=f"it does not answer ({error})")
    except (KeyError, TypeError, AttributeError):
        return Heard(gateway.address, problem="it does not answer as a gateway")
    return Heard(gateway.address, report if isinstance(report, dict) else None)
