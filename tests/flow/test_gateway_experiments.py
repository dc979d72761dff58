"""Experiments through a real gateway: who answers whom, what the guard does, what callers see."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.arms import is_challengers
from registry import promote, verify
from registry.ledger import Entry
from registry.projection import read
from registry.sections import GATES
from tests.flow.gateways import WISH, Gateway, Registry, Traffic, pids, running, until

pytestmark = pytest.mark.flow

QUICK = {"minimum": 60, "errors_margin": 0.2, "alpha": 0.2, "guards": ["errors", "answers"]}
"""A rule by which little is needed, and a machine that is busy says nothing."""


@pytest.fixture(scope="module")
def registry(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Version 1 is live; each test makes the challengers it needs."""
    found = Registry(tmp_path_factory.mktemp("experiments"), migrated)
    found.promote(found.version())
    return found


@pytest.fixture(scope="module")
def gateway(registry: Registry, environment: dict[str, str]) -> Iterator[Gateway]:
    with running(registry, environment, timeout=8, key_column="id", rehearse=1) as found:
        yield found


def last(registry: Registry) -> Entry:
    """The last entry that counts."""
    return read(registry.store, "m").winners[-1].entry


def decisions(registry: Registry, challenger: int) -> list[str]:
    """Those of the runs in `m-experiments` about a challenger."""
    client = registry.store._client
    where = client.get_experiment_by_name("m-experiments")
    runs = client.search_runs([where.experiment_id]) if where else []
    return [
        run.data.tags["understudy.decision"]
        for run in runs
        if f"v{challenger} " in run.info.run_name and "guard" not in run.info.run_name
    ]


def begin(
    gateway: Gateway, mode: str = "canary", weight: float = 0.5, does: str = "echo", **rule: Any
) -> int:
    """A new version gets traffic, and answers it."""
    registry = gateway.registry
    version = registry.version(does)
    registry.challenge(version, mode, weight, **rule)
    until(lambda: report(gateway)["challenger"] == version, gateway)
    until(lambda: report(gateway)["open"], gateway)
    return version


def report(gateway: Gateway) -> dict[str, Any]:
    """Of the experiment that goes on, or of the last one."""
    found: dict[str, Any] | None = gateway.status["experiment"]
    return found or dict.fromkeys(("mode", "challenger", "open", "units", "labels", "ended"))


def counting(gateway: Gateway, count: int) -> dict[str, Any]:
    """The report if it knows of so many draws and labels; else nothing."""
    found = report(gateway)
    return found if found["labels"]["counted"] == sum(found["units"]) == count else {}


def end(gateway: Gateway) -> None:
    gateway.registry.stop_traffic()
    until(lambda: report(gateway)["ended"], gateway)


def test_a_key_stays_with_its_arm_and_growing_moves_keys_one_way(gateway: Gateway) -> None:
    registry = gateway.registry
    challenger = begin(gateway, weight=0.3)
    keys = [f"k{n}" for n in range(200)]

    def arms() -> dict[str, bool]:
        found = {}
        for key in keys:
            got = gateway.predict(1, X_Understudy_Key=key)
            found[key] = got.headers["x-understudy-arm"] == "challenger"
            assert got.version == (challenger if found[key] else 1)
        return found

    first = arms()
    experiment = report(gateway)["experiment"]
    assert first == {key: is_challengers(experiment, key, 0.3) for key in keys}
    assert first == arms()
    registry.reweigh(0.6)
    until(lambda: gateway.status["traffic"]["weight"] == 0.6, gateway)
    more = arms()
    assert sum(more.values()) > sum(first.values())
    assert all(more[key] for key in keys if first[key])
    # A column says whom a request is about, where no header does.
    assert gateway.predict(7).headers["x-understudy-arm"] == (
        "challenger" if is_challengers(experiment, "7", 0.6) else "champion"
    )
    # What a key asks again is no new draw.
    assert sum(report(gateway)["units"]) <= len(keys) + 1
    end(gateway)
    assert gateway.predict(1).version == 1
    assert "x-understudy-arm" not in gateway.predict(1).headers


@pytest.mark.parametrize("does", ["fail", "nan", "hang"])
def test_a_canary_that_gets_worse_is_aborted_and_no_caller_sees_it(
    gateway: Gateway, does: str
) -> None:
    registry = gateway.registry
    challenger = begin(gateway, weight=0.2)
    with Traffic(gateway, callers=8) as traffic:
        until(lambda: report(gateway)["units"][0] > 60, gateway)
        turned = time.monotonic()
        registry.turn(challenger, does)
        until(lambda: report(gateway)["ended"], gateway)
        until(lambda: last(registry).kind == "stop", gateway)
        told = time.monotonic()
        time.sleep(0.5)
    assert not traffic.wrong
    assert {status for _, _, status, _ in traffic.answers} == {200}
    assert not [a for a in traffic.answers if a[3] == challenger and a[0] > told]
    entry = last(registry)
    assert (entry.actor, entry.version) == ("auto:guard", challenger)
    assert entry.evidence["experiment"]["decision"] == "abort"
    found = [f["name"] for f in entry.evidence["experiment"]["findings"] if f["found"]]
    # A caller of a version that fails waits for a second one, so that is slow, too.
    expected = {"fail": {"errors", "latency"}, "nan": {"answers", "latency"}}
    assert set(found) & expected.get(does, {"latency"})
    assert told - turned < 30


@pytest.mark.parametrize("does", ["die", "hang", "slow"])
def test_a_shadow_that_breaks_is_seen_by_nobody(gateway: Gateway, does: str) -> None:
    registry = gateway.registry
    challenger = begin(gateway, "shadow", 1.0)
    with Traffic(gateway, callers=4) as traffic:
        until(lambda: report(gateway)["units"][1] > 30, gateway)
        registry.turn(challenger, does)
        until(lambda: report(gateway)["ended"], gateway)
    assert not traffic.wrong
    assert {(status, version) for _, _, status, version in traffic.answers} == {(200, 1)}
    until(lambda: last(registry).kind == "stop", gateway)
    assert report(gateway)["verdict"]["decision"] == "abort"


def test_a_good_canary_waits_for_a_person_and_then_is_live_without_a_start(
    gateway: Gateway,
) -> None:
    registry = gateway.registry
    challenger = begin(gateway, weight=0.5, **QUICK)
    with Traffic(gateway, callers=4) as traffic:
        until(lambda: "a person decides" in report(gateway)["decided"], gateway)
        assert gateway.status["version"] == 1
        swaps = gateway.status["counts"]["swaps"]
        registry.promote(challenger)
        gateway.admin("refresh")
        assert gateway.status["version"] == challenger  # it ran already
        since = time.monotonic()
        until(lambda: sum(sent > since for sent, *_ in list(traffic.answers)) > 20, gateway)
    assert not traffic.wrong
    assert {status for _, _, status, _ in traffic.answers} == {200}
    assert {version for sent, *_, version in traffic.answers if sent > since} == {challenger}
    assert gateway.status["counts"]["swaps"] == swaps + 1
    until(lambda: decisions(registry, challenger) == ["promote"], gateway)
    gateway.until_ready(1)
    registry.rollback()
    gateway.until_live(1)


def test_a_process_that_stops_for_a_moment_is_no_slower_version(gateway: Gateway) -> None:
    """Both versions are the same; what waits in that moment is slow together, and counts once."""
    challenger = begin(gateway, "ab", 0.5)
    known = json.loads((gateway.folder / "serve/m/last.json").read_text())["challenger"]
    assert known["version"] == challenger
    processes = pids(f"serve/m/models/{known['digest']}")
    assert processes
    with Traffic(gateway, callers=8, pause=0.005) as traffic:
        until(lambda: min(report(gateway)["units"]) > 60, gateway)
        for _ in range(3):
            for sign, seconds in ((signal.SIGSTOP, 0.3), (signal.SIGCONT, 0.7)):
                for process in processes:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, sign)
                time.sleep(seconds)
        time.sleep(1)
    assert not traffic.wrong
    found = report(gateway)
    assert (found["ended"], found["verdict"]["decision"]) == (False, "wait")
    end(gateway)


def test_a_promotion_that_was_wrong_is_rolled_back_by_the_guard(gateway: Gateway) -> None:
    """By the requests of few callers, who were there before."""
    registry = gateway.registry
    newer = registry.version()
    registry.promote(newer)
    gateway.until_live(newer)
    until(lambda: report(gateway)["mode"] == "guard", gateway)
    answers: list[tuple[int, int]] = []

    def ask_until(condition: Callable[[], bool]) -> None:
        asked = itertools.cycle(f"caller {n}" for n in range(20))

        def ask() -> bool:
            for key in itertools.islice(asked, 20):
                got = gateway.predict(1, X_Understudy_Key=key)
                answers.append((got.status, got.version if got.status == 200 else newer))
            return condition()

        until(ask, gateway)

    ask_until(lambda: report(gateway)["units"][1] > 30)
    registry.turn(newer, "fail")
    ask_until(lambda: gateway.status["version"] == 1)
    ask_until(lambda: True)
    assert {status for status, _ in answers} == {200, 400}
    assert answers[-1] == (200, 1)
    entry = last(registry)
    assert (entry.kind, entry.actor, entry.version) == ("rollback", "auto:guard", 1)
    assert "would fail, it was the challenger's" in entry.reason
    assert report(gateway)["decided"] == "v1 is made live again"


def test_where_the_registry_is_away_the_traffic_goes_back_at_once_all_the_same(
    gateway: Gateway,
) -> None:
    registry = gateway.registry
    challenger = begin(gateway, weight=0.3)
    with Traffic(gateway, callers=4) as traffic:
        until(lambda: report(gateway)["units"][0] > 60, gateway)
        with contextlib.closing(sqlite3.connect(registry.database)) as locked:
            locked.execute("BEGIN EXCLUSIVE")
            registry.turn(challenger, "fail")
            until(lambda: report(gateway)["ended"], gateway)
            time.sleep(0.3)
            assert gateway.status["traffic"]["challenger"] == challenger  # the ledger's last word
            assert gateway.predict(1).version == 1
            locked.rollback()
        until(lambda: last(registry).kind == "stop", gateway)
        until(lambda: gateway.status["traffic"] is None, gateway)
    assert not traffic.wrong
    assert {status for _, _, status, _ in traffic.answers} == {200}


@pytest.fixture(scope="module")
def numbers(
    migrated: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A model that answers with a number, for which labels can come."""
    registry = Registry(tmp_path_factory.mktemp("labels"), migrated)
    registry.promote(registry.version("number"))
    with running(registry, environment, timeout=20, key_column="id", rehearse=0) as found:
        yield found


def test_labels_decide_and_the_evidence_goes_on_after_a_restart(numbers: Gateway) -> None:
    """The challenger never fails, but its outcomes are wrong."""
    gateway = numbers
    challenger = begin(
        gateway, "ab", 0.5, does="number", metric="absolute", scale=1.0, minimum=20, alpha=0.2
    )

    def ask_and_label(keys: Iterable[int]) -> None:
        labels = []
        for key in keys:
            got = gateway.predict(key)
            wrong = got.headers["x-understudy-arm"] == "challenger"
            labels.append({"key": str(key), "label": key + 0.5 + wrong})
        told = gateway.ask("POST", "/feedback", labels).json["labels"]
        assert {one["result"] for one in told} == {"stored"}

    # Six keys of each arm: where all are of one, nothing can be counted yet.
    experiment = report(gateway)["experiment"]
    arms: dict[bool, list[int]] = {True: [], False: []}
    for key in range(1000, 1200):
        arms[is_challengers(experiment, str(key), 0.5)].append(key)
    keys = [*arms[True][:6], *arms[False][:6]]
    ask_and_label(keys)
    before = until(lambda: counting(gateway, 12), gateway)
    gateway.stop()
    gateway.start()
    until(lambda: report(gateway)["open"], gateway)
    after = until(lambda: counting(gateway, 12), gateway)
    assert (after["units"], after["challenger"]) == (before["units"], challenger)
    assert after["verdict"]["interval"] == before["verdict"]["interval"]
    # A key that was seen before the restart is no new draw after it, nor is a second label.
    ask_and_label(keys[:4])
    time.sleep(2.5)
    assert (report(gateway)["units"], report(gateway)["labels"]) == (
        before["units"], {"counted": 12, "held": 0, "unfit": 0}
    )  # fmt: skip
    ask_and_label(range(2000, 2060))
    until(lambda: report(gateway)["ended"], gateway)
    found = {f["name"] for f in report(gateway)["verdict"]["findings"] if f["found"]}
    assert found == {"loss"}
    until(lambda: last(gateway.registry).kind == "stop", gateway)


def test_a_former_version_that_is_archived_does_not_stand_by(gateway: Gateway) -> None:
    registry = gateway.registry
    registry.promote(registry.version())
    gateway.until_ready(1)
    promote.archive(registry.store, "m", 1, wish=WISH)
    gateway.until_ready(None)


def test_a_program_that_may_goes_through_the_steps_and_promotes_with_its_evidence(
    migrated: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "project", migrated)
    registry.promote(registry.version())
    gate = {"automation": "production", "skip": list(GATES)}
    with running(registry, environment, gate, timeout=8, guard_minutes=0) as gateway:
        challenger = begin(gateway, weight=0.25, steps=[0.25, 0.5], step_units=15, **QUICK)
        with Traffic(gateway, callers=4) as traffic:
            gateway.until_live(challenger)
            time.sleep(0.3)
        assert {status for _, _, status, _ in traffic.answers} == {200}
        assert not traffic.wrong
        entries = [w.entry for w in read(registry.store, "m").winners[-2:]]
        assert [(e.kind, e.actor, e.version) for e in entries] == [
            ("weight", "auto:guard", challenger), ("promote", "auto:guard", challenger),
        ]  # fmt: skip
        assert entries[0].evidence["weight"] == 0.5
        assert entries[1].evidence["experiment"]["decision"] == "promote"
        assert entries[1].evidence["gate"]
        until(lambda: registry.store.shown("m").head == read(registry.store, "m").head, gateway)
        (tmp_path / "verify").mkdir()
        found = verify.verify(registry.store, "m", keys={}, folder=tmp_path / "verify")
        assert found.sound
