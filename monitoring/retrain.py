"""Retrains through the MLproject's main entry point, and brings the version as far as it may go."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from monitoring import pipeline_process, training_data
from monitoring.baseline import Baseline
from monitoring.pipeline_process import Pipeline
from monitoring.sections import MonitorParams
from registry import judge, lineage, projection, promote
from registry.errors import GateRefused, UnderstudyError
from registry.judge import Case
from registry.promote import Wish
from registry.sections import GateParams
from registry.stages import Stage
from registry.state import state_of
from registry.store import Store

AUTO = "auto:monitor"
"""Actor of what the monitor enters into the ledger."""
RUN = Path("artifacts/train/run.json")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """What came of it."""

    state: Literal["done", "refused", "failed", "waiting"]
    """waiting: there was nothing newer to learn from, and nothing was tried."""
    sentence: str
    version: int | None = None


@dataclass(frozen=True)
class Task:
    """What is asked for."""

    root: Path
    uri: str
    model: str
    live: Baseline
    reason: str
    policy: MonitorParams
    gates: GateParams
    rule: Mapping[str, Any]
    """The section `experiment`, for a canary."""
    log: Path
    tried: str = ""
    """Data version of the last attempt; the same one is not tried again."""


def newest_data(task: Task, say: Say) -> str:
    """The md5 of the newest data version, brought into the working copy where a command does that.

    Raises CommandFailed.
    """
    if command := task.policy.data_command:
        say(f"asking for newer data: {command}")
        try:
            done = subprocess.run(
                shlex.split(command), cwd=task.root, capture_output=True, text=True, timeout=3600
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise CommandFailed(command, type(error).__name__) from None
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise CommandFailed(command, lines[-1][:200] if lines else f"code {done.returncode}")
    return lineage.data_md5(task.root)


class CommandFailed(UnderstudyError):
    """monitor.data_command did not end well."""

    def __init__(self, command: str, why: str) -> None:
        super().__init__(f"monitor.data_command {command!r} failed: {why}")


def waits(task: Task, md5: str) -> str:
    """Why there is nothing to learn from yet; empty where there is."""
    if not md5:
        return "no .dvc file names a data version"
    if md5 == task.live.data_md5:
        return f"the newest data version is the one that v{task.live.version} was trained on"
    if md5 == task.tried:
        return "the newest data version is the one of the last attempt"
    return ""


def retrain(
    task: Task, alive: Callable[[], None], began: Callable[[Pipeline | None], None], say: Say
) -> Result:
    """Check the data, run the pipeline, pass the gates. Never raises UnderstudyError.

    `alive` is called every second while it lasts, and ends it by raising. `began` is given the
    pipeline's processes, and None once they are over. Ctrl-C ends the pipeline's processes and is
    raised again.
    """
    try:
        if refused := training_data.problems(task.root, task.live, task.policy):
            return Result("refused", f"the new data is not learnt: {'; '.join(refused)}")
        say("the new data looks sound; the pipeline runs")
        before = _last_run(task.root)
        _run(task, alive, began)
        run = _last_run(task.root)
        version = _version(task, run)
        if run == before or version is None:
            return Result("refused", "the pipeline ran and made no new version")
        return _advance(task, version, say)
    except UnderstudyError as error:
        return Result("failed", str(error))


class PipelineFailed(UnderstudyError):
    """`mlflow run` of the main entry point did not end well; nothing was registered."""

    def __init__(self, why: str, log: Path) -> None:
        super().__init__(f"the retraining failed ({why}); all it said is in {log}")


def _run(task: Task, alive: Callable[[], None], began: Callable[[Pipeline | None], None]) -> None:
    """`mlflow run .`, the whole pipeline. Raises PipelineFailed."""
    command = [sys.executable, "-m", "mlflow", "run", ".", "--env-manager", "local"]
    command += ["--experiment-name", task.model]
    beside = str(Path(sys.executable).parent)
    # Whoever starts the monitor may have an experiment of his own set.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_EXPERIMENT_")}
    environment = {
        **kept,
        "PATH": os.pathsep.join([beside, os.environ.get("PATH", "")]),
        "MLFLOW_TRACKING_URI": task.uri,
        "UNDERSTUDY_ACTOR": AUTO,
        "UNDERSTUDY_REASON": task.reason[: promote.REASON_LIMIT],
    }
    task.log.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + task.policy.retrain_minutes * 60
    with task.log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=task.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        began(Pipeline.of(process.pid))
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
                break
            alive()
            if time.monotonic() > end:
                raise PipelineFailed(f"after {task.policy.retrain_minutes:g} minutes", task.log)
    finally:
        pipeline_process.end_group(process.pid)
        began(None)
    if process.returncode:
        raise PipelineFailed(_last_error(task.log, process.returncode), task.log)


def _last_error(log: Path, code: int) -> str:
    lines = [li.strip() for li in log.read_text(errors="replace").splitlines() if li.strip()]
    errors = [li for li in lines if li.lower().startswith(("error", "error:"))]
    said = (errors or lines or [f"code {code}"])[-1]
    return said[:300]


def _last_run(root: Path) -> str:
    try:
        return str(json.loads((root / RUN).read_text())["run_id"])
    except (OSError, ValueError, KeyError):
        return ""


def _version(task: Task, run: str) -> int | None:
    """The version that a run became, once the ledger knows it."""
    store = Store(task.uri)
    known = state_of(projection.read(store, task.model)).stages
    versions = store.shown(task.model).versions.values()
    return next((v.number for v in versions if v.run_id == run and v.number in known), None)


def _advance(task: Task, version: int, say: Say) -> Result:
    """Through the gates, as far as `monitor.retrain` says. Raises UnderstudyError."""
    wish = Wish(AUTO, task.reason[: promote.REASON_LIMIT])
    goal = task.policy.retrain
    try:
        if goal == "canary":
            return _canary(task, version, wish, say)
        stage = Stage.PRODUCTION if goal == "production" else Stage.STAGING
        with _folder() as folder:
            promote.promote(
                Store(task.uri), task.model, version, to=stage, params=task.gates, wish=wish,
                folder=folder, say=say,
            )  # fmt: skip
    except GateRefused as refused:
        return Result("refused", f"v{version} was trained and refused: {refused}", version)
    return Result("done", f"v{version} was trained and went to {stage}", version)


def _canary(task: Task, version: int, wish: Wish, say: Say) -> Result:
    """A share of the traffic, once it passes every gate that Production asks for."""
    store = Store(task.uri)
    found, shown = projection.look(store, task.model)
    champion = state_of(found).production
    with _folder() as folder:
        case = Case(task.model, version, Stage.PRODUCTION, champion, found, shown)
        where = folder / "all"
        where.mkdir()
        said = judge.judge(store, case, task.gates, folder=where, say=say)
        if not said.verdict.passed:
            why = "; ".join(said.verdict.failures)
            return Result("refused", f"v{version} was trained and refused: {why}", version)
        promote.challenge(
            store, task.model, version, mode="canary", weight=task.policy.canary_weight,
            rule=task.rule, params=task.gates, wish=wish, folder=folder, say=say,
        )  # fmt: skip
    share = f"{task.policy.canary_weight:.0%}"
    return Result("done", f"v{version} was trained and gets {share} of the traffic", version)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        yield Path(folder)
