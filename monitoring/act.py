"""Carries a decision out: tells of it, takes a version back, or has the model retrained."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from monitoring import alerts, pipeline_process, retrain
from monitoring.baseline import Baseline
from monitoring.decide import Act, Decision
from monitoring.findings import Judged
from monitoring.kept import Kept, settle
from monitoring.pipeline_process import Pipeline
from monitoring.retrain import AUTO, Result, Task
from monitoring.setting import Setting
from monitoring.times import moment
from registry import promote
from registry.errors import UnderstudyError
from registry.promote import Wish
from registry.store import Store
from serving import nearby

Say = Callable[[str], None]

_PIPELINE = "pipeline"
"""Name of the fact that says which processes train."""
_THEN = {
    "alert": "understudy monitor status",
    "rollback": "understudy history",
    "retrain": "understudy status",
}


class Actor:
    """Acts for one model, while it is the monitor's turn."""

    def __init__(
        self, setting: Setting, kept: Kept, live: Callable[[], Baseline], say: Say
    ) -> None:
        """`live` gives the baseline of the version in Production."""
        self._set, self._kept, self._live, self._say = setting, kept, live, say

    def carry_out(
        self, decision: Decision, version: int, former: int | None, windows: Sequence[Judged]
    ) -> Result | None:
        """Do it, and tell of it; None where there is nothing to do. Raises MonitorStoreRefused.

        `version` is in Production and `former` would be after a rollback. What goes wrong with an
        act is its result.
        """
        if decision.action == "nothing":
            return None
        if decision.action == "alert":
            count = len(decision.reasons)
            done = Result("done", f"{count} finding{'s' * (count > 1)} in window {decision.window}")
            self._kept.begin(_act(decision, version, "done"), done.sentence)
        elif decision.action == "rollback":
            done = self._roll_back(decision, version, former)
        else:
            done = self._retrain(decision, version)
        if done.state == "waiting":
            if self._waits_already(decision):
                return done
            self._kept.begin(_act(decision, version, "waiting"), done.sentence)
        self._tell(decision, done, version, windows)
        return done

    def _waits_already(self, decision: Decision) -> bool:
        """Whether it was told in the cool-down that a retraining waits for data."""
        return any(
            deed.act.state == "waiting"
            and decision.window - deed.act.window < max(self._set.policy.cool_down, 1)
            for deed in self._kept.deeds()
        )

    def _roll_back(self, decision: Decision, version: int, former: int | None) -> Result:
        self._kept.require_turn()
        number = self._kept.begin(_act(decision, version, "begun"), f"rollback from v{version}")
        reason = alerts.first(decision.reasons)[: promote.REASON_LIMIT]
        try:
            done = promote.rollback(
                Store(self._set.uri),
                self._set.model,
                to=former,
                wish=Wish(AUTO, reason),
                params=self._set.gates,
                live=version,
            )
            nearby.poke(self._set.model)
            found = Result("done", done.plan.sentence, done.plan.version)
        except UnderstudyError as error:
            found = Result("failed", f"the rollback failed: {error}")
        self._kept.end(number, found.state, found.sentence)
        return found

    def _retrain(self, decision: Decision, version: int) -> Result:
        task = Task(
            self._set.root,
            self._set.uri,
            self._set.model,
            self._live(),
            f"window {decision.window}: {alerts.first(decision.reasons)}",
            self._set.policy,
            self._set.gates,
            self._set.rule,
            self._set.folder / "monitoring" / f"retraining-{decision.window}.log",
            self._kept.fact("data_tried") or "",
        )
        try:
            md5 = retrain.newest_data(task, self._say)
        except UnderstudyError as error:
            number = self._kept.begin(_act(decision, version, "begun"), "retraining")
            self._kept.end(number, "failed", str(error))
            return Result("failed", str(error))
        if why := retrain.waits(task, md5):
            return Result("waiting", f"a retraining is called for and waits: {why}")
        self._kept.require_turn()
        number = self._kept.begin(_act(decision, version, "begun"), "retraining")
        alerts.deliver(self._kept, self._set.policy, self._say)  # it may take hours
        self._say(f"retraining: {alerts.first(decision.reasons)}")
        try:
            found = retrain.retrain(task, self._kept.require_turn, self._began, self._say)
        except BaseException as error:  # Ctrl-C among them: it is over, and failed
            self._kept.end(number, "failed", f"the retraining ended by {type(error).__name__}")
            raise
        if found.state != "failed":  # what failed may come out otherwise the next time
            self._kept.note("data_tried", md5)
        self._kept.end(number, found.state, found.sentence)
        nearby.poke(self._set.model)
        return found

    def _began(self, pipeline: Pipeline | None) -> None:
        self._kept.note(_PIPELINE, pipeline and pipeline.as_dict())

    def _tell(
        self, decision: Decision, done: Result, version: int, windows: Sequence[Judged]
    ) -> None:
        newest = windows[-1]
        content = {
            "model": self._set.model,
            "action": decision.action,
            "state": done.state,
            "sentence": done.sentence,
            "reasons": decision.reasons,
            "held": decision.held,
            "version": version,
            "window": {
                "number": newest.number,
                "since": moment(newest.since),
                "until": moment(newest.until),
                "rows": newest.rows,
            },
            "time": time.time(),
            "then": f"`{_THEN[decision.action]}` shows more",
        }
        self._kept.alert(alerts.channels(self._set.policy), content)


def settle_all(kept: Kept, setting: Setting) -> None:
    """What a monitor that died had begun is over, and failed; somebody is told."""
    for deed in kept.deeds():
        if deed.act.state != "begun":
            continue
        over = settle(deed)
        if pipeline_process.end_left(kept.fact(_PIPELINE)):
            over = replace(over, sentence=f"{over.sentence}, and its pipeline was ended now")
        kept.note(_PIPELINE, None)
        kept.end(deed.id, over.act.state, over.sentence)
        content = {
            "model": setting.model,
            "action": deed.act.action,
            "state": "failed",
            "sentence": over.sentence,
            "version": deed.act.version,
            "time": time.time(),
        }
        kept.alert(alerts.channels(setting.policy), content)


def _act(decision: Decision, version: int, state: str) -> Act:
    return Act(decision.action, decision.window, decision.about, version, state)
