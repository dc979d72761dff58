"""One look: judge the windows that are over, decide, act, tell. Safe to repeat, whoever does it."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from monitoring import act, alerts, baseline, look, publish, spans
from monitoring.act import Actor
from monitoring.baseline import Baseline
from monitoring.calibration import Calibration
from monitoring.decide import Decision, Situation, decide
from monitoring.errors import MonitorStoreRefused, NothingLive, RecordsOff, ReferenceMissing
from monitoring.findings import Judged
from monitoring.gauges import Gauges
from monitoring.kept import Kept, url_of
from monitoring.profile import Profile
from monitoring.sections import MonitorParams
from monitoring.setting import Setting
from monitoring.spans import Span
from monitoring.times import moment, seconds
from registry import projection, record, trial
from registry.errors import RegistryRefused, RegistryUnreachable, StoreMissing
from registry.ledger import Replay
from registry.state import State, fold, state_of
from registry.store import Shown, Store
from serving import recorder
from serving.records import Log, Window

HISTORY = 100
"""Windows that a decision and a page know of."""
ANEW = 200
"""The newest windows, whose labels may still come."""
CALIBRATE = 20_000
"""Labelled predictions before a window by which its estimate is calibrated, the newest ones."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Look:
    """What one look came to."""

    model: str
    version: int
    judged: tuple[Judged, ...] = ()
    """Windows that were new."""
    again: int = 0
    """Windows whose labels were new."""
    decision: Decision = field(default_factory=lambda: Decision("nothing"))
    did: str = ""
    """What was done, in a sentence."""
    state: str = ""
    """How that ended: done, failed, refused or waiting."""
    muted: str = ""
    unsent: int = 0
    problems: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether somebody should look."""
        return self.decision.action != "nothing"

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "model": self.model,
            "version": self.version,
            "windows": [w.as_dict() for w in self.judged],
            "labels_anew": self.again,
            "decision": self.decision.as_dict(),
            "did": self.did,
            "state": self.state,
            "muted": self.muted,
            "unsent_alerts": self.unsent,
            "problems": list(self.problems),
        }


@dataclass(frozen=True)
class _Known:
    """What the registry says, or said when it was last there."""

    version: int
    former: int | None
    challenger: int | None
    found: Replay | None = None
    """None while the registry is away."""
    shown: Shown | None = None
    problem: str = ""


class Monitor:
    """Looks at one model of one project."""

    def __init__(self, setting: Setting, say: Say, gauges: Gauges | None = None) -> None:
        """Raises RecordsOff, LogUrlRefused, MonitorStoreRefused."""
        self._set, self._say = setting, say
        url = recorder.url_of(setting.serve.records, setting.folder)
        if not url:
            raise RecordsOff
        self._log = Log(url)
        self.kept = Kept(url_of(setting.policy.store, url, setting.folder), setting.model)
        self.gauges = gauges or Gauges()
        self._baselines: dict[int, Baseline] = {}
        self._problems: list[str] = []

    @property
    def model(self) -> str:
        """The one that is looked at."""
        return self._set.model

    @property
    def policy(self) -> MonitorParams:
        """By which it is."""
        return self._set.policy

    @property
    def slices(self) -> tuple[str, ...]:
        """Columns for whose values the metric is measured."""
        own = self._set.policy.quality.slices
        return self._set.slices if own is None else own

    def check(self) -> Look:
        """Look once. Raises MonitorBusy, NothingLive, ReferenceMissing, LogError, ...

        Where the registry is away windows are judged by what was fetched before, and shown in
        MLflow by a later look.
        """
        self._problems = []
        with self.kept.turn(), tempfile.TemporaryDirectory(prefix="understudy-") as folder:
            act.settle_all(self.kept, self._set)
            now = self._registry()
            again = self._labels_anew(now, Path(folder))
            judged = tuple(self._judge(now, Path(folder)))
            windows = self.kept.windows(HISTORY)
            mute = self._mute()
            decision = self._decide(windows, now, mute)
            did = self._actor(now).carry_out(decision, now.version, now.former, windows)
            unsent = alerts.deliver(self.kept, self._set.policy, self._say)
            self._publish(now, Path(folder))
            self._problems += self._unknown_columns(now.version)
            self._gauges(windows, decision, bool(mute), unsent)
        return Look(
            self._set.model,
            now.version,
            judged,
            again,
            decision,
            did.sentence if did else "",
            did.state if did else "",
            mute,
            unsent,
            tuple(self._problems),
        )

    # What is live

    def _registry(self) -> _Known:
        """Raises NothingLive, and RegistryUnreachable where nothing is known from before."""
        model = self._set.model
        try:
            store = Store(self._set.uri)
            found, shown = projection.look(store, model)
        except (RegistryUnreachable, RegistryRefused, StoreMissing) as error:
            known = self.kept.fact("live")
            if known is None or baseline.cached(self._cache, known["version"]) is None:
                raise
            self._problems.append(
                f"{error}; v{known['version']} was live when it last answered, and what is found "
                "is shown in MLflow later"
            )
            return _Known(**known, problem=str(error))
        state = state_of(found)
        if state.production is None:
            raise NothingLive(model)
        former = state.former[-1] if state.former else None
        challenger = state.traffic.challenger if state.traffic else None
        now = _Known(state.production, former, challenger, found, shown)
        facts = {"version": now.version, "former": former, "challenger": challenger}
        self.kept.note("live", facts)
        return now

    def _version_at(self, now: _Known, moment: float) -> int:
        """What was in Production then, by the ledger."""
        if now.found is None:
            return now.version
        entries = [w.entry for w in now.found.winners if seconds(w.entry.time) <= moment]
        return fold(entries, State()).production or now.version

    def _baseline(self, now: _Known, version: int, folder: Path) -> Baseline:
        """Raises ReferenceMissing, RegistryUnreachable."""
        if version in self._baselines:
            return self._baselines[version]
        if now.found is None or now.shown is None:
            known = baseline.cached(self._cache, version)
            if known is None:
                raise ReferenceMissing(version, "the registry is away")
        else:
            about = now.shown.versions.get(version)
            if about is None:
                raise ReferenceMissing(version, "it was deleted from MLflow")
            ignore = (*self._set.serve.never_stored, *self._set.policy.drift.ignore)
            store = Store(self._set.uri)
            known = baseline.fetch(
                store, now.found, about, folder, self._cache, self._set.policy.drift, ignore
            )
        self._baselines[version] = known
        return known

    @property
    def _cache(self) -> Path:
        return self._set.folder / "monitoring" / self._set.model

    # Windows

    def _judge(self, now: _Known, folder: Path) -> Iterator[Judged]:
        earlier = self.kept.windows(HISTORY)
        former = earlier[-1] if earlier else None
        last = Span(former.number, former.since, former.until) if former else None
        over = spans.closed(self._log, self._set.model, self._set.policy, last, time.time())
        for span in over:
            window = self._judge_one(span, earlier, now, folder)
            yield window
            earlier = [*earlier[-HISTORY:], window]

    def _judge_one(
        self, span: Span, earlier: Sequence[Judged], now: _Known, folder: Path
    ) -> Judged:
        model, policy = self._set.model, self._set.policy
        version = self._version_at(now, span.until)
        try:
            known = self._baseline(now, version, folder)
        except ReferenceMissing as error:
            window = Judged(
                model, span.number, span.since, span.until, 0, version, problem=str(error)
            )
            self.kept.keep(window, None)
            return window
        seen = look.read(self._log, model, span, known, self.slices)
        before = self._before(earlier[-1] if earlier else None, known)
        calibration = self._calibration(known, span)
        window = look.judge(
            model, span, seen, known, before, earlier, policy, self.slices, calibration
        )
        self.kept.keep(window, seen.profile.as_dict())
        return window

    def _before(self, former: Judged | None, known: Baseline) -> Profile | None:
        """The rows of the window before, against the same reference."""
        if former is None or former.rows == 0:
            return None
        if former.version == known.version and not former.problem:
            raw = self.kept.profile(former.number)
            return None if raw is None else Profile.from_dict(known.reference, raw)
        span = Span(former.number, former.since, former.until)
        return look.read(self._log, self._set.model, span, known, ()).profile

    def _calibration(self, known: Baseline, span: Span) -> Calibration:
        """From held-out rows, and from labelled predictions whose labels came before the end."""
        answers, labels = list(known.answers), list(known.labels)
        recent: list[tuple[Any, Any]] = []
        window = Window(
            since=span.since - self._set.serve.label_days * 86400,
            until=span.since,
            model=self._set.model,
            version=known.version,
            labelled=True,
        )
        for piece in self._log.predictions(window):
            recent += [
                (p.answer, p.label.label)
                for p in piece
                if p.label is not None and p.label.received <= span.until
            ]
            recent = recent[-CALIBRATE:]
        answers += [answer for answer, _ in recent]
        labels += [label for _, label in recent]
        return Calibration.fit(known.record, answers, labels)

    def _labels_anew(self, now: _Known, folder: Path) -> int:
        """Measure windows again of which enough labels came or were replaced; how many."""
        waiting = self._new_labels()
        known = self.kept.windows(ANEW)
        done = 0
        for place, window in enumerate(known):
            changed = waiting.get(window.number, 0)
            if changed >= max(1, window.rows // 50) and not window.problem:
                known[place] = self._measure_anew(window, known[:place], now, folder)
                done += 1
                waiting.pop(window.number)
        if done:
            self._wait_for(waiting)
        return done

    def _new_labels(self) -> dict[int, int]:
        """By window: labels that came since it was measured last."""
        read = self.kept.fact("labels_read")
        noted = self.kept.fact("labels_waiting") or {}
        waiting = {int(number): int(count) for number, count in noted.items()}
        windows = self.kept.windows(ANEW)
        starts = [window.since for window in windows]
        if read is None:  # every window that there is was measured with what there is
            read = self._log.newest_label()
        while found := self._log.labels_after(self._set.model, read):
            for predicted in (when for _, when in found if when is not None):
                place = bisect_right(starts, predicted) - 1
                if place >= 0 and predicted < windows[place].until:
                    number = windows[place].number
                    waiting[number] = waiting.get(number, 0) + 1
            read = found[-1][0]
        self._wait_for(waiting)  # first: what is counted twice is only looked at twice
        self.kept.note("labels_read", read)
        return waiting

    def _wait_for(self, labels: Mapping[int, int]) -> None:
        self.kept.note("labels_waiting", {str(n): count for n, count in labels.items()})

    def _measure_anew(
        self, window: Judged, earlier: Sequence[Judged], now: _Known, folder: Path
    ) -> Judged:
        known = self._baseline(now, window.version, folder)
        span = Span(window.number, window.since, window.until)
        seen = look.read(self._log, self._set.model, span, known, self.slices)
        fresh = look.measured(window, seen, known, self._set.policy, self.slices)
        fresh = look.with_outcomes(fresh, known, earlier, self._set.policy)
        self.kept.keep(fresh, None)
        return fresh

    def _unknown_columns(self, version: int) -> list[str]:
        """What is the matter with columns that params.yaml names, as far as they are known."""
        known = self._baselines.get(version)
        if known is None:
            return []
        named = {
            "drift.ignore": self._set.policy.drift.ignore,
            "quality.slices": self._set.policy.quality.slices or (),
        }
        return [
            f"monitor.{key} names {', '.join(strange)}, and v{version} takes "
            f"{', '.join(known.record.features)}"
            for key, columns in named.items()
            if (strange := [c for c in columns if c not in known.record.features])
        ]

    # Deciding and acting

    def _mute(self) -> str:
        found = self.kept.muted(time.time())
        if found is None:
            return ""
        reason = f": {found.reason}" if found.reason else ""
        return f"by {found.actor} until {moment(found.until)}{reason}"

    def _decide(self, windows: Sequence[Judged], now: _Known, mute: str) -> Decision:
        acts = [deed.act for deed in self.kept.deeds()]
        situation = Situation(now.version, now.former, now.challenger, mute)
        fresh = self._undecided(windows)
        decision = decide(windows, self._set.policy, acts, situation, len(fresh))
        if decision.action in ("retrain", "rollback") and now.problem:
            held = (*decision.held, f"no {decision.action}: {now.problem}")
            decision = replace(decision, action="alert", held=held)
        if windows:
            before = self.kept.decision(windows[-1].number)
            if before is None or before.get("action") == "nothing" or decision.action != "nothing":
                self.kept.decided(windows[-1].number, decision.as_dict())
        for window in fresh[:-1]:
            together = f"it was judged together with window {windows[-1].number}, which see"
            of_it = Decision("nothing", held=(together,), window=window.number)
            self.kept.decided(window.number, of_it.as_dict())
        return decision

    def _undecided(self, windows: Sequence[Judged]) -> list[Judged]:
        """The newest windows of which nobody has decided anything, in their order."""
        found: list[Judged] = []
        for window in reversed(windows):
            if self.kept.decision(window.number) is not None:
                break
            found.insert(0, window)
        return found

    def _actor(self, now: _Known) -> Actor:
        def live() -> Baseline:
            with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
                return self._baseline(now, now.version, Path(folder))

        return Actor(self._set, self.kept, live, self._say)

    # Showing

    def _publish(self, now: _Known, folder: Path) -> None:
        waiting = self.kept.unpublished()
        if not waiting or now.found is None:
            return
        windows = self.kept.windows(HISTORY)
        try:
            store = Store(self._set.uri)
            for window, decision, run in waiting:
                with _tolerant(self._problems):
                    known = None
                    if not window.problem:
                        known = self._baseline(now, window.version, folder)
                    history = [w for w in windows if w.number <= window.number]
                    publish.window(
                        store,
                        self.kept,
                        window,
                        decision,
                        history or [window],
                        known.reference if known else None,
                        run=run,
                        files=self._second_opinion(store, now, window, decision, folder),
                    )
        except (RegistryUnreachable, RegistryRefused) as error:
            self._problems.append(f"{error}; what was found is kept and shown in MLflow later")

    def _second_opinion(
        self,
        store: Store,
        now: _Known,
        window: Judged,
        decision: Mapping[str, Any],
        folder: Path,
    ) -> dict[str, str]:
        """Evidently's report, where it is installed and there is something to look at."""
        acts = decision.get("action", "nothing") != "nothing"
        if not acts or not window.rows or importlib.util.find_spec("evidently") is None:
            return {}
        from monitoring.evidently_report import attach

        if now.shown is None or window.version not in now.shown.versions:
            return {}
        kept = trial.fetch_kept(store, now.shown.versions[window.version], folder / "second")
        if isinstance(kept, str):
            return {}
        sample, _ = record.reference(kept)
        span = Window(since=window.since, until=window.until, model=self._set.model)
        rows = self._log.tables(span).features
        page = attach(sample, rows)
        return {"evidently.html": page} if page else {}

    def _gauges(
        self, windows: Sequence[Judged], decision: Decision, muted: bool, unsent: int
    ) -> None:
        problem = bool(self._problems) or bool(windows and windows[-1].problem)
        self.gauges.show(
            self._set.model,
            windows,
            decision.as_dict(),
            muted=muted,
            unsent=unsent,
            problem=problem,
        )
        try:
            self.gauges.write(self._set.folder / "monitor.prom")
        except OSError as error:
            self._problems.append(f"the gauges cannot be written ({error.strerror})")


@contextmanager
def _tolerant(problems: list[str]) -> Iterator[None]:
    """A window that cannot be shown hides no other."""
    try:
        yield
    except (ReferenceMissing, MonitorStoreRefused) as error:
        problems.append(str(error))
