"""A real gateway before real scoring servers, versions that misbehave, and traffic that counts."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from registry import promote, register
from registry.promote import Wish
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.store import Store

OFF = GateParams(skip=GATES)
WISH = Wish("ana", "a test")
COLUMNS = ["id", "x", "do"]
PATIENCE = 180
"""Seconds after which something is taken never to come; how quick things are, benchmarks say."""


def rows(*numbers: int, do: str = "echo") -> dict[str, Any]:
    data = [[n, n + 0.5, do] for n in numbers]
    return {"dataframe_split": {"columns": COLUMNS, "data": data}}


class Registry:
    """A store with versions of the puppet, and who decides about them."""

    def __init__(self, root: Path, migrated: Path, *models: str) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.database = root / "mlflow.db"
        shutil.copy2(migrated, self.database)
        self.uri = f"sqlite:///{self.database}"
        self.store = Store(self.uri)
        self._counts = dict.fromkeys(models or ("m",), 0)
        client = self.store._client
        self._experiment = client.create_experiment("puppets", (root / "artifacts").as_uri())
        for model in self._counts:
            client.create_registered_model(model)

    def version(self, does: str = "echo", *, model: str = "m") -> int:
        """Register one more version that does so."""
        import mlflow
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        self._counts[model] += 1
        told = self.root / f"behaviour-{model}-{self._counts[model]}" / "behaviour.json"
        told.parent.mkdir()
        says = {"does": does, "version": self._counts[model], "moods": str(self.root)}
        told.write_text(json.dumps(says))
        example = pd.DataFrame({"id": [1, 2], "x": [1.5, 2.5], "do": ["echo", "echo"]})
        columns = (("long", "id"), ("double", "x"), ("string", "do"))
        given = (("long", "id"), ("double", "x"), ("long", "version"))
        signature = ModelSignature(
            *(Schema([ColSpec(kind, name) for kind, name in some]) for some in (columns, given))
        )
        mlflow.set_tracking_uri(self.uri)
        with warnings.catch_warnings(), mlflow.start_run(experiment_id=self._experiment) as run:
            warnings.simplefilter("ignore")
            made = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(Path(__file__).with_name("puppet.py")),
                artifacts={"behaviour": str(told)},
                signature=signature,
                input_example=example,
                pip_requirements=["mlflow", "pandas"],
            )
        created = self.store._client.create_model_version(
            model, source=made.model_uri, run_id=run.info.run_id, model_id=made.model_id
        )
        number = int(created.version)
        register.register_version(self.store, model, number, wish=WISH, folder=self._folder())
        return number

    def promote(self, version: int, *, model: str = "m") -> None:
        promote.promote(
            self.store, model, version, to=Stage.PRODUCTION, params=OFF, wish=WISH,
            folder=self._folder(),
        )  # fmt: skip

    def rollback(self) -> None:
        promote.rollback(self.store, "m", to=None, wish=WISH)

    def challenge(
        self, version: int, mode: str = "canary", weight: float = 0.5, **rule: Any
    ) -> None:
        promote.challenge(
            self.store, "m", version, mode=mode, weight=weight, rule=rule, params=OFF, wish=WISH,
            folder=self._folder(),
        )  # fmt: skip

    def reweigh(self, weight: float) -> None:
        promote.reweigh(self.store, "m", weight, wish=WISH)

    def stop_traffic(self) -> None:
        promote.stop(self.store, "m", wish=WISH)

    def turn(self, version: int, does: str) -> None:
        """A version does something else from now on."""
        new = self.root / f"turned-{version}.new"
        new.write_text(does)
        new.replace(self.root / f"turned-{version}")

    def files(self, version: int) -> Path:
        """Where the artifact of a version lies."""
        return Path(
            self.store.location(self.store.shown("m").versions[version]).removeprefix("file://")
        )

    def _folder(self) -> Path:
        where = self.root / f"work-{time.time_ns()}"
        where.mkdir()
        return where


@dataclass
class Got:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def version(self) -> int:
        return int(self.headers["x-understudy-version"])


class Gateway:
    """`understudy serve` as a process."""

    launch: Sequence[str] = ("understudy", "serve")
    trusting: ssl.SSLContext | None = None
    """Of the callers of one that speaks TLS."""
    uri = ""
    """Where it finds the registry, unless it is where the tests do."""

    def __init__(
        self,
        registry: Registry,
        env: Mapping[str, str],
        gate: Mapping[str, Any] | None = None,
        **serve: Any,
    ) -> None:
        self.registry, self._env = registry, dict(env)
        params = {
            "registry": {"model": "m"},
            "serve": {"port": 0, "poll": 0.2, "rehearse": 1, **serve},
            "gate": dict(gate or {}),
        }
        (registry.root / "params.yaml").write_text(yaml.safe_dump(params))
        self.folder = registry.root / ".understudy"
        self.log = registry.root / "gateway.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.port, self.token = 0, ""

    def start(self, *, wait_for: str = "/ready") -> None:
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                self.launch,
                cwd=self.registry.root,
                env={**self._env, "MLFLOW_TRACKING_URI": self.uri or self.registry.uri},
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        known = self.folder / "gateways" / f"{self.process.pid}.json"
        until(known.exists, self)
        until(lambda: known.read_text() != "", self)
        said = json.loads(known.read_text())
        self.port, self.token = int(said["address"].rpartition(":")[2]), said["token"]
        until(lambda: self.get(wait_for).status == 200, self)

    def command(self, *arguments: str) -> str:
        """Run an `understudy` command in the project's folder; returns what it printed."""
        done = subprocess.run(
            ["understudy", *arguments],
            cwd=self.registry.root,
            env={**self._env, "MLFLOW_TRACKING_URI": self.registry.uri},
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.process.wait(PATIENCE)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Got:
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": "application/json"} if body is not None else {}
        given |= {k.replace("_", "-"): v for k, v in headers.items() if v}
        with contextlib.closing(self.connection()) as there:
            return talk(there, method, path, sent, given)

    def connection(self) -> http.client.HTTPConnection:
        """To it, not yet open."""
        if self.trusting is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=60, context=self.trusting
        )

    def get(self, path: str, **headers: str) -> Got:
        return self.ask("GET", path, **headers)

    def predict(self, *numbers: int, do: str = "echo", **headers: str) -> Got:
        return self.ask("POST", "/invocations", rows(*numbers, do=do), **headers)

    def admin(self, what: str, **body: Any) -> Got:
        return self.ask("POST", f"/admin/{what}", body, Authorization=f"Bearer {self.token}")

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/status").json["models"]["m"]
        return found

    def until_live(self, version: int) -> None:
        until(lambda: self.status["version"] == version, self)

    def until_ready(self, understudy: int | None) -> None:
        """Wait until a version stands by, rehearsed."""
        until(
            lambda: (
                self.status["understudy"] == understudy
                and self.status["rollback_ready"] == (understudy is not None)
                and self.status["starting"] is None
            ),
            self,
        )

    def served(self, version: int) -> list[int]:
        """The process ids of the scoring servers (uvicorn) of a version."""
        digest = json.loads((self.folder / "serve/m/last.json").read_text())["production"]["digest"]
        del version
        return pids(f"serve/m/models/{digest}")


def send(port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Got:
    """One request over a connection of its own."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, 60)) as there:
        return talk(there, method, path, body, headers)


def talk(
    there: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
) -> Got:
    """One request over a connection."""
    there.request(method, path, body, dict(headers))
    response = there.getresponse()
    found = {k.lower(): v for k, v in response.getheaders()}
    return Got(response.status, found, response.read())


def post(port: int, body: bytes, content_type: str) -> Got:
    """A prediction of a bare scoring server."""
    return send(port, "POST", "/invocations", body, {"Content-Type": content_type})


def pids(word: str) -> list[int]:
    """The uvicorn processes whose environment names a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                environ = (entry / "environ").read_bytes()
                if b"scoring_server.app" in command and word.encode() in environ:
                    found.append(int(entry.name))
    return found


def until(condition: Any, gateway: Gateway | None = None) -> Any:
    """Wait for it, and return what came. Fails with the gateway's log."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        if gateway is not None and gateway.process and gateway.process.poll() is not None:
            break
        time.sleep(0.05)
    log = gateway.log.read_text()[-3000:] if gateway else ""
    raise AssertionError(f"it did not come true within {PATIENCE} s\n{log}")


@dataclass
class Traffic:
    """Callers that ask again and again, each row once, and keep count of every answer."""

    gateway: Gateway
    callers: int = 8
    answers: list[tuple[float, float, int, int]] = field(default_factory=list)
    """Sent, received (time.monotonic()), status, version (0 without one)."""
    wrong: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    """Of the predictions that were answered with 200."""
    path: str = "/invocations"
    pause: float = 0.0
    """Seconds between two requests of a caller; leaves processors to what starts meanwhile."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Traffic:
        self._threads = [
            threading.Thread(target=self._call, args=(i,), daemon=True) for i in range(self.callers)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _call(self, caller: int) -> None:
        there = self.gateway.connection()
        number = caller * 10_000_000
        while not self._stop.wait(self.pause):
            count = number % 3 + 1
            asked = list(range(number, number + count))
            number += count
            sent = time.monotonic()
            try:
                body = json.dumps(rows(*asked))
                there.request("POST", self.path, body, {"Content-Type": "application/json"})
                response = there.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
                there.close()
                time.sleep(0.05)
                continue
            version = int(response.headers.get("x-understudy-version", 0))
            self.answers.append((sent, time.monotonic(), response.status, version))
            if response.status != 200:
                self.wrong.append(f"{response.status}: {text[:200]!r}")
                time.sleep(0.05)
                continue
            self.ids.append(response.headers["x-understudy-prediction-id"])
            found = json.loads(text)["predictions"]
            if [(f["id"], f["x"]) for f in found] != [(n, n + 0.5) for n in asked]:
                self.wrong.append(f"asked for {asked}, got {found}")
            if any(f["version"] != version for f in found):
                self.wrong.append(f"the header says v{version}, the answer {found}")
        there.close()

    @property
    def versions(self) -> Sequence[int]:
        return [version for *_, version in self.answers]


@contextlib.contextmanager
def running(
    registry: Registry,
    env: Mapping[str, str],
    gate: Mapping[str, Any] | None = None,
    **serve: Any,
) -> Iterator[Gateway]:
    """A gateway for a block; none of its processes is left afterwards."""
    gateway = Gateway(registry, env, gate, **serve)
    with ending(gateway):
        gateway.start()
        yield gateway


@contextlib.contextmanager
def ending(gateway: Gateway) -> Iterator[None]:
    """Whatever becomes of a gateway in a block, it does not run afterwards."""
    try:
        yield
    finally:
        if gateway.process is not None and gateway.process.poll() is None:
            try:
                gateway.stop()
            except subprocess.TimeoutExpired:
                os.killpg(gateway.process.pid, signal.SIGKILL)
                raise
