"""Puts a gateway together and runs it until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import json
import logging
import os
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from experiments.rule import Rule
from registry.errors import UnderstudyError
from registry.sections import GateParams
from serving import contract, rules, tokens
from serving.batch import Limits, Line, Told
from serving.conduct import Conductor
from serving.crew import Place
from serving.decisions import Decisions
from serving.follow import Follower
from serving.gateway import Gateway
from serving.log import Handler, Log
from serving.metrics import Metrics
from serving.nearby import RUNNING
from serving.protocol import Protocol
from serving.recorder import Recorder, url_of
from serving.records import Log as Records
from serving.sections import ServeParams
from serving.served import Served
from serving.watch import Watch

LAST_RECORDS = 10.0
"""Seconds in which the prediction log may be completed at the end."""
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
TICK = 0.1
"""Seconds between two looks for requests that waited too long."""


class PortTaken(UnderstudyError):
    """Somebody else listens there."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(f"cannot listen at {host}:{port} ({why}); choose another with --port")


class CertificateRefused(UnderstudyError):
    """TLS cannot be spoken with these files."""

    def __init__(self, certificate: str | None, key: str | None, why: str) -> None:
        super().__init__(
            f"TLS cannot be spoken with serve.certificate {certificate!r} and serve.key {key!r} "
            f"({why}); both are PEM files, the key without a password"
        )


class FolderRefused(UnderstudyError):
    """The gateway cannot keep what it needs."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(
            f"the gateway cannot keep its files in {folder} ({why}); name another with --folder"
        )


@dataclass(frozen=True)
class Setting:
    """What a gateway serves, and where it keeps what it needs."""

    models: Sequence[str]
    uri: str
    folder: Path
    params: ServeParams
    gates: GateParams
    rule: Rule = field(default_factory=Rule)
    """By which a promotion is guarded."""
    as_json: bool = False


def run(setting: Setting) -> None:
    """Serve until SIGINT or SIGTERM. Raises UnderstudyError."""
    import uvloop

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(setting))


async def serve(setting: Setting) -> None:
    """The gateway's life. Raises UnderstudyError where it cannot begin."""
    params = setting.params
    _require_folder(setting.folder)
    pin = _require_certificate(params)
    listening = _listen(params.host, params.port)
    port = int(listening.getsockname()[1])
    log = Log(as_json=setting.as_json)
    _listen_to_uvicorn(log)
    metrics = Metrics()
    followers = {name: _follower(name, setting, log, metrics) for name in setting.models}
    recorder = _recorder(setting, log, followers)
    with _known(setting, port, pin) as known:
        if recorder is not None:
            await recorder.start()
        gateway = Gateway(followers, params, known, metrics, recorder)
        config = uvicorn.Config(
            gateway,
            http=Protocol,
            loop="none",
            lifespan="off",
            ws="none",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=int(params.timeout),
            backlog=4096,
            ssl_certfile=params.certificate,
            ssl_keyfile=params.key,
        )
        log.say("listening", {"address": address(params, port), "models": ", ".join(followers)})
        work = [asyncio.ensure_future(f.run()) for f in followers.values()]
        work.append(asyncio.ensure_future(_tick(followers, known, log)))
        server = _Server(config)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
        try:
            await server.serve(sockets=[listening])
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            if recorder is not None:
                await recorder.stop(LAST_RECORDS)
            log.say("ended", {})


def _listen_to_uvicorn(log: Log) -> None:
    """Of what it logs, errors; what a stranger sends that is no HTTP is no error of ours."""
    logger = logging.getLogger("uvicorn.error")
    logger.handlers, logger.propagate = [Handler(log)], False
    logger.setLevel(logging.ERROR)


def _recorder(setting: Setting, log: Log, followers: Mapping[str, Follower]) -> Recorder | None:
    params = setting.params
    url = url_of(params.records or "", setting.folder)
    if not url:
        return None
    return Recorder(
        url,
        say=log.say,
        never_stored=params.never_stored,
        days=params.records_days,
        max_bytes=params.records_bytes,
        label_days=params.label_days,
        contracts=contract.Contracts(
            rules.read(params.never_stored), lambda: {n: f.signature for n, f in followers.items()}
        ),
    )


class _Server(uvicorn.Server):
    """uvicorn raises a signal again once it has ended, which would end us before we clean up."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the server."""
        yield


def _follower(name: str, setting: Setting, log: Log, metrics: Metrics) -> Follower:
    params = setting.params
    folder = setting.folder / "serve" / name
    limits = Limits(params.waiting, params.waiting_bytes, params.batch_rows, params.batch_bytes)
    batches, rows = metrics.batch.labels(name), metrics.rows.labels(name)

    def answered(version: int, requests: int, count: int) -> None:
        del version
        batches.observe(requests)
        rows.inc(count)

    def failed(served: Served, why: str) -> None:
        crew = follower.crew_of(served)
        if crew is not None:
            crew.broken(served, why)

    def say(event: str, facts: Mapping[str, object]) -> None:
        log.say(event, {"model": name, **facts})

    told = Told(answered, failed)
    line = Line(limits, told)
    watch = Watch(name, setting.uri, folder, params.environment)
    place = Place(folder / "logs", params.processes, params.threads, params.timeout)
    decisions = Decisions(name, setting.uri, setting.gates)
    follower = Follower(watch, decisions, line, place, params, say)
    url = url_of(params.records or "", setting.folder)
    follower.conductor = Conductor(
        follower,
        decisions,
        params=params,
        limits=limits,
        log=Records(url) if url else None,
        rule=setting.rule.model_dump(),
        automation=setting.gates.automation,
        told=told,
        folder=folder,
        say=say,
    )
    return follower


async def _tick(followers: Mapping[str, Follower], known: tokens.Tokens, log: Log) -> None:
    calm = False
    while True:
        await asyncio.sleep(TICK)
        if not calm and all(f.ready for f in followers.values()):
            _calm_collector()
            calm = True
        try:
            if known.look():
                log.say("tokens_changed", {})
        except (OSError, UnderstudyError) as error:
            log.say("tokens_not_read", {"reason": str(error)})
        now = time.monotonic()
        for follower in followers.values():
            follower.expire(now)


def _require_folder(folder: Path) -> None:
    """Raises FolderRefused where no file can be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise FolderRefused(folder, error.strerror or type(error).__name__) from None


def _require_certificate(params: ServeParams) -> str:
    """The SHA-256 of the certificate, by which commands know it; empty without TLS.

    Raises CertificateRefused.
    """
    certificate, key = params.certificate, params.key
    if certificate is None and key is None:
        return ""
    if certificate is None or key is None:
        raise CertificateRefused(certificate, key, "one is of no use without the other")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, lambda: "")  # or OpenSSL asks at the terminal
        first = Path(certificate).read_text().partition(_END)[0] + _END
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[first.index(_BEGIN) :])).hexdigest()
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        why = "no certificate with its key can be read from them"
        if isinstance(error, ssl.SSLError):
            why = (error.reason or why).replace("_", " ").lower()
        elif isinstance(error, OSError):
            why = error.strerror or why
        raise CertificateRefused(certificate, key, why) from None


def _calm_collector() -> None:
    """Let Python's garbage collector leave alone what stays anyway, and come less often.

    A full collection looks at every object of all imported modules and every queued record, and
    for a fifth of a second nobody is answered. What callers leave behind is freed by reference
    counts; the younger generations still take the few cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(4096)
    except OSError as error:
        listening.close()
        raise PortTaken(host, port, error.strerror or type(error).__name__) from None
    listening.setblocking(False)
    return listening


def address(params: ServeParams, port: int) -> str:
    """Where this machine's commands reach the gateway."""
    scheme = "https" if params.certificate else "http"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(params.host, params.host)  # noqa: S104
    return f"{scheme}://{host}:{port}"


@contextmanager
def _known(setting: Setting, port: int, pin: str) -> Iterator[tokens.Tokens]:
    """The tokens; one more, for the commands of this user on this machine, while it lasts.

    They find it in a file that only this user reads, beside the certificate's hash.
    """
    token = tokens.new()
    known = tokens.Tokens(setting.folder, token)
    folder = setting.folder / RUNNING
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{os.getpid()}.json"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as stream:
        said: dict[str, Any] = {
            "pid": os.getpid(),
            "address": address(setting.params, port),
            "token": token,
        }
        said |= {"uri": setting.uri, "models": list(setting.models), "certificate": pin}
        json.dump(said, stream)
    try:
        yield known
    finally:
        path.unlink(missing_ok=True)
