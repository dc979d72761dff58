"""`understudy monitor` on a real store, a real model's answers and a real prediction log."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import orjson
import pandas as pd
import pytest
import sqlalchemy as sa
import yaml

from monitoring import retrain
from monitoring.check import Monitor
from monitoring.kept import Kept
from registry.promote import Wish
from registry.sections import GateParams
from registry.stages import Stage
from registry.store import Store
from serving import record_store, record_tables
from serving.feedback import Item
from tests.cli.conftest import Shell
from tests.tiny import table

ROWS = 400
HOUR = 3600.0


@pytest.fixture(scope="module")
def answering(registered_store: Path) -> Any:
    """Version 2, loaded: it answers as a gateway's served process would."""
    store = Store(f"sqlite:///{registered_store}")
    return mlflow.pyfunc.load_model(store.location(store.shown("m").versions[2]))


@pytest.fixture(scope="module")
def two_live(registered_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which version 2 is in Production and version 1 was before."""
    folder = tmp_path_factory.mktemp("two")
    copy = Path(shutil.copy2(registered_store, folder / "mlflow.db"))
    _live(f"sqlite:///{copy}", folder, ("ana", "ana"))
    return copy


def _live(uri: str, folder: Path, actors: tuple[str, str]) -> None:
    """Promote version 1, then 2."""
    from registry import promote

    skip = ("lineage", "serves", "latency")
    params = GateParams(skip=skip, automation="production")
    for version, actor in zip((1, 2), actors, strict=True):
        promote.promote(
            Store(uri), "m", version, to=Stage.PRODUCTION, params=params, wish=Wish(actor),
            folder=_made(folder / f"gates-{version}"),
        )  # fmt: skip


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@dataclass
class Watched:
    """A project whose model answers, and whose callers tell outcomes, as a test says."""

    shell: Shell
    model: Any
    log: sa.Engine
    asked: int = 0

    def params(self, **monitor: Any) -> None:
        """Write the section `monitor`."""
        path = self.shell.root / "params.yaml"
        raw = yaml.safe_load(path.read_text())
        raw["monitor"] = {"window_rows": ROWS, "lag": 0, **monitor}
        path.write_text(yaml.safe_dump(raw))

    def ask(
        self,
        count: int = ROWS,
        change: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows,
        *,
        labels: Callable[[pd.Series], list[Any]] | None = None,
        version: int = 2,
        ago: float = HOUR,
    ) -> list[str]:
        """So many predictions, a second apart; with outcomes where `labels` makes them."""
        self.asked += 1
        rows = table(count, 100 + self.asked)
        sent = change(rows[["a", "b"]].copy())
        full = sent.reindex(columns=["a", "b"]).apply(pd.to_numeric, errors="coerce")
        answers = self.model.predict(full.astype(float).fillna(0.0)).to_dict("records")
        start = time.time() - ago + self.asked * ROWS / 100
        ids = [f"p{self.asked}-{n}" for n in range(count)]
        kept = [
            {
                "id": name, "row": None, "time": start + n / 1000, "model": "m",
                "version": version, "arm": "", "key": None,
                "features": orjson.dumps(features, option=orjson.OPT_SERIALIZE_NUMPY).decode(),
                "answer": orjson.dumps(answer).decode(), "milliseconds": 1.0, "status": 200,
                "experiment": None, "weight": None, "fault": None,
            }
            for n, (name, features, answer) in enumerate(
                zip(ids, sent.to_dict("records"), answers, strict=True)
            )
        ]  # fmt: skip
        with self.log.begin() as connection:
            record_store.insert(connection, kept)
        if labels is not None:
            self.tell(ids, labels(rows["y"]))
        return ids

    def tell(self, ids: list[str], labels: list[Any], moment: float | None = None) -> None:
        """Outcomes come."""
        items = [
            Item(label=label, prediction_id=name, time=moment)
            for name, label in zip(ids, labels, strict=True)
        ]
        with self.log.begin() as connection:
            record_store.label(connection, items, now=time.time(), days=60)

    def end(self) -> None:
        """One row more, so that the last window is over."""
        self.ask(1)

    def check(self, code: int = 0, *options: str) -> Any:
        """`monitor check --json`."""
        done = self.shell("monitor", "check", "--json", *options, code=code)
        return json.loads(done.stdout)

    def runs(self) -> dict[str, Any]:
        """The runs of the experiment m-monitoring by their name."""
        client = mlflow.MlflowClient(self.shell.tiny.uri)
        found = client.get_experiment_by_name("m-monitoring")
        runs = client.search_runs([found.experiment_id]) if found else []
        return {run.info.run_name: run for run in runs}

    @property
    def kept(self) -> Kept:
        return Kept(f"sqlite:///{self.shell.root}/.understudy/monitor.db", "m")

    def decisions(self) -> list[tuple[str, str, int]]:
        """Kind, actor and version of the ledger's entries."""
        return [
            (entry["kind"], entry["actor"], entry["version"])
            for entry in self.shell.json("history")
        ]


@pytest.fixture
def watched(
    shell: Shell, two_live: Path, answering: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    monkeypatch.setitem(sys.modules, "evidently", None)  # as if not installed: it takes seconds
    shutil.copy2(two_live, shell.tiny.uri.removeprefix("sqlite:///"))
    engine = record_tables.engine(f"sqlite:///{shell.root}/.understudy/predictions.db")
    record_tables.create(engine)
    found = Watched(shell, answering, engine)
    found.params()
    yield found
    engine.dispose()


def right(labels: pd.Series) -> list[Any]:
    return labels.tolist()


def random(labels: pd.Series) -> list[Any]:
    """Of the same share, and nothing to do with the rows."""
    return labels.sample(frac=1, random_state=1).tolist()


def flipped(labels: pd.Series) -> list[Any]:
    return ["no" if label == "yes" else "yes" for label in labels]


def shifted(by: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.assign(a=rows["a"] + by)


def names(found: Any, window: int = -1) -> set[str]:
    """What was found in a window: `kind:column`."""
    return {
        f"{f['kind']}:{f['column']}".rstrip(":")
        for f in found["windows"][window]["findings"]
        if f["found"]
    }


# Looking


def test_windows_like_the_reference_show_nothing_and_are_judged_once(watched: Watched) -> None:
    for _ in range(3):
        watched.ask(labels=right)
    watched.end()
    found = watched.check()
    assert [w["rows"] for w in found["windows"]] == [ROWS] * 3
    assert found["decision"]["action"] == "nothing"
    assert [names(found, n) for n in range(3)] == [set()] * 3
    (quality,) = found["windows"][0]["quality"]
    assert (quality["version"], quality["labelled"], quality["unusable"]) == (2, ROWS, 0)
    first = quality["metrics"][0]
    assert first["metric"] == "roc_auc"
    assert first["low"] < first["value"] < first["high"]
    (guess,) = found["windows"][0]["estimates"]
    assert abs(guess["metrics"]["roc_auc"] - first["value"]) < 0.1
    again = watched.check()
    assert (again["windows"], again["labels_anew"]) == ([], 0)


def test_windows_are_runs_whose_metrics_lie_at_their_time(watched: Watched) -> None:
    for _ in range(2):
        watched.ask(labels=right)
    watched.end()
    found = watched.check()
    runs = watched.runs()
    assert set(runs) == {"v2", "window 1", "window 2"}
    ends = [int(w["until"]) for w in found["windows"]]
    client = mlflow.MlflowClient(watched.shell.tiny.uri)
    for name in ("drift/a", "performance/roc_auc", "estimate/roc_auc", "score", "rows"):
        history = client.get_metric_history(runs["v2"].info.run_id, name)
        assert [m.step for m in history] == ends, name
    window = runs["window 2"]
    assert window.data.tags["mlflow.parentRunId"] == runs["v2"].info.run_id
    assert window.data.params["window"] == "2"
    assert window.info.status == "FINISHED"
    artifacts = [a.path for a in client.list_artifacts(window.info.run_id)]
    assert artifacts == ["report.html"]
    watched.check()
    assert set(watched.runs()) == set(runs)


def test_what_drifts_is_told_of_once_it_stays(watched: Watched) -> None:
    watched.ask()
    watched.ask(change=shifted(0.8))
    watched.end()
    found = watched.check()
    assert "drift:a" in names(found)
    assert found["decision"]["action"] == "nothing"  # one window is not enough
    watched.ask(change=shifted(0.8))
    watched.end()
    found = watched.check(3)
    assert found["decision"]["action"] == "alert"
    assert "drift:a" in found["decision"]["about"]
    assert "a moved by" in " ".join(found["decision"]["reasons"])
    watched.ask(change=shifted(0.8))
    watched.end()
    found = watched.check()
    assert found["decision"]["action"] == "nothing"
    assert "this was told of in one of the last windows" in found["decision"]["held"]
    (act,) = watched.shell.json("monitor", "status")["acts"]
    assert (act["action"], act["state"]) == ("alert", "done")


def test_where_evidently_is_installed_its_report_lies_beside_ours(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "evidently")
    if importlib.util.find_spec("evidently") is None:
        pytest.skip("Evidently is not installed (understudy[evidently])")
    watched.ask()
    watched.ask(change=lambda rows: rows.assign(a=rows["a"] * 100))
    watched.end()
    assert watched.check(3)["decision"]["action"] == "alert"
    client = mlflow.MlflowClient(watched.shell.tiny.uri)
    pages = {
        name: {kept.path for kept in client.list_artifacts(run.info.run_id)}
        for name, run in watched.runs().items()
    }
    assert "evidently.html" in pages["window 2"]
    assert "evidently.html" not in pages["window 1"]  # in which there was nothing to look at


def test_what_looks_broken_is_told_of_at_once(watched: Watched) -> None:
    watched.ask()
    watched.ask(change=lambda rows: rows.assign(a=rows["a"] * 100))
    watched.end()
    found = watched.check(3)
    assert found["decision"]["action"] == "alert"
    assert {"jump:a", "outside:a"} <= set(found["decision"]["about"])


def test_what_looks_broken_is_told_of_though_the_next_window_is_sound(watched: Watched) -> None:
    watched.ask()
    watched.ask(change=lambda rows: rows.assign(a=rows["a"] * 100))
    watched.ask()
    watched.end()
    found = watched.check(3)
    assert len(found["windows"]) == 3
    assert "jump:a" in found["decision"]["about"]
    assert any(r.startswith("window 2: a ") for r in found["decision"]["reasons"])
    shown = watched.shell.json("monitor", "status")["windows"]
    assert "judged together with window 3" in shown[0]["decision"]["held"][0]
    assert watched.check()["decision"]["action"] == "nothing"


def test_a_feature_that_is_gone(watched: Watched) -> None:
    watched.ask()
    watched.ask(change=lambda rows: rows.drop(columns="b"))
    watched.end()
    found = watched.check(3)
    assert "gone:b" in found["decision"]["about"]


def test_a_window_in_which_nobody_asked(watched: Watched) -> None:
    watched.params(window_rows=None, window_hours=1 / 60, back_days=1)
    watched.ask(ago=HOUR)
    found = watched.check(3)
    windows = found["windows"]
    assert len(windows) > 20
    assert sum(w["rows"] for w in windows) == ROWS
    empty = next(w for w in windows if not w["rows"])
    assert names({"windows": [empty]}) == {"empty"}
    assert [w["number"] for w in windows] == list(
        range(windows[0]["number"], windows[-1]["number"] + 1)
    )
    assert all(w["until"] - w["since"] == pytest.approx(60) for w in windows)


def test_a_window_in_which_nothing_was_answered(watched: Watched) -> None:
    watched.params(window_rows=None, window_hours=1 / 60, back_days=1)
    into = time.time() % 60  # no minute ends in the middle of a window's rows
    watched.ask(ago=HOUR + into)
    watched.ask(ago=HOUR - 120 + into)
    with watched.log.begin() as connection:
        connection.execute(sa.text("UPDATE predictions SET status = 500 WHERE id LIKE 'p2-%'"))
    found = watched.check(3)
    assert "none of 400 requests in this window was answered" in " ".join(
        found["decision"]["reasons"]
    )


def test_rows_of_one_moment_are_one_window(watched: Watched) -> None:
    watched.ask(ROWS)
    with watched.log.begin() as connection:
        connection.execute(sa.text("UPDATE predictions SET time = 1000 + :now"), {"now": 1.7e9})
    watched.params(window_rows=100, back_days=10_000)
    watched.end()
    found = watched.check()
    assert [w["rows"] for w in found["windows"]] == [ROWS]


# Labels


def test_labels_that_come_late_are_measured_when_they_are_there(watched: Watched) -> None:
    ids = watched.ask()
    truth = table(ROWS, 101)["y"].tolist()
    watched.end()
    found = watched.check()
    assert found["windows"][0]["quality"][0]["metrics"] == []
    assert "performance/roc_auc" not in watched.runs()["window 1"].data.metrics
    watched.tell(ids[:300], truth[:300])
    assert watched.check()["labels_anew"] == 1
    shown = watched.runs()["window 1"].data.metrics
    assert shown["labels/coverage"] == 0.75
    assert 0.6 < shown["performance/roc_auc"] < 1
    assert "estimate/roc_auc" in shown
    assert watched.check()["labels_anew"] == 0


def test_labels_that_are_replaced_are_measured_anew(watched: Watched) -> None:
    ids = watched.ask(labels=right)
    watched.end()
    (quality,) = watched.check()["windows"][0]["quality"]
    assert watched.check()["labels_anew"] == 0
    truth = table(ROWS, 101)["y"]
    watched.tell(ids, flipped(truth))
    assert _monitor(watched).check().again == 1
    (window,) = watched.shell.json("monitor", "status")["windows"]
    before, after = quality["metrics"][0], window["quality"][0]["metrics"][0]
    assert before["metric"] == after["metric"] == "roc_auc"
    assert after["value"] == pytest.approx(1 - before["value"])


def test_labels_of_no_class_and_from_the_future_are_counted_and_not_used(watched: Watched) -> None:
    ids = watched.ask()
    truth = table(ROWS, 101)["y"].tolist()
    watched.tell(ids[:300], truth[:300])
    watched.tell(ids[300:320], ["perhaps"] * 20)
    watched.tell(ids[320:330], truth[320:330], moment=time.time() + 3 * 86400)
    watched.tell(["nobody"], ["yes"])
    watched.tell(ids[:10], flipped(pd.Series(truth[:10])))  # another value: the newer one counts
    watched.end()
    (quality,) = watched.check()["windows"][0]["quality"]
    assert (quality["labelled"], quality["unusable"]) == (330, 30)
    assert quality["metrics"][0]["rows"] == 300


def test_outcomes_that_turn_over_look_broken(watched: Watched) -> None:
    watched.ask(labels=lambda _: ["no"] * 350 + ["yes"] * 50)
    watched.ask(labels=lambda _: ["yes"] * 350 + ["no"] * 50)
    watched.end()
    found = watched.check(3)
    assert "labels" in found["decision"]["about"]
    assert "12% are no, and 88% in the window before" in found["decision"]["reasons"][0]


def test_a_model_that_does_worse_is_told_of_by_its_labels(watched: Watched) -> None:
    for _ in range(2):
        watched.ask(labels=random)
    watched.end()
    found = watched.check(3)
    assert "performance" in found["decision"]["about"]
    assert "no retraining: monitor.retrain is off" in found["decision"]["held"]
    assert "no rollback: monitor.rollback is off" not in found["decision"]["held"]  # v1: unknown


# Acting


def test_a_version_that_does_worse_than_the_former_one_is_taken_back(watched: Watched) -> None:
    watched.params(rollback=True)
    kept = watched.kept
    for number in (1, 2):  # what v1 showed before
        window = _former(number)
        kept.keep(window, None)
    kept.close()
    for _ in range(2):
        watched.ask(labels=random)
    watched.end()
    found = watched.check(3)
    assert found["decision"]["action"] == "rollback", found["decision"]
    assert "v1" in found["did"]
    assert watched.decisions()[-1] == ("rollback", "auto:monitor", 1)
    assert watched.shell.json("status")["production"] == 1
    again = watched.check()
    assert again["decision"]["action"] == "nothing"


def _former(number: int) -> Any:
    from monitoring.findings import Finding, Judged

    good = Finding("performance", "", "roc_auc", 0.0, 0.05, False, False, "it does well")
    start = time.time() - 2 * HOUR + number
    return Judged("m", number, start, start + 1, ROWS, 1, (good,))


def test_to_what_no_person_ever_promoted_no_program_goes_back(
    watched: Watched, registered_store: Path, tmp_path: Path
) -> None:
    shutil.copy2(registered_store, watched.shell.tiny.uri.removeprefix("sqlite:///"))
    _live(watched.shell.tiny.uri, tmp_path, ("auto:x", "ana"))
    watched.params(rollback=True)
    for number in (1, 2):
        watched.kept.keep(_former(number), None)
    for _ in range(2):
        watched.ask(labels=random)
    watched.end()
    found = watched.check(3)
    assert (found["decision"]["action"], found["state"]) == ("rollback", "failed")
    assert "no person has ever promoted v1 to Production" in found["did"]
    assert watched.decisions()[-1] == ("promote", "ana", 2)


@pytest.fixture
def due(watched: Watched) -> Watched:
    """A retraining is called for."""
    watched.params(retrain="staging")
    for _ in range(2):
        watched.ask(labels=random)
    watched.end()
    return watched


def test_a_retraining_waits_for_data_that_is_newer(due: Watched) -> None:
    found = due.check(3)
    assert (found["decision"]["action"], found["state"]) == ("retrain", "waiting")
    assert found["did"].endswith("no .dvc file names a data version")
    assert due.check(3)["state"] == "waiting"
    acts = due.shell.json("monitor", "status")["acts"]
    assert [a["state"] for a in acts] == ["waiting"]  # told of once


def test_a_data_command_that_fails_is_a_failed_retraining_with_its_cool_down(due: Watched) -> None:
    due.params(retrain="staging", data_command="sh -c 'echo no way to it >&2; exit 3'")
    found = due.check(3)
    assert found["state"] == "failed"
    assert "failed: no way to it" in found["did"]
    again = due.check()
    assert any("monitor.cool_down is 5" in why for why in again["decision"]["held"])


def test_a_retraining_that_fails_registers_nothing_and_cools_down(due: Watched) -> None:
    """The project has data of a new version, and no pipeline."""
    _with_data(due, table(600, 9))
    before = due.decisions()
    found = due.check(3)
    assert found["state"] == "failed", found
    assert "the retraining failed (" in found["did"]
    log = Path(found["did"].rpartition("all it said is in ")[2])
    assert log.read_text()
    assert due.decisions() == before
    assert due.check()["decision"]["action"] == "nothing"
    (act,) = due.shell.json("monitor", "status")["acts"]
    assert (act["action"], act["state"]) == ("retrain", "failed")


def test_what_failed_is_tried_again_with_the_same_data(due: Watched) -> None:
    due.params(retrain="staging", cool_down=0)
    _with_data(due, table(600, 9))
    for _ in range(2):
        assert due.check(3)["state"] == "failed"


def test_a_pipeline_that_a_dead_monitor_left_is_ended(due: Watched) -> None:
    _with_data(due, table(600, 9))
    (due.shell.root / "MLproject").write_text(
        "name: slow\nentry_points:\n  main:\n    command: 'sleep 300 & sleep 300'\n"
    )
    with subprocess.Popen(["understudy", "monitor", "check"], stderr=subprocess.PIPE) as monitor:
        end = time.monotonic() + 200
        while not (noted := due.kept.fact("pipeline")) or not _children(noted["pid"]):
            assert time.monotonic() < end
            assert monitor.poll() is None
            time.sleep(0.2)
        monitor.kill()
    assert _children(noted["pid"])
    with due.kept._connected() as connection:  # its turn is over
        connection.execute(sa.text("UPDATE monitor_turns SET until = 0"))
    due.check()
    assert not _children(noted["pid"])
    (act,) = due.shell.json("monitor", "status")["acts"]
    assert (act["state"], act["sentence"]) == (
        "failed",
        "retraining; the monitor ended in the middle of it, and its pipeline was ended now",
    )


def _children(group: int) -> list[str]:
    """What sleeps in a group of processes."""
    listed = subprocess.run(["ps", "-eo", "pgid=,args="], capture_output=True, text=True).stdout
    lines = (line.split(maxsplit=1) for line in listed.splitlines())
    return [args for pgid, args in lines if pgid == str(group) and args.startswith("sleep 300")]


def _with_data(watched: Watched, rows: pd.DataFrame) -> None:
    root = watched.shell.root
    (root / "data").mkdir()
    rows.to_csv(root / "data/rows.csv", index=False)
    (root / "data.dvc").write_text("outs:\n- md5: 0123.dir\n  path: data\n")
    path = root / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["data"] = {"path": "data", "target": "y", "problem": "binary", "positive": "yes"}
    path.write_text(yaml.safe_dump(raw))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda rows: rows.assign(a=rows["a"] * 100), "a "),
        (lambda rows: rows.assign(y="yes").assign(y=np.where(rows.index < 5, "no", "yes")),
         "the outcomes jump to"),
    ],
)  # fmt: skip
def test_data_that_looks_broken_is_not_learnt(
    due: Watched, change: Callable[[pd.DataFrame], pd.DataFrame], why: str
) -> None:
    _with_data(due, change(table(600, 9)))
    found = due.check(3)
    assert found["state"] == "refused"
    assert found["did"].startswith("the new data is not learnt: rows 1 to ")
    assert why in found["did"]


def test_a_mute_holds_everything_until_it_ends(due: Watched) -> None:
    said = due.shell("monitor", "mute", "--hours", "2", "--reason", "the fair").stdout
    assert "m: muted by tester until " in said
    found = due.check()
    assert found["decision"]["held"][0].startswith("muted by tester until ")
    assert found["muted"].endswith(": the fair")
    assert due.shell("monitor", "unmute").stdout.startswith("m: goes on")
    assert due.check(3)["decision"]["action"] == "retrain"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--actor", "auto:x"), "to mute is a person's"),
        (("--actor", " "), "who mutes needs a name"),
        (("--actor", "a\nb"), "who mutes needs a name"),
    ],
)
def test_who_may_not_mute(watched: Watched, options: tuple[str, ...], sentence: str) -> None:
    assert sentence in watched.shell.refused("monitor", "mute", *options)


# What may be away


def test_while_the_registry_is_away_findings_are_kept_and_shown_later(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.ask()
    watched.end()
    watched.check()
    here = watched.shell.tiny.uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    watched.params(retrain="staging")
    for _ in range(2):
        watched.ask(labels=random)
    watched.end()
    found = watched.check(3)
    assert [w["version"] for w in found["windows"]] == [2, 2]
    assert found["decision"]["action"] == "alert"
    assert any(why.startswith("no retrain: ") for why in found["decision"]["held"])
    assert "what is found is shown in MLflow later" in found["problems"][0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here)
    watched.check(3)
    assert {"window 1", "window 2", "window 3"} <= set(watched.runs())


def test_a_registry_that_was_never_there(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "connection refused" in watched.shell.refused("monitor", "check")


def test_nothing_is_live(registered: Shell) -> None:
    said = registered.refused("monitor", "check")
    assert "m has no version in Production, so there is nothing to compare with" in said


def test_no_log(watched: Watched) -> None:
    watched.log.dispose()
    (watched.shell.root / ".understudy/predictions.db").unlink()
    assert "no prediction log" in watched.shell.refused("monitor", "check").lower()
    path = watched.shell.root / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**raw, "serve": {"records": "off"}}))
    for command in ("check", "status"):
        said = watched.shell.refused("monitor", command)
        assert "`serve.records: off`, and monitoring reads the prediction log" in said


def test_a_reference_that_is_missing_is_told_of_and_nothing_is_judged(watched: Watched) -> None:
    store = Store(watched.shell.tiny.uri)
    run = store.shown("m").versions[2].run_id
    client = mlflow.MlflowClient(watched.shell.tiny.uri)
    folder = Path(client.get_run(run).info.artifact_uri.removeprefix("file://")) / "understudy"
    aside = folder.with_name("aside")
    folder.rename(aside)
    try:
        watched.ask()
        watched.end()
        found = watched.check(3)
    finally:
        aside.rename(folder)
    assert found["decision"]["action"] == "alert"
    assert found["windows"][0]["problem"].startswith("v2 cannot be monitored: its run carries no")


# Two monitors


def test_two_at_once_and_one_that_died(watched: Watched) -> None:
    watched.ask()
    watched.end()
    kept = watched.kept
    with kept.turn():
        assert "is looking at m at this moment" in watched.shell.refused("monitor", "check")
    from monitoring.decide import Act

    kept.begin(Act("retrain", 1, ("performance",), 2, "begun"), "retraining")
    kept.close()
    watched.check()
    (act,) = watched.shell.json("monitor", "status")["acts"]
    assert (act["state"], act["sentence"]) == (
        "failed",
        "retraining; the monitor ended in the middle of it",
    )


def test_ctrl_c_in_a_retraining_ends_it_and_says_so(
    due: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_data(due, table(600, 9))

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(retrain, "retrain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _monitor(due).check()
    (act,) = due.shell.json("monitor", "status")["acts"]
    assert act["sentence"] == "the retraining ended by KeyboardInterrupt"
    assert due.check()["decision"]["action"] == "nothing"


def _monitor(watched: Watched) -> Monitor:
    from cli.monitor import _setting

    del watched
    return Monitor(_setting(None), lambda _: None)


# What is printed


def test_what_a_person_reads(watched: Watched) -> None:
    assert "no window was judged yet" in watched.shell("monitor", "status").stdout
    assert "m: no new window is over" in watched.shell("monitor", "check").stdout
    for _ in range(2):
        watched.ask(change=shifted(0.8), labels=right)
    watched.end()
    done = watched.shell("monitor", "check", code=3)
    assert f"window 1: {ROWS} rows of v2, " in done.stdout
    assert "decision: alert: " in done.stdout
    assert done.stderr.startswith("ALERT m: ")
    shown = watched.shell("monitor", "status").stdout
    assert "roc_auc 0." in shown
    assert "found: a moved by" in shown
    assert "alert done: " in shown
    gauges = (watched.shell.root / ".understudy/monitor.prom").read_text()
    assert 'understudy_monitor_finding{column="a",kind="drift",model="m"} 1.0' in gauges
    assert 'understudy_monitor_decision{action="alert",model="m"} 1.0' in gauges
    assert 'understudy_monitor_label_coverage{model="m",version="2"} 1.0' in gauges


def test_a_watch_looks_again_answers_prometheus_and_ends_by_ctrl_c(watched: Watched) -> None:
    watched.ask()
    watched.end()
    command = ["understudy", "monitor", "watch", "--every", "0.3", "--metrics-port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("metrics are at ").strip()
        assert process.stdout.readline() == "looking at m every 0.3 s; Ctrl-C ends it\n"
        assert "window 1: 400 rows of v2, no findings" in process.stdout.readline()
        watched.ask(change=lambda rows: rows.assign(a=rows["a"] * 100))
        watched.end()
        for line in process.stdout:
            if line.startswith("decision: alert"):
                break
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310
            assert b'understudy_monitor_broken{model="m"} 1.0' in answer.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out.splitlines()[-1]) == (0, "ended")
    assert "ALERT m: " in err


def test_a_watch_that_a_service_manager_stops_ends_well(watched: Watched) -> None:
    with subprocess.Popen(
        ["understudy", "monitor", "watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("looking at m every ")
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "ended\n", "")


def test_a_port_that_is_taken(watched: Watched) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = watched.shell.refused("monitor", "watch", "--metrics-port", port)
    assert said == (
        f"cannot listen at 127.0.0.1:{port} (Address already in use); choose another --metrics-port"
    )


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"of": 2, "at_least": 3}, "at_least cannot be more than of"),
        ({"retrain": "always"}, "monitor.retrain is 'always'"),
        ({"drift": {"numeric": 0}}, "monitor.drift.numeric is 0"),
        ({"quality": {"drops": 1}}, "unknown key monitor.quality.drops"),
        ({"webhook": "hook"}, "an address begins with http:// or https://"),
        ({"window_rows": 1}, "monitor.window_rows is 1"),
        ({"window_hours": 1}, "a window has window_hours or window_rows, and both are given"),
        ({"mail_server": "host:abc"}, "monitor.mail_server is 'host:abc': it is written as HOST"),
        ({"mail_to": ["ana@example.org\nbcc: x"]}, "is no address of a person"),
        ({"data_command": "'"}, 'monitor.data_command is "\'": a shell cannot read it'),
        ({"data_command": " "}, "it is empty; leave it out where there is none"),
        ({"retrain": "production"}, "gate.automation lets programs go no farther than staging"),
    ],
)
def test_mistakes_in_params(watched: Watched, section: dict[str, Any], sentence: str) -> None:
    watched.params(**section)
    assert sentence in watched.shell.refused("monitor", "check")


def test_columns_that_no_version_has_are_told_of(watched: Watched) -> None:
    watched.params(drift={"ignore": ["tmep", "a"]}, quality={"slices": ["nope"]})
    watched.ask()
    watched.end()
    assert watched.check()["problems"] == [
        "monitor.drift.ignore names tmep, and v2 takes a, b",
        "monitor.quality.slices names nope, and v2 takes a, b",
    ]
