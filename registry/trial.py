"""Tries a version out: fetches its files, loads or serves them, and asks for its answers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from registry import metrics, record, requirements, scoring, shipped, store
from registry.answer import BadAnswer
from registry.errors import RegistryUnreachable
from registry.gate import Latency
from registry.quality import Scored
from registry.record import Record
from registry.requirements import Manager, Wanted
from registry.scoring import NotServed
from registry.store import Store, Version


@dataclass(frozen=True)
class Contender:
    """A version's files, and by what its environment is made; `problem` where there are none."""

    version: Version
    files: Path | None
    problem: str | None
    manager: Manager = "local"


@dataclass(frozen=True)
class Rows:
    """The held-out rows, and how to read the answers to them."""

    record: Record
    rows: pd.DataFrame

    @property
    def features(self) -> pd.DataFrame:
        """The columns that a model is asked with."""
        return self.rows[list(self.record.features)]


@dataclass(frozen=True)
class Tried:
    """What came of one way of trying a version: in this process, or through the scoring server."""

    problem: str | None = None
    """Why it does not answer its own input example, None when it does."""
    answer: Any = None
    """To the rows it was asked for."""
    unscored: str | None = None
    """Why there is no answer to these, None when there is one or none was wanted."""
    seconds: float | None = None
    """Until the server answered."""
    latency: Latency | str = "it was not measured"


def fetch(model_store: Store, version: Version, folder: Path, wanted: Wanted) -> Contender:
    """Download a version's files. Raises RegistryUnreachable."""
    try:
        files = model_store.download_model(version.source, folder)
        return Contender(version, files, None, requirements.manager(files, wanted))
    except RegistryUnreachable:
        raise
    except Exception as error:  # every kind of artifact store fails in its own way
        return Contender(version, None, f"the artifact cannot be fetched ({_name(error)})")


def fetch_kept(model_store: Store, version: Version, folder: Path) -> Path | str:
    """Download what a run keeps for the gates, or say why not. Raises RegistryUnreachable."""
    try:
        found = model_store.download_run_folder(version.run_id, record.FOLDER, folder)
        is_there = found.is_dir() and any(found.iterdir())
        return found if is_there else "its run carries no held-out rows"
    except RegistryUnreachable:
        raise
    except Exception as error:
        return f"its run carries no held-out rows ({_name(error)})"


def held_out(kept: Path | str) -> Rows | str:
    """The held-out rows of a version, or why there are none."""
    if isinstance(kept, str):
        return kept
    try:
        found = Rows(record.read(kept), record.holdout(kept))
        missing = {*found.record.features, found.record.target} - set(found.rows.columns)
    except ValueError as error:
        return f"its run carries no held-out rows ({error})"
    if missing or found.rows.empty:
        what = f"no column {', '.join(sorted(missing))}" if missing else "no rows"
        return f"its run carries no held-out rows that can be used (there is {what})"
    return found


def in_process(contender: Contender, rows: Rows | None) -> Tried:
    """Load it here, let it predict its own input example, and then the rows."""
    if contender.files is None:
        return Tried(contender.problem, unscored=contender.problem)
    with shipped.own_modules(contender.files):
        return _loaded(contender.files, rows)


def _loaded(files: Path, rows: Rows | None) -> Tried:
    try:
        model = store.load(files)
    except Exception as error:  # an artifact may fail in any way whatever
        why = f"the artifact does not load ({_name(error, files)})"
        return Tried(why, unscored=why)
    problem = _example_problem(files, model)
    if rows is None:
        return Tried(problem)
    try:
        return Tried(problem, _predicted(model, rows.features))
    except Exception as error:
        return Tried(problem, unscored=f"it does not predict the held-out rows ({_name(error)})")


def _example_problem(files: Path, model: Any) -> str | None:
    try:
        example = store.input_example(files)
    except Exception as error:
        return f"the artifact's input example cannot be read ({_name(error)})"
    if example is None:
        return "the artifact carries no input example to try it with"
    try:
        answer = _predicted(model, example)
        if len(answer) != len(example):
            return f"it gave {len(answer)} answers to the {len(example)} rows of its example"
    except Exception as error:
        return f"the artifact does not predict its own input example ({_name(error, files)})"
    return None


def _predicted(model: Any, rows: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.predict(rows)


def through_server(
    contender: Contender,
    rows: Rows | None,
    folder: Path,
    *,
    score: bool,
    measure: bool,
    patience: float = 0,
) -> Tried:
    """Serve it in its own environment: its input example, then the rows, then the time it takes.

    Without rows, the time is that of its input example's rows.
    """
    if contender.files is None:
        why = contender.problem or ""
        return Tried(why, unscored=why, latency=why)
    try:
        example = store.input_example(contender.files)
        if example is None:
            raise NotServed("the artifact carries no input example to try it with")
        request = scoring.example_request(contender.files, example)
        with scoring.served(
            contender.files, request, manager=contender.manager, folder=folder, patience=patience
        ) as server:
            asked = rows.features if rows else example
            found = _scored(server, rows) if score and rows else Tried()
            latency = _measured(server, asked) if measure else found.latency
            return Tried(None, found.answer, found.unscored, server.seconds, latency)
    except NotServed as error:
        why = str(error)
        return Tried(why, unscored=why, latency=f"it could not be measured: {why}")
    except Exception as error:  # reading an input example runs whatever its flavour wants
        why = f"the artifact's input example cannot be read ({_name(error)})"
        return Tried(why, unscored=why, latency=f"it could not be measured: {why}")


def _scored(server: scoring.Server, rows: Rows) -> Tried:
    try:
        return Tried(answer=server.predict(rows.features))
    except NotServed as error:
        return Tried(unscored=f"it does not predict the held-out rows: {error}")


def _measured(server: scoring.Server, rows: Any) -> Latency | str:
    if not isinstance(rows, pd.DataFrame):
        return "it could not be measured: there are no held-out rows to ask with"
    try:
        return server.latency(rows)
    except NotServed as error:
        return f"it could not be measured: {error}"


def scored(rows: Rows, candidate: Tried, champion: Tried | None, number: int | None) -> Scored:
    """Both answers as the numbers that the metrics need."""
    truth = rows.record.truth(rows.rows)
    problems: dict[str, str] = {}
    found: dict[str, np.ndarray | None] = {"candidate": None, "champion": None}
    for who, tried in (("candidate", candidate), ("champion", champion)):
        if tried is None:
            continue
        name = "the candidate" if who == "candidate" else f"Production v{number}"
        try:
            if tried.unscored is not None:
                raise ValueError(tried.unscored)
            scores = truth.scores(tried.answer)
            if len(scores) != len(rows.rows):
                raise BadAnswer(f"it gave {len(scores)} answers to {len(rows.rows)} rows")
            found[who] = scores
        except ValueError as error:
            problems[who] = f"{name} cannot be scored: {error}"
    metric = metrics.get(rows.record.metric, rows.record.problem)
    return Scored(metric, truth, rows.rows, found["candidate"], found["champion"], number, problems)


def _name(error: Exception, files: Path | None = None) -> str:
    """An error in a few words; paths inside the artifact, not where it was downloaded to."""
    said = str(error).replace(f"{files}/", "") if files else str(error)
    text = said.strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__
