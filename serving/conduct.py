"""Begins, ends and acts upon the experiments of one model, and the guard after a promotion.

A verdict against the challenger takes its traffic away in the same step of the event loop; the
ledger hears of it then, again and again until it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.evidence import Verdict
from registry.errors import GateRefused, IllegalMove, NoExperiment, UnderstudyError
from registry.traffic import GUARD, SHADOW, Traffic
from serving.audition import Failed
from serving.batch import Limits, Line, Told
from serving.crew import Crew, Say
from serving.decisions import Decisions
from serving.guard import Guard
from serving.records import Log
from serving.sections import ServeParams
from serving.served import NotStarted
from serving.split import Split
from serving.watch import Live, Unfit, Wanted, keep

if TYPE_CHECKING:
    from serving.follow import Follower

DRAIN = 0.1
"""Seconds that running calls of a challenger get when its traffic is taken away; then the champion
is asked instead."""
TRIES = 3
"""Times that a challenger is started before the experiment is called off."""
AGAIN = 5.0
"""Seconds until something is tried again that the registry did not take."""
START_AGAIN = 30.0

Result = TypeVar("Result")


@dataclass(eq=False)
class Trial:
    """What runs for one experiment."""

    traffic: Traffic
    guard: Guard
    split: Split | None = None
    """Once the challenger answers."""
    is_open: bool = False
    work: asyncio.Task[None] | None = None
    said: set[str] = field(default_factory=set)
    """What was decided or told once."""

    def report(self, *, ended: bool = False) -> dict[str, Any]:
        """For JSON."""
        dropped = self.split.dropped if self.split else 0
        return self.guard.report(dropped=dropped, is_open=self.is_open, ended=ended)


def _next_step(trial: Trial) -> float | None:
    """The next weight of a canary; all of the traffic is no step, but a promotion."""
    if trial.traffic.mode != "canary":
        return None
    steps = trial.guard.rule.steps
    return next((w for w in steps if trial.traffic.weight < w < 1), None)


class Conductor:
    """Of one model's experiments; `follower` starts versions and knows what is live.

    `rule` (experiments.rule.Rule) holds for the guard after a promotion, `automation` is that of
    the gates.
    """

    def __init__(
        self,
        follower: Follower,
        decisions: Decisions,
        *,
        params: ServeParams,
        limits: Limits,
        log: Log | None,
        rule: Mapping[str, Any],
        automation: str,
        told: Told,
        folder: Path,
        say: Say,
    ) -> None:
        self._follower, self._decisions = follower, decisions
        self._params, self._limits, self._log, self._rule = params, limits, log, rule
        self._automation, self._told, self._say = automation, told, say
        self._path = folder / "stopped.json"
        self._stopped: dict[str, dict[str, Any]] = self._remembered()
        """Experiments that ended here, by their verdicts, until the ledger says so, too."""
        self._telling: set[str] = set()
        self._up = time.time()
        self._guarded = ""
        """The promotion after which all was guarded that there was to guard."""
        self._trial: Trial | None = None
        self._last: dict[str, Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._deciding = ThreadPoolExecutor(1, thread_name_prefix="conduct")

    # For requests and for who looks

    @property
    def split(self) -> Split | None:
        """Through which requests go, None while they all are the live version's."""
        trial = self._trial
        return trial.split if trial is not None and trial.is_open else None

    @property
    def crew(self) -> Crew | None:
        """The challenger's, but not that of the former version while it helps to guard."""
        trial = self._trial
        if trial is None or trial.split is None or trial.traffic.mode == GUARD:
            return None
        return trial.split.crew

    def expire(self, now: float) -> None:
        """Answer those who waited for too long."""
        if self._trial is not None and self._trial.split is not None:
            self._trial.split.line.expire(now)

    def report(self) -> dict[str, Any] | None:
        """The experiment that goes on, or the last one."""
        return self._trial.report() if self._trial is not None else self._last

    # Following the ledger

    def settle(self, wanted: Wanted) -> Crew | None:
        """End what the ledger has ended; a challenger's crew, where that is now to be live."""
        trial = self._trial
        if trial is None or self._goes_on(trial, wanted):
            return None
        production = wanted.production
        split = trial.split
        promoted = (
            split is not None
            and not split.shadows
            and production is not None
            and production.version == trial.traffic.challenger
            and split.crew.running > 0
        )
        if promoted and split is not None:
            # Before the lines are one, so that nobody who is handed over is asked of the former.
            self._follower.line.flip(split.crew.pool)
        if trial.traffic.mode != GUARD:
            went = production is not None and production.version == trial.traffic.challenger
            what = "was promoted" if went else "gets no traffic any more, by the ledger"
            trial.guard.decided = f"v{trial.traffic.challenger} {what}"
        self._end(trial, keep=promoted)
        return split.crew if promoted and split is not None else None

    def _goes_on(self, trial: Trial, wanted: Wanted) -> bool:
        known, now = trial.traffic, wanted.traffic
        if known.mode != GUARD:
            return now is not None and now.experiment == known.experiment
        production, split = wanted.production, trial.split
        stands_by = split is None or split.crew is self._follower.understudy
        same = production is not None and production.version == known.challenger
        return now is None and same and stands_by

    def pursue(self, wanted: Wanted) -> None:
        """Begin what the ledger has begun, once what it rests upon is there."""
        now, trial = wanted.traffic, self._trial
        if now is None:
            if trial is None:
                self._guard_promotion(wanted)
            return
        if trial is not None:
            if now != trial.traffic:
                trial.traffic = now
                trial.said.clear()
                trial.guard.reweighed(now)
                if trial.split is not None:
                    trial.split.traffic = now
            return
        live = self._follower.live
        if now.experiment in self._stopped:
            self._tell(now)
        elif wanted.challenger is not None and live is not None and live.version == now.champion:
            trial = self._trial = Trial(now, Guard(now, self._log, self._up))
            trial.work = self._keep(self._conduct(trial, wanted.challenger))

    def _guard_promotion(self, wanted: Wanted) -> None:
        """Compare the live version with its former one for a while."""
        follower, promotion, minutes = self._follower, wanted.promotion, self._params.guard_minutes
        live, former = follower.live, follower.understudy
        if promotion is None or not minutes or promotion.entry == self._guarded:
            return
        left = minutes * 60 - promotion.age
        if left <= 0 or live is None or live.version != promotion.version:
            return
        if former is None or not follower.rollback_ready:
            return
        traffic = Traffic(
            former.version,
            live.version,
            GUARD,
            self._params.guard_share,
            promotion.entry,
            promotion.time,
            self._rule,
        )
        trial = self._trial = Trial(traffic, Guard(traffic, self._log, self._up))
        trial.work = self._keep(self._watch_over(trial, former, left))

    # One experiment

    async def _conduct(self, trial: Trial, challenger: Live) -> None:
        """From the challenger's start to the verdict."""
        own = self._line(trial.traffic)
        crew = await self._start(trial, challenger, own)
        if crew is None:
            return
        split = Split(trial.traffic, crew, own, trial.guard, self._params.timeout)
        split.champions = self._follower.line
        trial.guard.is_away = lambda: split.is_away(time.monotonic())
        own.flip(crew.pool)
        trial.split = split
        await trial.guard.restore(split.seen)
        await self._judge_until_done(trial)

    def _line(self, traffic: Traffic) -> Line:
        """For the version that is asked beside the live one; unheard, nobody is asked for twice."""
        heard = traffic.mode not in (SHADOW, GUARD)
        limits = self._limits if heard else replace(self._limits, tries=1)
        return Line(limits, self._told)

    async def _start(self, trial: Trial, challenger: Live, own: Line) -> Crew | None:
        for attempt in range(1, TRIES + 1):
            try:
                heard = trial.traffic.mode != SHADOW
                crew = await self._follower.bring_challenger(challenger, own, heard=heard)
            except (Unfit, NotStarted, Failed) as error:
                why = f"v{challenger.version} could not be served: {error}"
            except Exception as error:  # whatever it is, the champion goes on
                kind = type(error).__name__
                why = f"v{challenger.version} could not be served ({kind}: {error})"
            else:
                trial.guard.hindrance = ""
                return crew
            trial.guard.hindrance = why
            self._say("challenger_refused", {"version": challenger.version, "reason": why})
            if attempt < TRIES:
                await asyncio.sleep(START_AGAIN)
        self._abort(trial, Verdict("abort", f"{trial.guard.hindrance}, {TRIES} times"))
        return None

    async def _watch_over(self, trial: Trial, former: Crew, seconds: float) -> None:
        """The live version beside the former one, after a promotion."""
        own = self._line(trial.traffic)
        split = Split(trial.traffic, former, own, trial.guard, self._params.timeout)
        trial.split = split
        await trial.guard.restore(split.seen)
        former.serve(own)
        own.flip(former.pool)
        facts = {"version": trial.traffic.challenger, "former": former.version}
        self._say("guarding", {**facts, "seconds": round(seconds)})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._judge_until_done(trial)
        if self._trial is trial:
            trial.guard.decided = "nothing was found that speaks against the promotion"
            self._guarded = trial.traffic.experiment
            self._end(trial)

    async def _judge_until_done(self, trial: Trial) -> None:
        verdict = trial.guard.judge()
        while verdict.decision != "abort":
            trial.is_open = True
            step = _next_step(trial)
            if verdict.decision == "promote" and step is None:
                self._good(trial, verdict)
            elif step is not None:
                self._step(trial, step, verdict)
            verdict = await trial.guard.look()
        if trial.traffic.mode == GUARD:
            await self._roll_back(trial, verdict)
        else:
            self._abort(trial, verdict)

    def _good(self, trial: Trial, verdict: Verdict) -> None:
        """Promote the challenger where a program may; otherwise say so, once."""
        traffic = trial.traffic
        if traffic.mode == GUARD or "promote" in trial.said:
            return
        trial.said.add("promote")
        facts = {"version": traffic.challenger, "reason": verdict.reason}
        self._say("verdict_promote", facts)
        if self._automation != "production":
            trial.guard.decided = (
                "a person decides (gate.automation): understudy promote "
                f"{traffic.challenger} --to production"
            )
            return
        trial.guard.decided = f"v{traffic.challenger} is on its way through the gates"
        self._keep(self._promote(trial, verdict))

    async def _promote(self, trial: Trial, verdict: Verdict) -> None:
        try:
            await self._in_thread(lambda: self._decisions.promote(trial.traffic, verdict.as_dict()))
        except UnderstudyError as error:
            trial.guard.decided = f"it could not be promoted: {error}"
            facts = {"version": trial.traffic.challenger, "reason": str(error)}
            self._say("not_promoted", facts)
            if not isinstance(error, IllegalMove | GateRefused):
                await asyncio.sleep(AGAIN)
                trial.said.discard("promote")
        await self._follower.look_now()

    def _step(self, trial: Trial, weight: float, verdict: Verdict) -> None:
        """The next weight of a canary, once enough was seen at this one and it looks good."""
        guard = trial.guard
        enough = guard.units_of_step >= guard.rule.step_units
        if "step" in trial.said or not enough or not guard.evidence.promising:
            return
        trial.said.add("step")
        if self._automation == "staging":
            guard.decided = (
                "the next step waits for a person (gate.automation): understudy traffic weight "
                f"{100 * weight:g}%"
            )
            self._say("step_waits", {"version": trial.traffic.challenger, "weight": weight})
            return
        self._keep(self._reweigh(trial, weight, verdict))

    async def _reweigh(self, trial: Trial, weight: float, verdict: Verdict) -> None:
        known = verdict.as_dict()
        try:
            await self._in_thread(lambda: self._decisions.reweigh(trial.traffic, weight, known))
        except UnderstudyError as error:
            trial.guard.decided = f"the next step could not be made: {error}"
            self._say("step_failed", {"weight": weight, "reason": str(error)})
            await asyncio.sleep(AGAIN)
            trial.said.discard("step")
        await self._follower.look_now()

    def _abort(self, trial: Trial, verdict: Verdict) -> None:
        """All requests to the champion now; the ledger hears of it next."""
        traffic, known = trial.traffic, verdict.as_dict()
        trial.guard.verdict = verdict
        trial.guard.decided = "its traffic was taken away"
        self._stopped[traffic.experiment] = known
        self._remember()
        self._say("aborted", {"version": traffic.challenger, "reason": verdict.reason})
        self._end(trial)
        self._tell(traffic)

    def _tell(self, traffic: Traffic) -> None:
        if traffic.experiment not in self._telling:
            self._telling.add(traffic.experiment)
            self._keep(self._tell_ledger(traffic))

    async def _tell_ledger(self, traffic: Traffic) -> None:
        known = self._stopped[traffic.experiment]
        try:
            while True:
                try:
                    await self._in_thread(lambda: self._decisions.stop(traffic, known))
                except NoExperiment:
                    break  # somebody else did
                except Exception as error:  # it has to be told, whatever comes in between
                    self._say("stop_not_written", {"reason": str(error)})
                    await asyncio.sleep(AGAIN)
                else:
                    break
        finally:
            self._telling.discard(traffic.experiment)
        await self._follower.look_now()

    async def _roll_back(self, trial: Trial, verdict: Verdict) -> None:
        """The former version is live again, by the ledger."""
        traffic, known = trial.traffic, verdict.as_dict()
        self._guarded = traffic.experiment
        facts = {"version": traffic.challenger, "former": traffic.champion}
        self._say("promotion_was_wrong", {**facts, "reason": verdict.reason})
        trial.is_open = False
        trial.guard.decided = f"v{traffic.champion} is made live again"
        while self._trial is trial:
            try:
                await self._in_thread(lambda: self._decisions.roll_back_from(traffic, known))
            except UnderstudyError as error:
                said, trial.guard.decided = trial.guard.decided, f"it was not rolled back: {error}"
                if said != trial.guard.decided:
                    self._say("not_rolled_back", {"reason": str(error)})
                if isinstance(error, IllegalMove):
                    return  # it stays so, and a person sees it
                await asyncio.sleep(AGAIN)
            else:
                await self._follower.look_now()
                return

    # Its end

    def _end(self, trial: Trial, *, keep: bool = False) -> None:
        """Give its requests to the live version; stop the challenger, unless its crew is kept."""
        self._trial = None
        trial.is_open = False
        if trial.work is not None and trial.work is not asyncio.current_task():
            trial.work.cancel()
        split, main = trial.split, self._follower.line
        if split is not None:
            split.line.dismiss(main) if split.shadows else split.line.hand_over(main)
            if trial.traffic.mode == GUARD:
                split.crew.serve(main)
            elif not keep:
                self._keep(self._leave(split.crew))
        trial.guard.close()
        self._last = trial.report(ended=True)
        self._say("experiment_ended", {"version": trial.traffic.challenger, "kept": keep})
        if sum(trial.guard.evidence.units):
            self._keep(self._publish(self._last))

    async def _leave(self, crew: Crew) -> None:
        await self._follower.line.drain(crew.pool, DRAIN)
        await crew.stop()

    async def _publish(self, report: dict[str, Any]) -> None:
        try:
            run = await self._in_thread(lambda: self._decisions.publish(report))
        except Exception as error:  # a report that is lost loses nothing else
            self._say("report_not_written", {"reason": str(error)})
        else:
            self._say("report_written", {"run": run})

    async def stop(self) -> None:
        """With the gateway: everything goes, nothing is decided."""
        trial, self._trial = self._trial, None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if trial is not None:
            trial.guard.close()
            if trial.split is not None and trial.traffic.mode != GUARD:
                await trial.split.crew.stop()
        self._deciding.shutdown(wait=False, cancel_futures=True)

    def _keep(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            name = type(error).__name__
            self._say("experiment_failed", {"reason": f"{name}: {error}"})
            if self._trial is not None and self._trial.work is task:
                # Nobody watches any more, so nobody gets the challenger's answers.
                self._abort(self._trial, Verdict("abort", f"its guard failed ({name})"))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._deciding, work)

    # What stays on this machine

    def _remembered(self) -> dict[str, dict[str, Any]]:
        try:
            found = json.loads(self._path.read_text())
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            return {}

    def _remember(self) -> None:
        """The verdicts that the ledger may not have yet; the last few are enough."""
        keep(self._path, dict(list(self._stopped.items())[-20:]))
