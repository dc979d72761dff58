"""Asks all gates about one version: fetches, tries, measures, and gives the verdict."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry import digest, fit, gate, provenance, quality, report, trial
from registry.errors import NotFound, RegistryRefused
from registry.gate import Check, Verdict
from registry.ledger import Replay
from registry.quality import Scored
from registry.sections import GateParams
from registry.settings import without_password
from registry.stages import Stage
from registry.store import Shown, Store, Version
from registry.trial import Contender, Rows, Tried

Say = Callable[[str], None]
_SCORES = ("floor", "not_worse", "slices")
_RIVALRY = ("not_worse", "slices")
_SERVER = ("serves", "latency")
_HELP = "; where that cannot be mended, --override lets this gate refuse"


@dataclass(frozen=True)
class Judgement:
    """What the gates said, and the same as an HTML page; no page where nothing was measured."""

    verdict: Verdict
    page: str = ""


@dataclass(frozen=True)
class Case:
    """What is to be judged: `version` on its way to `to`, with `champion` in Production now."""

    model: str
    version: int
    to: Stage
    champion: int | None
    found: Replay
    shown: Shown
    traffic: bool = False
    """It stays where it is, and is to get some of the champion's traffic."""

    @property
    def gates(self) -> tuple[str, ...]:
        """Those that apply."""
        return gate.TO_TRAFFIC if self.traffic else gate.on_the_way_to(self.to)


def judge(
    store: Store,
    case: Case,
    params: GateParams,
    *,
    folder: Path,
    overrides: Collection[str] = (),
    say: Say = lambda _: None,
) -> Judgement:
    """Ask every gate that applies; `folder` is for downloads, `say` hears what is under way.

    One refusal hides no other: every gate that still can be asked is. Only an artifact that is
    not the one registered, or lies where it must not, is neither loaded nor served, for that
    would run somebody else's code. Raises RegistryUnreachable.
    """
    names = case.gates
    if set(names) <= set(params.skip):  # nothing is asked, so nothing is fetched
        return Judgement(gate.verdict([gate.skipped(name) for name in names]))
    bench = _Bench(store, case, params, folder, say)
    checks = [gate.skipped(name) for name in names if name in params.skip]
    checks += bench.provenance()
    refused = [c for c in gate.verdict(checks, overrides).checks if c.refused]
    stop = next((c for c in refused if c.name in ("location", "intact")), None)
    why = None
    if stop is not None and bench.candidate.files is not None:
        why = f"not tried, for gate {stop.name} refused and this would run the artifact's code"
    tried, served, champion = bench.tries(why)
    checks += bench.service(tried, served)
    checks += bench.signature()
    if case.to is not Stage.PRODUCTION:
        return Judgement(gate.verdict(checks, overrides))
    scored, page = bench.quality(tried, champion)
    checks += scored
    verdict = gate.verdict(checks, overrides)
    say("writing the gate report")
    return Judgement(verdict, page(verdict))


class _Bench:
    """What is known of one case so far; every gate's question in turn."""

    def __init__(
        self, store: Store, case: Case, params: GateParams, folder: Path, say: Say
    ) -> None:
        self.store, self.case, self.params = store, case, params
        self.folder, self.say = folder, say
        self.wanted = {n for n in case.gates if n not in params.skip}
        self.known = _evidence(case.found, case.version)
        self.version = case.shown.versions[case.version]
        self.candidate = self._fetch(self.version, "candidate")
        self.kept: Path | str = "its held-out rows were not needed"
        if self.wanted & {*_SCORES, *_SERVER} or ("intact" in self.wanted and "kept" in self.known):
            self.kept = trial.fetch_kept(store, self.version, folder / "kept")
        self.rows = trial.held_out(self.kept)
        rival = case.shown.versions.get(case.champion) if case.champion else None
        self.rival: Contender | None = None
        if rival is not None and self.wanted & {"signature", *_RIVALRY}:
            self.rival = self._fetch(rival, "champion")

    def provenance(self) -> list[Check]:
        """location, intact, lineage: nothing of the artifact is run for them."""
        asked: dict[str, Callable[[], Check]] = {
            "location": self._location,
            "intact": self._intact,
            "lineage": lambda: provenance.lineage(_mapping(self.known.get("lineage"))),
        }
        return [ask() for name, ask in asked.items() if name in self.wanted]

    def tries(self, why: str | None) -> tuple[Tried, Tried, Tried | None]:
        """Candidate here, candidate served, and Production; `why` they must not be tried."""
        if why is not None:
            no = Tried(why, unscored=why, latency=why)
            return no, no, no
        rows = self.rows if isinstance(self.rows, Rows) else None
        scoring = rows if self.wanted & set(_SCORES) else None
        champion = self._champion(scoring)
        local = self.candidate.manager == "local"
        here = Tried()
        if local and (scoring or "loads" in self.wanted):
            self.say(f"loading v{self.version.number}")
            here = trial.in_process(self.candidate, scoring)
        served = Tried()
        needed = set(_SERVER) if local else {*_SERVER, "loads", *_SCORES}
        if self.wanted & needed:
            served = self._served(
                self.candidate, rows, score=not local and bool(scoring), folder="serve"
            )
        tried = here if local else served
        if "loads" in self.wanted and tried.problem and tried.unscored == tried.problem:
            tried = replace(tried, unscored="it does not load, see gate loads")
        return tried, served, champion

    def service(self, tried: Tried, served: Tried) -> list[Check]:
        """loads, serves, latency."""
        manager = self.candidate.manager
        asked: dict[str, Callable[[], Check]] = {
            "loads": lambda: gate.loads(tried.problem, manager),
            "serves": lambda: gate.serves(served.problem, manager, served.seconds),
            "latency": lambda: gate.latency(served.latency, self.params),
        }
        return [ask() for name, ask in asked.items() if name in self.wanted]

    def signature(self) -> list[Check]:
        """signature: read from the files; nothing is run for it."""
        if "signature" not in self.wanted:
            return []
        return [_signature(self.candidate, self.rival, self.case.champion)]

    def quality(
        self, tried: Tried, champion: Tried | None
    ) -> tuple[list[Check], Callable[[Verdict], str]]:
        """floor, not_worse, slices; and how the page is made of the verdict and their numbers."""
        facts = report.Facts(
            self.case.model,
            self.case.version,
            self.case.champion,
            _mapping(self.known.get("lineage")),
            str(self.known.get("digest") or ""),
            self.version.run_id,
        )
        wanted = [name for name in _SCORES if name in self.wanted]
        if not isinstance(self.rows, Rows):
            said = self.rows
            return (
                [Check(name, False, said) for name in wanted],
                lambda verdict: report.page(facts, verdict, self.params),
            )
        if not wanted:
            return [], lambda verdict: report.page(facts, verdict, self.params)
        number = self.case.champion
        scored = trial.scored(self.rows, tried, champion, number)
        if champion is None and number is not None and self.wanted & set(_RIVALRY):
            scored = _without_champion(scored, number)
        checks, measured = self._judged(scored)
        return checks, lambda verdict: report.page(facts, verdict, self.params, measured)

    def _judged(self, scored: Scored) -> tuple[list[Check], report.Measured]:
        compared = None
        slices: list[quality.Slice] = []
        silent: list[str] = []
        problem = None
        if scored.champion is not None:
            self.say(f"comparing by {self.params.resamples:,} resamples")
            compared = quality.compare(scored, self.params)
        if "slices" in self.wanted:
            try:
                slices, silent = quality.cut(scored, self.params)
            except ValueError as error:
                problem = str(error)
        asked: dict[str, Callable[[], Check]] = {
            "floor": lambda: quality.floor(scored, self.params),
            "not_worse": lambda: quality.not_worse(scored, compared, self.params),
            "slices": lambda: (
                Check("slices", False, problem)
                if problem
                else quality.slices(scored, slices, silent, self.params)
            ),
        }
        checks = [ask() for name, ask in asked.items() if name in self.wanted]
        return checks, report.Measured(scored, compared, tuple(slices))

    def _fetch(self, version: Version, name: str) -> Contender:
        self.say(f"fetching v{version.number}")
        return trial.fetch(self.store, version, self.folder / name, self.params.environment)

    def _location(self) -> Check:
        try:
            uri = self.store.location(self.version)
            needs_run = not self.params.roots and self.version.run_id
            home = self.store.experiment_location(self.version.run_id) if needs_run else None
        except (RegistryRefused, NotFound) as error:
            return Check("location", False, f"where the artifact lies is not known: {error}")
        return provenance.location(
            without_password(uri),
            [without_password(root) for root in self.params.roots],
            without_password(home) if home else None,
        )

    def _intact(self) -> Check:
        files, kept = self.candidate.files, self.kept
        found = {
            "digest": digest.of_folder(files) if files else None,
            "kept": digest.of_folder(kept) if isinstance(kept, Path) else None,
        }
        return provenance.intact(found, self.known)

    def _champion(self, rows: Rows | None) -> Tried | None:
        """Production's answers to the candidate's held-out rows."""
        if self.rival is None or rows is None or not self.wanted & set(_RIVALRY):
            return None
        known = _evidence(self.case.found, self.rival.version.number).get("digest")
        files = self.rival.files
        if files and known and digest.of_folder(files) != known:
            why = "its files are not those registered; `understudy verify` says more"
            return Tried(unscored=why)
        if self.rival.manager != "local":
            return self._served(self.rival, rows, score=True, folder="serve-champion")
        self.say(f"scoring v{self.rival.version.number} on {len(rows.rows):,} held-out rows")
        return trial.in_process(self.rival, rows)

    def _served(self, who: Contender, rows: Rows | None, *, score: bool, folder: str) -> Tried:
        first = "" if who.manager == "local" else f", its environment by {who.manager} first"
        self.say(f"starting the scoring server of v{who.version.number}{first}")
        measure = who is self.candidate and "latency" in self.wanted
        return trial.through_server(who, rows, self.folder / folder, score=score, measure=measure)


def _signature(candidate: Contender, rival: Contender | None, champion: int | None) -> Check:
    """What callers of Production send today still works, and what they read is still there."""
    try:
        if candidate.files is None:
            raise ValueError(candidate.problem)
        new = fit.read(candidate.files)
    except (ValueError, OSError) as error:
        return Check("signature", False, str(error))
    if new is None:
        return Check("signature", False, "the artifact has no signature; log the model with one")
    if champion is None:
        return Check("signature", True, quality.NO_RIVAL)
    try:
        if rival is None or rival.files is None:
            raise ValueError(rival.problem if rival else "MLflow has it no more")
        old = fit.read(rival.files)
    except (ValueError, OSError) as error:
        return Check(
            "signature", False, f"Production v{champion} cannot be compared: {error}{_HELP}"
        )
    if old is None:
        sentence = f"Production v{champion} has no signature, so nothing is promised to callers"
        return Check("signature", True, sentence)
    found = fit.problems(old, new)
    if not found:
        return Check("signature", True, f"what callers of Production v{champion} send still works")
    told = "; ".join(text[:200] for text in found[:5])
    more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    sentence = f"callers of Production v{champion} would break: {told}{more}"
    return Check("signature", False, sentence, detail={"problems": _short(found)})


def _without_champion(scored: Scored, number: int) -> Scored:
    why = f"Production v{number} cannot be scored: MLflow has it no more{_HELP}"
    return replace(scored, problems={**(scored.problems or {}), "champion": why})


def _evidence(found: Replay, version: int) -> Mapping[str, Any]:
    """What the ledger keeps from a version's registration; empty when it was never registered."""
    entered = found.about(version, "register")
    return entered.entry.evidence if entered else {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _short(texts: Iterable[str]) -> list[str]:
    return [text[:200] for text in list(texts)[:20]]
