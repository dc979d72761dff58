"""Served processes, registry and artifacts fail under traffic: who can be answered is answered."""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.flow.gateways import Gateway, Got, Registry, Traffic, ending, send, until
from tests.flow.proxy import Answer, proxy
from tests.flow.servers import free_port, mlflow_server

pytestmark = pytest.mark.flow

TIMEOUT = 24  # half of it must do for a process to start anew, on a busy machine too
"""Seconds within which a caller is answered; a process must be able to start in them."""
PAUSE = 0.02
"""Of callers while processes start: each start costs seconds of a processor."""
PAGE = "<html>a page of somebody's</html>"


class Road:
    """From the gateway to its registry, with whatever may be wrong on the way."""

    def __init__(self, empty: str) -> None:
        """`empty` is the address of a server on an empty database."""
        self.address = ""
        self._empty, self._fault = int(empty.rpartition(":")[2]), ""
        self._clear = threading.Event()

    def breaks(self, fault: str) -> None:
        """From now on it is `slow`, `500`, `page`, `nonsense`, `empty` or `down`."""
        self._clear.clear()
        self._fault = fault

    def mends(self) -> None:
        """Everything is as it should be."""
        self._fault = ""
        self._clear.set()

    @contextmanager
    def broken(self, fault: str) -> Iterator[None]:
        """For a block."""
        self.breaks(fault)
        try:
            yield
        finally:
            self.mends()

    def rule(self, method: str, path: str, _: Any) -> Answer | None:
        if self._fault == "down":
            raise ConnectionResetError
        if self._fault == "slow":
            self._clear.wait(200)
        if self._fault == "500":
            return Answer(500, '{"error_code": "INTERNAL_ERROR", "message": "no"}')
        if self._fault == "page":
            return Answer(200, PAGE, "text/html")
        if self._fault == "nonsense":
            return Answer(200, '{"model_versions": 3}')
        if self._fault == "empty":
            assert method == "GET"
            got = send(self._empty, method, path, None, {})
            return Answer(got.status, got.body.decode())
        return None


@pytest.fixture(scope="module")
def env(environment: dict[str, str]) -> dict[str, str]:
    """MLflow's client waits for seconds between its tries; here it has one, and no wait."""
    return {**environment, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


@pytest.fixture(scope="module")
def registry(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("faults"), migrated)


@pytest.fixture(scope="module")
def road(
    registry: Registry,
    migrated: Path,
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Road]:
    """To a real `mlflow server` on the registry's database, where version 1 is live."""
    folder = tmp_path_factory.mktemp("empty")
    shutil.copy2(migrated, folder / "mlflow.db")
    quick = {**environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    places = ((registry.root, registry.uri), (folder, f"sqlite:///{folder / 'mlflow.db'}"))
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        starting = [
            pool.submit(stack.enter_context, mlflow_server(where, quick, uri, workers=1))
            for where, uri in places
        ]
        registry.promote(registry.version())
        server, empty = (s.result() for s in starting)
        found = Road(empty)
        with proxy(server, found.rule) as found.address:
            yield found


@pytest.fixture(scope="module")
def hanging(registry: Registry, road: Road) -> int:
    """A version that never answers its example."""
    return registry.version("hang")


@pytest.fixture(scope="module")
def gateway(registry: Registry, road: Road, env: dict[str, str], hanging: int) -> Iterator[Gateway]:
    """Two processes of version 1; all the time they answer, it tries to start one that hangs."""
    found = Gateway(registry, env, processes=2, rehearse=0, timeout=TIMEOUT)
    found.uri = road.address
    with ending(found):
        found.start()
        registry.promote(hanging)
        until(lambda: found.status["starting"] == hanging, found)
        yield found


def refusals(traffic: Traffic) -> set[tuple[str, ...]]:
    """Status and class of every error; whatever else was wrong as it is."""
    found = ((w, re.match(r"""(\d+): b'{"error_code":"(\w+)",""", w)) for w in traffic.wrong)
    return {match.groups() if match else (wrong,) for wrong, match in found}


def until_whole(gateway: Gateway, processes: int = 2) -> None:
    until(lambda: gateway.status["processes"] == processes, gateway)


def test_two_processes_answer_and_the_death_of_one_costs_no_answer(gateway: Gateway) -> None:
    both = set(gateway.served(1))
    assert len(both) == gateway.status["processes"] == 2
    with Traffic(gateway, pause=PAUSE) as traffic, ThreadPoolExecutor(8) as pool:
        seen: set[int] = set()
        end = time.monotonic() + 20
        while seen != both and time.monotonic() < end:
            asked = [pool.submit(gateway.predict, n, do="pid") for n in range(8)]
            seen |= {int(a.result().json["predictions"][0]["x"]) for a in asked}
        assert seen == both
        waiting = [pool.submit(gateway.predict, n, do="wait") for n in range(8)]
        time.sleep(0.15)
        victim = both.pop()
        os.kill(victim, signal.SIGKILL)
        assert [w.result().status for w in waiting] == [200] * 8
        assert [w.result().json["predictions"][0]["id"] for w in waiting] == list(range(8))
        until(lambda: len({*gateway.served(1)} - {victim}) == 2, gateway)
        until_whole(gateway)
    assert traffic.wrong == []
    assert set(traffic.versions) == {1}


def test_a_row_that_hangs_fails_alone(gateway: Gateway) -> None:
    until_whole(gateway)

    def timed(number: int, do: str = "echo") -> tuple[Got, float]:
        start = time.monotonic()
        return gateway.predict(number, do=do), time.monotonic() - start

    with Traffic(gateway, pause=PAUSE) as traffic, ThreadPoolExecutor(12) as pool:
        for number in range(2):  # one for each process, so that what comes now is asked together
            pool.submit(gateway.predict, number, do="wait long")
            time.sleep(0.5)
        hangs = pool.submit(timed, 7, "hang")
        beside = [pool.submit(timed, number) for number in range(8)]
        got, took = hangs.result()
        assert gateway.get("/ping").status == 200
        answers = [b.result() for b in beside]
        until_whole(gateway)
    assert (got.status, got.json["error_code"]) == (504, "DEADLINE_EXCEEDED")
    assert got.json["message"] == "the model did not answer in time"
    assert TIMEOUT - 1 < took < TIMEOUT + 10
    assert [a.status for a, _ in answers] == [200] * 8
    assert [a.json["predictions"][0]["id"] for a, _ in answers] == list(range(8))
    # Some of them were in the call that hung: they are asked anew after half of the time.
    assert TIMEOUT / 2 - 1 < max(seconds for _, seconds in answers) < TIMEOUT
    assert traffic.wrong == []


@pytest.mark.parametrize(
    "says",
    ["too few", "too many", PAGE, '{"predictions": [{"id": 1', '{"predictions": {"id": 1}}', ""],
)
def test_what_is_no_answer_reaches_nobody(gateway: Gateway, says: str) -> None:
    until_whole(gateway)
    moods = [gateway.registry.root / f"mood-{pid}" for pid in gateway.served(1)]
    assert len(moods) == 2
    with Traffic(gateway, callers=4) as traffic:
        until(lambda: len(traffic.ids) > 10, gateway)
        assert traffic.wrong == []
        moods[0].write_text(says)
        until(lambda: len(traffic.wrong) > 5, gateway)
        moods[1].write_text(says)
        until(lambda: gateway.predict(1).status == 502, gateway)
        got = gateway.predict(1, 2)
    for mood in moods:
        mood.unlink()
    # Traffic has compared every 200 with what its caller had asked for.
    assert refusals(traffic) == {("502", "BAD_ANSWER")}
    assert got.json["message"] == "the model's answer cannot be used; it was not passed on"
    with Traffic(gateway, callers=4) as after:
        until(lambda: len(after.ids) > 50, gateway)
    assert after.wrong == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("slow", "has not answered for 5 s"),
        ("500", "does not answer"),
        ("page", "not in a valid JSON format"),
        ("nonsense", "what the registry said could not be understood"),
        ("empty", "is gone from the registry"),
        ("down", "does not answer"),
    ],
)
def test_a_registry_that_fails_is_no_callers_business(
    gateway: Gateway, road: Road, fault: str, says: str
) -> None:
    until(lambda: gateway.status["ledger"]["followed"], gateway)
    until_whole(gateway)
    with Traffic(gateway, callers=4, pause=PAUSE) as traffic:
        until(lambda: len(traffic.answers) > 50, gateway)
        since = time.monotonic()
        with road.broken(fault):
            until(lambda: says in gateway.status["ledger"]["reason"], gateway)
            assert not gateway.status["ledger"]["followed"]
            time.sleep(max(0.0, since + 1 - time.monotonic()))
        until(lambda: gateway.status["ledger"]["followed"], gateway)
    assert gateway.status["ledger"]["reason"] == ""
    assert traffic.wrong == []
    assert set(traffic.versions) == {1}
    before = [received - sent for sent, received, *_ in traffic.answers if received < since]
    during = [received - sent for sent, received, *_ in traffic.answers if sent > since]
    # Who waited for the registry would wait for seconds, and for a slow one for all that time.
    assert statistics.median(during) < 10 * statistics.median(before) + 0.25
    assert max(during) < 10


def test_a_version_that_never_answers_its_example_is_refused(
    gateway: Gateway, hanging: int
) -> None:
    with Traffic(gateway, callers=4, pause=PAUSE) as traffic:
        until(lambda: "did not answer within 60 s" in gateway.status["problem"], gateway)
        until(lambda: len(traffic.versions) > 20, gateway)
    found = gateway.status
    assert (found["problem_version"], found["version"]) == (hanging, 1)
    assert traffic.wrong == []
    assert set(traffic.versions) == {1}


def truncate(folder: Path) -> None:
    """Take half of its largest file away."""
    largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)


def test_an_artifact_truncated_after_its_promotion_is_refused_and_the_next_is_followed(
    gateway: Gateway, registry: Registry, road: Road
) -> None:
    bad, good = registry.version(), registry.version()
    with Traffic(gateway, callers=4, pause=PAUSE) as traffic:
        with road.broken("down"):
            until(lambda: not gateway.status["ledger"]["followed"], gateway)
            registry.promote(bad)
            truncate(registry.files(bad))
        until(lambda: gateway.status["problem_version"] == bad, gateway)
        says = f"the artifact of v{bad} is not what was registered: its digest is "
        assert gateway.status["problem"].startswith(says)
        assert gateway.status["version"] == 1
        with road.broken("slow"):
            time.sleep(0.5)  # a look that was under way is over
            registry.promote(good)
            time.sleep(0.5)
            assert gateway.status["ledger"]["production"] == bad
        gateway.until_live(good)
        until(lambda: good in traffic.versions, gateway)
    assert traffic.wrong == []
    assert set(traffic.versions) == {1, good}


@pytest.fixture(scope="module")
def again(
    gateway: Gateway, registry: Registry, hanging: int, env: dict[str, str]
) -> Iterator[Gateway]:
    """The same gateway, started again and again; one process is enough to see whether it serves."""
    if production(registry) == hanging:  # nothing was promoted since
        registry.promote(good := registry.version())
        gateway.until_live(good)
    gateway.stop()
    found = Gateway(registry, env, processes=1, rehearse=0, timeout=TIMEOUT)
    with ending(found):
        yield found


def end(gateway: Gateway) -> None:
    """Whether or not it runs."""
    if gateway.process is not None:
        gateway.stop()


def production(registry: Registry) -> int:
    """The version that the ledger wants served."""
    return registry.store.shown("m").aliases["production"]


def test_a_restart_without_the_registry_serves_the_last_good_state(
    again: Gateway, registry: Registry
) -> None:
    again.uri = f"http://127.0.0.1:{free_port()}"  # nobody listens there
    again.start()
    with Traffic(again, callers=4, pause=PAUSE) as traffic:
        until(lambda: len(traffic.ids) > 100, again)
        found = again.status
    again.stop()
    assert traffic.wrong == []
    assert set(traffic.versions) == {production(registry)}
    assert not found["ledger"]["followed"]
    assert "does not answer" in found["ledger"]["reason"]


def test_a_restart_does_not_wait_for_a_registry_that_is_slow(
    again: Gateway, registry: Registry, road: Road
) -> None:
    again.uri = road.address
    with road.broken("slow"):
        start = time.monotonic()
        again.start()
        assert time.monotonic() - start < 150  # it would be slow for 200 s
        with Traffic(again, callers=4, pause=PAUSE) as traffic:
            until(lambda: len(traffic.ids) > 100, again)
            assert "has not answered for" in again.status["ledger"]["reason"]
    until(lambda: again.status["ledger"]["followed"], again)
    again.stop()
    assert traffic.wrong == []
    assert set(traffic.versions) == {production(registry)}


@pytest.mark.parametrize("copies", ["truncated", "none"])
def test_without_registry_and_verified_copy_callers_are_asked_to_wait_until_it_comes(
    again: Gateway, registry: Registry, road: Road, copies: str
) -> None:
    end(again)
    wanted = production(registry)
    served = again.folder / "serve" / "m"
    if copies == "none":
        shutil.rmtree(served)  # as if it was never started here
    else:
        for copy in (served / "models").iterdir():
            truncate(copy)
    again.uri = road.address
    with road.broken("down"):
        again.start(wait_for="/ping")
        until(lambda: "does not answer" in again.status["ledger"]["reason"], again)
        assert not again.status["ledger"]["followed"]
        if copies == "truncated":
            says = f"the copy of v{wanted} on this machine is not what was verified"
            until(lambda: again.status["problem"].startswith(says), again)
        got = again.predict(1)
        assert (got.status, got.json["error_code"]) == (503, "NOT_READY")
        assert int(got.headers["retry-after"]) > 0
        assert again.get("/ready").status == 503
    with Traffic(again, callers=4, pause=PAUSE) as traffic:
        back = time.monotonic()
        until(lambda: wanted in (again.status["starting"], again.status["version"]), again)
        assert time.monotonic() - back < 60
        again.until_live(wanted)
        until(lambda: len(traffic.ids) > 20, again)
    assert refusals(traffic) == {("503", "NOT_READY")}
    first = min(received for _, received, status, _ in traffic.answers if status == 200)
    assert not [a for a in traffic.answers if a[0] > first and a[2] != 200]
    assert again.status["version"] == wanted


def test_what_is_archived_or_deleted_beside_the_ledger_is_served_on(
    again: Gateway, registry: Registry, road: Road, env: dict[str, str]
) -> None:
    if again.process is None or again.process.poll() is not None:
        again.uri = road.address
        again.start()
    live = again.status["version"]
    mlflow.set_tracking_uri(registry.uri)
    client = mlflow.MlflowClient()
    with Traffic(again, callers=4, pause=PAUSE) as traffic:
        done = subprocess.run(
            ["understudy", "archive", str(live)],
            cwd=registry.root, env={**env, "MLFLOW_TRACKING_URI": registry.uri},
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "is in Production" in done.stderr
        with pytest.warns(FutureWarning, match="stages"):
            client.transition_model_version_stage("m", str(live), "Archived")
        assert again.admin("refresh").json["version"] == live
        client.delete_model_version("m", str(live))
        assert again.admin("refresh").json["version"] == live
        # Neither does a new process need MLflow: it starts from the verified copy.
        (victim,) = again.served(live)
        os.kill(victim, signal.SIGKILL)
        until(lambda: again.served(live) not in ([], [victim]), again)
        until_whole(again, 1)
    assert traffic.wrong == []
    assert set(traffic.versions) == {live}
    found = again.status
    assert (found["ledger"]["production"], found["ledger"]["followed"]) == (live, True)
    assert found["problem"] == ""
